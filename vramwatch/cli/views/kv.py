"""A traced KV cache for a terminal: its layers, how it grew, and where the formula and it part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from vramwatch.cli.views.dots import Dots
from vramwatch.cli.views.text import Glyphs, Line, Span, Tone, left, line, right, wrap
from vramwatch.core.kvmath import Attention, Latent, LayerCache, State
from vramwatch.core.units import show_bytes
from vramwatch.probe.findings import findings, named
from vramwatch.probe.foreseen import dtype_of, formula, layers_at, parting
from vramwatch.probe.results import Ended, Result
from vramwatch.sdk.tracing import Sample

NAME, KIND, FIGURE = 12, 22, 13
PLOT_HEIGHT, PANEL_HEIGHT = 9, 5
MOST_PANELS = 3
"""Kinds of layers that are plotted; a model has one or two, of equal layers one stands for all."""

LABEL = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One layer at one request's first and last forward pass, in bytes. ``foreseen`` is of the last.

    ``slots``: None: it has none that could be counted, as a state or quantised keys.
    """

    kind: str
    slots: int | None
    prompt: tuple[int, int]  # logical, resident
    end: tuple[int, int]
    foreseen: int | None


def kv_lines(result: Result, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Yield the layers of the last request, equal ones together, the growth of all, and what is found."""
    samples = last_request(result)
    if not samples:
        if result.ended is Ended.COMPLETE:
            yield line("no cache was seen: the model returned none", Tone.WARNING)
        for each in findings(result):
            if each.is_fault:
                yield from wrap(f"! {named(each)}", width, 0, Tone.WARNING)
        return
    yield from _table(result, samples)
    yield Line()
    yield from growth_lines(samples, width, glyphs)
    yield Line()
    for text, tone in words(result):
        yield from wrap(text, width, 0, tone)


def last_request(result: Result) -> list[Sample]:
    last = max((each.request for each in result.samples), default=0)
    return [each for each in result.samples if each.request == last]


def rows_of(result: Result, samples: Sequence[Sample]) -> list[Row]:
    """Return a row for each layer, from the first."""
    first, end = samples[0], samples[-1]
    caches = formula(result)
    foreseen = layers_at(caches, end, dtype_of(result)) if caches else ()
    return [
        Row(
            kind_of(caches[place]) if caches and place < len(caches) else "unknown to the formulas",
            end.slots[place] or None,
            (first.logical[place], first.resident[place]),
            (end.logical[place], end.resident[place]),
            foreseen[place] if place < len(foreseen) else None,
        )
        for place in range(len(end.logical))
    ]


def kind_of(cache: LayerCache) -> str:
    match cache:
        case Attention(window=int(window)):
            return f"window of {window}"
        case Attention():
            return "all tokens"
        case Latent():
            return "latent (MLA)"
        case State():
            return "state, constant"
        case _:
            return "none of its own"


def grouped(rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    """Yield runs of equal layers by their name: "0 to 31"."""
    place = 0
    for name, count in groups_of(rows):
        yield name, rows[place]
        place += count


def groups_of(rows: Sequence[Row]) -> Iterator[tuple[str, int]]:
    """Yield the name of each run of equal layers, and how many there are in it."""
    place = 0
    for _, run in groupby(rows):
        count = len(list(run))
        yield (f"{place}" if count == 1 else f"{place} to {place + count - 1}"), count
        place += count


def kinds_of(rows: Sequence[Row]) -> Iterator[tuple[str, int]]:
    """Yield each kind of layer once, wherever its layers stand: its name, and the place of its first."""
    kinds: dict[Row, list[int]] = {}
    for place, row in enumerate(rows):
        kinds.setdefault(row, []).append(place)
    for places in kinds.values():
        first, last, count = places[0], places[-1], len(places)
        if count == 1:
            yield f"layer {first}", first
        elif count == last - first + 1:
            yield f"each of layers {first} to {last}", first
        else:
            yield f"each of the {count} layers like layer {first}", first


def _table(result: Result, samples: Sequence[Sample]) -> Iterator[Line]:
    first, end = samples[0], samples[-1]
    yield line(
        f"bytes of one layer after the prompt of {first.tokens} tokens, and after {end.tokens}", Tone.STRONG
    )
    titles = ("slots", "prompt", "resident", "end", "resident", "formula")
    head = left("layer", NAME, "") + left("keeps", KIND, "")
    yield line(head + "".join(right(each, FIGURE) for each in titles), Tone.FAINT)
    for name, row in grouped(rows_of(result, samples)):
        figures = (row.slots, *row.prompt, *row.end, row.foreseen)
        cells = "".join(right("n/a" if each is None else f"{each:,}", FIGURE) for each in figures)
        yield line(left(name, NAME, "") + left(row.kind, KIND, "~") + cells)
    yield line(
        left("all", NAME + KIND, "")
        + right("", FIGURE)
        + "".join(
            right(f"{sum(each):,}", FIGURE)
            for each in (first.logical, first.resident, end.logical, end.resident)
        )
    )


def growth_lines(samples: Sequence[Sample], width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Yield a plot of the resident bytes of all layers over the forward passes of one request."""
    title = f"resident bytes of all layers, by forward pass (0 to {samples[-1].forward})"
    yield from _plot(title, [sum(each.resident) for each in samples], PLOT_HEIGHT, width, glyphs)


def layer_lines(result: Result, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Yield a plot for each kind of layer: what one of them held over the forward passes of all requests."""
    passes = len(result.samples)
    for name, values in list(layer_curves(result).items())[:MOST_PANELS]:
        title = f"resident bytes of {name}, over the {passes} forward passes of all requests"
        yield from _plot(title, values, PANEL_HEIGHT, width, glyphs)


def layer_curves(result: Result) -> dict[str, list[int]]:
    """Return, for each kind of layer by its name, the resident bytes of one at each forward pass."""
    samples = last_request(result)
    rows = rows_of(result, samples) if samples else []
    return {name: [each.resident[place] for each in result.samples] for name, place in kinds_of(rows)}


def _plot(title: str, values: Sequence[int], height: int, width: int, glyphs: Glyphs) -> Iterator[Line]:
    across = max(20, min(width, 100) - LABEL - 2)
    dots = Dots(across, height, glyphs.braille)
    top = max(values) or 1
    for column in range(dots.width):
        value = values[column * len(values) // dots.width]
        dots.draw(column, 0.0, value / top)
    yield line(title, Tone.STRONG)
    upright, level, _, corner = glyphs.axis
    for row, text in enumerate(dots.rows()):
        label = show_bytes(top) if row == 0 else "0 B" if row == height - 1 else ""
        yield Line((Span(f"{right(label, LABEL)} {upright}", Tone.FAINT), Span(text)))
    yield line(f"{' ' * LABEL} {corner}{level * across}", Tone.FAINT)


def words(result: Result) -> Iterator[tuple[str, Tone]]:
    """Yield what is to be said: faults, where formula and cache part, what looking cost."""
    for each in findings(result):
        if each.is_fault:
            yield f"! {named(each)}", Tone.WARNING
    part = parting(result)
    if formula(result) is None:
        yield "- the formulas do not know this model", Tone.PLAIN
    elif part is None:
        yield (
            f"- formula and cache agree to the byte, in every layer at all {len(result.samples)} looks",
            Tone.PLAIN,
        )
    else:
        yield (
            (
                f"- formula and cache part first in layer {part.layer}, request {part.sample.request}, "
                f"forward pass {part.sample.forward}: {part.seen:,} bytes seen, {part.foreseen:,} foreseen "
                f"for {part.sample.tokens} tokens"
            ),
            Tone.PLAIN,
        )
    if result.look_seconds is not None:
        layers = len(result.samples[-1].logical)
        yield (
            f"- one look took {result.look_seconds * 1e6:.0f} µs on average, over {layers} layers",
            Tone.FAINT,
        )
