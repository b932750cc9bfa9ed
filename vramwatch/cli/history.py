"""``vramwatch history``: who held what, when."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from vramwatch.cli.options import config_option, format_option, store_option
from vramwatch.cli.when import parse_when, show_when
from vramwatch.core.errors import UsageError
from vramwatch.core.model import FaultKind, Gpu
from vramwatch.core.series import USED_BYTES

if TYPE_CHECKING:
    from vramwatch.cli.selection import Selection
    from vramwatch.store import GapRow, History, Point, SeriesRow


@dataclass(frozen=True, slots=True)
class Span:
    """Between which moments; unix seconds."""

    since: float
    until: float
    now: float
    zone: tzinfo | None = None

    def __str__(self) -> str:
        since, until = (
            show_when(wall, self.now, self.zone, seconds=True) for wall in (self.since, self.until)
        )
        return f"{since} and {until}"


@dataclass(frozen=True, slots=True)
class Found:
    """What the store has for a question. ``span`` is what was asked for as far as the store reaches."""

    history: "History"
    rows: "Sequence[SeriesRow]"
    gaps: "Sequence[GapRow]"
    gpus: Mapping[str, Gpu]
    span: Span | None

    def points(self, rows: "Sequence[SeriesRow]") -> "Iterator[Point]":
        return self.history.samples(rows, self.span.since, self.span.until) if self.span else iter(())


@click.command()
@click.option("--gpu", help="One GPU: its ordinal (0, 0:1), its UUID, or how that begins.")
@click.option("--pid", type=click.IntRange(min=1), help="The processes that had this pid.")
@click.option("--owner", help="Owners by key or name; * and ? stand for anything.")
@click.option("--quantity", default=USED_BYTES, show_default=True, help="Which figure.")
@click.option("--since", default="1d", show_default=True, help="From when: 7d, 03:12, yesterday 03:12.")
@click.option("--until", default="now", show_default=True, help="Till when.")
@click.option("--at", "moment", help="Who held what at this one moment.")
@config_option
@store_option
@format_option
@click.pass_context
def command(
    context: click.Context,
    *,
    gpu: str | None,
    pid: int | None,
    owner: str | None,
    quantity: str,
    since: str,
    until: str,
    moment: str | None,
    config_path: Path | None,
    store_path: Path | None,
    output_format: str,
) -> None:
    """Who held what, when; times are local."""
    from vramwatch.cli.selection import Selection

    now = time.time()
    if moment is not None:
        _refuse_beside_at(context)
        at = parse_when(moment, now, None)
        _answer_at(_open(config_path, store_path), gpu, Span(at, at, now), output_format)
        return
    span = Span(parse_when(since, now, None), min(parse_when(until, now, None), now), now)
    if span.since >= span.until:
        raise UsageError(f"nothing lies between --since {since} and --until {until}; --since must be earlier")
    _answer(_open(config_path, store_path), Selection(gpu, pid, owner, quantity), span, output_format)


def _refuse_beside_at(context: click.Context) -> None:
    """--at is one moment of whole GPUs: what narrows a span has no meaning beside it."""
    beside = ("pid", "owner", "quantity", "since", "until")
    given = [
        f"--{name}" for name in beside if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"--at shows whole GPUs at one moment; leave out {', '.join(given)}")


def _open(config_path: Path | None, store_path: Path | None) -> "History":
    """Open the store. Errors: ConfigError, StoreError."""
    from vramwatch import config
    from vramwatch.store import History
    from vramwatch.store.location import locate

    configured = store_path or config.load(config.find(config_path), os.environ, {}).store.path
    return History.open(locate(store_path, configured))


# --- a span -------------------------------------------------------------------------------------


def _answer(history: "History", selection: "Selection", asked: Span, output_format: str) -> None:
    from vramwatch.cli.selection import pick_gpu, pick_series

    gpus = {gpu.uuid: gpu for gpu in history.gpus()}
    uuid = pick_gpu(selection.gpu, gpus.values()).uuid if selection.gpu is not None else None
    there = history.series(gpu=uuid)
    gaps = [gap for gap in _gaps(history, asked) if uuid is None or gap.gpu in (None, uuid)]
    found = Found(history, pick_series(selection, there), gaps, gpus, _covered(history, asked))
    some = _show_text(found, selection) if output_format == "text" else _print_data(found, output_format)
    if not some:
        click.echo(f"vramwatch: {_why_empty(found, selection, there, asked)}", err=True)


def _covered(history: "History", asked: Span) -> Span | None:
    """Return the part of ``asked`` between the first and the newest reading; None: there is none.

    Beyond the newest reading nothing is known, and the last value must not seem to hold on.
    """
    whole = _whole_span(history, asked)
    if whole is None or whole.until < asked.since or asked.until < whole.since:
        return None
    return replace(asked, since=max(asked.since, whole.since), until=min(asked.until, whole.until))


def _gaps(history: "History", asked: Span) -> "list[GapRow]":
    """Return the gaps that touch the span, with the one since the newest reading that nobody could store."""
    from vramwatch.cli.views.status import OLD_SECONDS
    from vramwatch.store import GapRow

    gaps = history.gaps(asked.since, asked.until)
    whole = _whole_span(history, asked)
    told = any(gap.gpu is None and gap.until is None for gap in gaps)
    if whole and not told and asked.until - whole.until > OLD_SECONDS:
        gaps.append(GapRow(None, FaultKind.STOPPED, "no daemon writes this store", whole.until, None))
    return gaps


def _show_text(found: Found, selection: "Selection") -> bool:
    """Print the answer for people; return whether there was any."""
    from vramwatch.cli.views.history import Past, overview_lines, table_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.cli.views.tracks import fold, grid

    if found.span is None:
        return False
    steps = grid(found.span.since, found.span.until, found.span.zone)
    past = Past(fold(found.points(found.rows), steps), found.gaps, steps, found.gpus, found.span.zone)
    if not past.tracks:
        return False
    draw = overview_lines if selection.is_open else table_lines
    target = terminal(sys.stdout)
    target.show(draw(past, target.width, target.glyphs))
    return True


def _print_data(found: Found, output_format: str) -> bool:
    """Print the answer as data; return whether there was any."""
    from vramwatch.cli.printing import print_points, print_series

    if output_format == "csv":
        return print_points(found.points(found.rows), found.gpus)
    series = ((row, found.points([row])) for row in found.rows)
    return print_series(series, found.gaps, found.gpus, lines=output_format == "ndjson")


def _why_empty(found: Found, selection: "Selection", there: "Sequence[SeriesRow]", asked: Span) -> str:
    """Return why nothing was found, and what there is."""
    from vramwatch.cli.selection import owners_there

    whole = _whole_span(found.history, asked)
    if whole is None or found.rows:
        return _nothing_between(found.history, asked)
    if selection.owner is not None:
        return f"no owner here is called {selection.owner!r}; there are: {owners_there(there) or 'none'}"
    if selection.pid is not None:
        return f"pid {selection.pid} was not seen here; the store has readings between {whole}"
    return f"the store has no {selection.quantity} of these GPUs; it has readings between {whole}"


def _nothing_between(history: "History", asked: Span) -> str:
    whole = _whole_span(history, asked)
    if whole is None:
        return "the store has no reading yet"
    when = f"between {asked}" if asked.since < asked.until else f"at {str(asked).partition(' and ')[0]}"
    return f"no reading {when}; the store has readings between {whole}"


def _whole_span(history: "History", asked: Span) -> Span | None:
    """Return from the first to the newest reading, in ascending order also where the wall clock stepped."""
    ends = history.span()
    return replace(asked, since=min(ends), until=max(ends)) if ends else None


# --- one moment ---------------------------------------------------------------------------------


def _answer_at(history: "History", gpu: str | None, span: Span, output_format: str) -> None:
    from vramwatch.cli.looking import past_status
    from vramwatch.cli.printing import print_statuses
    from vramwatch.cli.selection import pick_gpu
    from vramwatch.cli.views.status import status_lines
    from vramwatch.cli.views.terminal import terminal

    uuid = pick_gpu(gpu, history.gpus()).uuid if gpu is not None else None
    status = past_status(history, span.since, span.zone, uuid)
    if status is None:
        click.echo(f"vramwatch: {_nothing_between(history, span)}", err=True)
    if output_format != "text":
        print_statuses([status] if status else [], output_format)
    elif status:
        target = terminal(sys.stdout)
        target.show(status_lines(status, target.width, target.glyphs))
