"""Engines' metrics pages: which to ask for, and how to read them. Their text is foreign.

Format: "Exposition formats" of the Prometheus documentation, text format 0.0.4.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, ClassVar, Protocol, runtime_checkable

from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

GREATEST = 2.0**53
"""Figures above it are none: no count and no number of bytes is larger, and the store keeps 64 bits."""

SERIES_MOST = 4096
"""Lines with wanted names that are parsed of one page; an engine with a hundred ranks has a tenth of them."""

PARSING_MOST = 1 << 28
"""Of the squares of their lengths, with which the parser's time grows: 4,096 lines of 256 characters, or 170
of vLLM's longest, which holds its configuration."""

RANKS_MOST = 256
"""Data-parallel ranks that are told apart on one page."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True, slots=True)
class Cache:
    """How an engine was told to keep its KV. ``model``: as its command names it. ``ranks``: tensor-parallel.

    ``dtype``: of keys and values, "auto" as the model is computed; ``computed``: of the model, None: its own.
    """

    model: str
    dtype: str = "auto"
    computed: str | None = None
    ranks: int = 1


@dataclass(frozen=True, slots=True)
class Asks:
    """Where an engine tells its figures. ``paths``: every one is asked, and any may be missing.

    ``port_options``: options of its command that name the port, by precedence. ``port``: the one that was
    named otherwise. ``usual_ports``: what it takes without; they count only where it is seen to listen.
    ``cache``: makes bytes of a pool that is told in tokens; None: nobody can.
    ``opens_every_gpu``: those of ``paths`` whose answer takes memory on each GPU that the engine sees; they
    are asked only where that is one. ``gpus``: how many it was told to see; None: all of the machine.
    """

    paths: tuple[str, ...]
    usual_ports: tuple[int, ...]
    port_options: tuple[str, ...] = ("--port",)
    port: int | None = None
    cache: Cache | None = None
    opens_every_gpu: frozenset[str] = frozenset()
    gpus: int | None = None

    def harmless(self, machine: int | None) -> tuple[str, ...]:
        """Return the ``paths`` that cost it no memory, on a ``machine`` of that many GPUs; None: unknown."""
        sees = machine if self.gpus is None else self.gpus
        return (
            self.paths
            if sees == 1
            else tuple(each for each in self.paths if each not in self.opens_every_gpu)
        )


@dataclass(frozen=True, slots=True)
class Told:
    """Figures of one engine: quantity (see core.model.Gauge) -> value, never one that was not told.

    ``rank``: its number among data-parallel engines, or of its replica where ``model`` is told; None: it has
    none. ``model``: the one that alone they are of; None: of whichever it serves. ``pool_tokens``: size
    of its KV pool where that is not told in bytes.
    """

    figures: Mapping[str, float]
    rank: int | None = None
    model: str | None = None
    pool_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that an engine says it has loaded, beside others. ``pids``: of that engine, on GPUs.

    ``size`` and ``on_gpu``: bytes of it, and of these on GPUs, by its word; None: it is not told.
    """

    engine: str
    pids: tuple[int, ...]
    model: str
    size: float | None
    on_gpu: float | None


@runtime_checkable
class Gauged(Protocol):
    """An engine that tells figures of itself. Pure; what it is given was written by others."""

    precedence: ClassVar[Precedence]

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None: ...

    def asks(self, facts: ProcessFacts) -> Asks:
        """Return what to ask the engine for that a process belongs to, without costing it anything."""
        ...

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        """Return what ``pages`` (path -> text) tell, by rank; empty: they are not its own. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a page: its labels and its value, which is finite and not negative."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


Page = Mapping[str, tuple[Series, ...]]
"""Name -> its lines in their order; a name that the page has not is missing."""


def read_page(text: str, names: Collection[str]) -> Page:
    """Return the lines of a Prometheus page that have one of ``names``; what is malformed is left out.

    Those lines alone are parsed, each by itself: most of a page are histograms, and one bad line spoils none.
    """
    wanted = frozenset(names)
    found: dict[str, list[Series]] = {}
    parsed = cost = 0
    for line in text.split("\n"):
        name = _NAME.match(line)
        if name is None or name[0] not in wanted:
            continue
        parsed += 1
        cost += len(line) ** 2
        if parsed > SERIES_MOST or cost > PARSING_MOST:
            break
        series = _series(line)
        if series is not None:
            found.setdefault(name[0], []).append(series)
    return {name: tuple(lines) for name, lines in found.items()}


def _series(line: str) -> Series | None:
    """Return what one line says; None where it is malformed or its value is no figure."""
    from prometheus_client.parser import (  # noqa: PLC0415 - 6 MiB, where an engine is asked alone
        text_string_to_metric_families,
    )

    try:
        samples = [sample for family in text_string_to_metric_families(line) for sample in family.samples]
    except (ValueError, IndexError):
        return None
    value = figure(samples[0].value) if samples else None
    return None if value is None else Series(value, samples[0].labels)


def figure(told: object) -> float | None:
    """Return ``told``, a number or its text, if it can be a figure: finite and not negative."""
    if isinstance(told, bool) or not isinstance(told, (int, float, str)):
        return None
    try:
        value = float(told)
    except (ValueError, OverflowError):
        return None
    return value if isfinite(value) and 0 <= value <= GREATEST else None


def share(told: float | None) -> float | None:
    """Return a share between 0 and 1; a pool that is counted as a little more than full is full."""
    return None if told is None else min(told, 1.0)


def first(page: Page, *names: str) -> tuple[Series, ...]:
    """Return the lines of the first of ``names`` (new before old) that the page has; else none."""
    return next((page[name] for name in names if name in page), ())


def total(series: Iterable[Series]) -> float | None:
    """Return the sum of ``series``; None where there is none."""
    values = [each.value for each in series]
    return sum(values) if values else None


def most(series: Iterable[Series]) -> float | None:
    """Return the largest of ``series``; None where there is none."""
    return max((each.value for each in series), default=None)


def product(*factors: float | None) -> float | None:
    """Return the product; None where a factor is not known."""
    result = 1.0
    for factor in factors:
        if factor is None:
            return None
        result *= factor
    return result


def ratio(part: float | None, whole: float | None) -> float | None:
    """Return ``part`` of ``whole``, at most 1; None where one is not known or there is no whole."""
    return None if part is None or not whole else share(part / whole)


def known(**figures: float | None) -> Mapping[str, float]:
    """Return the ``figures`` that are known and can be true; may be empty."""
    return {name: value for name, value in figures.items() if value is not None and value <= GREATEST}


def told(rank: int | None = None, **figures: float | None) -> Iterator[Told]:
    """Yield a Told of the ``figures`` that are known; nothing if none is."""
    if kept := known(**figures):
        yield Told(kept, rank)


def by_rank(page: Page, label: str) -> Iterator[tuple[int | None, Page]]:
    """Yield the page of each data-parallel rank, which ``label`` numbers; None and all of it where none has.

    A line without the label counts for every rank.
    """
    ranked = {name: [(_rank(each, label), each) for each in lines] for name, lines in page.items()}
    ranks = {rank for lines in ranked.values() for rank, _ in lines if rank is not None}
    if not ranks:
        yield None, page
    for rank in sorted(ranks)[:RANKS_MOST]:
        own = {
            name: tuple(each for its_rank, each in lines if its_rank in (rank, None))
            for name, lines in ranked.items()
        }
        yield rank, {name: lines for name, lines in own.items() if lines}


def _rank(series: Series, label: str) -> int | None:
    text = series.labels.get(label, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def read_json(text: str | None) -> Any:
    """Return what a JSON page says; None where it is none."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None
