"""What the store has for a question: series, gaps and events of a span, and why there may be nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from vramwatch.cli.looking import is_being_written, is_played
from vramwatch.cli.selection import Selection, owners_there, pick_gpu, pick_series
from vramwatch.cli.views.status import old_after
from vramwatch.cli.when import show_when
from vramwatch.core.errors import UsageError
from vramwatch.core.model import FaultKind, Gpu, SubjectKind
from vramwatch.store import EventRow, GapRow, History, Point, SeriesRow


@dataclass(frozen=True, slots=True)
class Span:
    """Between which moments; unix seconds."""

    since: float
    until: float
    now: float
    zone: tzinfo | None = None

    def __str__(self) -> str:
        """Of one day, which is named where it is not today; else each with its day."""
        days = {datetime.fromtimestamp(wall, self.zone).date() for wall in (self.since, self.until)}
        now = self.now if len(days) == 1 else 0.0
        since, until = (show_when(wall, now, self.zone, seconds=True) for wall in (self.since, self.until))
        return f"{since} and {until}"


@dataclass(frozen=True, slots=True)
class Found:
    """What the store has for a question. ``span`` is what was asked for as far as the store reaches.

    ``if_empty``: the sentence that says why, where there is nothing.
    """

    history: History
    rows: Sequence[SeriesRow]
    gaps: Sequence[GapRow]
    events: Sequence[EventRow]
    gpus: Mapping[str, Gpu]
    span: Span
    if_empty: str

    def changes(self, rows: Sequence[SeriesRow]) -> Iterator[Point]:
        """Yield the values of ``rows`` where they changed."""
        return self.history.samples(rows, self.span.since, self.span.until)

    def readings(self, rows: Sequence[SeriesRow]) -> Iterator[Point]:
        """Yield every value of ``rows`` that was read."""
        return self.history.readings(rows, self.span.since, self.span.until)


def find(history: History, selection: Selection, asked: Span) -> Found:
    """Return what there is within ``asked``.

    Errors: UsageError for a selection that fits nothing at any time, with what there is; StoreError.
    """
    gpus = {gpu.uuid: gpu for gpu in history.gpus()}
    uuid = pick_gpu(selection.gpu, gpus.values()).uuid if selection.gpu is not None else None
    rows = pick_series(selection, history, uuid)
    whole = _whole_span(history, asked)
    if whole is not None and not rows:
        raise UsageError(_none_such(history, selection, uuid, whole))
    span = _covered(history, asked)
    why = nothing_between(history, asked)
    if span is None:
        return Found(history, (), (), (), gpus, asked, why)
    gaps = [gap for gap in _gaps(history, asked) if uuid is None or gap.gpu in (None, uuid)]
    return Found(history, rows, gaps, history.events(span.since, span.until), gpus, span, why)


def nothing_between(history: History, asked: Span) -> str:
    """Return the sentence that says when there are readings, if not then."""
    whole = _whole_span(history, asked)
    if whole is None:
        return "the store has no reading yet"
    when = f"between {asked}" if asked.since < asked.until else f"at {str(asked).partition(' and ')[0]}"
    return f"no reading {when}; the store has readings between {whole}"


def _none_such(history: History, selection: Selection, uuid: str | None, whole: Span) -> str:
    if selection.is_of_processes:
        what = f"pid {selection.pid}" if selection.pid is not None else "such a process"
        return f"{what} was not seen here; the store has readings between {whole}"
    if selection.owner is not None:
        there = owners_there(history.series(gpu=uuid, kind=SubjectKind.OWNER))
        return f"no owner here is called {selection.owner!r}; there are: {there or 'none'}"
    if not history.gpus():
        return f"no GPU could be read between {whole}; vramwatch status says why"
    return f"the store has no {selection.quantity} of these GPUs; it has readings between {whole}"


def _covered(history: History, asked: Span) -> Span | None:
    """Return the part of ``asked`` between the first and the newest reading; None: there is none.

    Beyond the newest reading nothing is known, and the last value must not seem to hold on.
    """
    whole = _whole_span(history, asked)
    if whole is None or whole.until < asked.since or asked.until < whole.since:
        return None
    return replace(asked, since=max(asked.since, whole.since), until=min(asked.until, whole.until))


def _whole_span(history: History, asked: Span) -> Span | None:
    """Return from the first to the newest reading, in ascending order also where the wall clock stepped."""
    ends = history.span()
    return replace(asked, since=min(ends), until=max(ends)) if ends else None


def _gaps(history: History, asked: Span) -> list[GapRow]:
    """Return the gaps that touch the span, with the one since the newest reading that nobody could store."""
    gaps = history.gaps(asked.since, asked.until)
    whole = _whole_span(history, asked)
    told = any(gap.gpu is None and gap.until is None for gap in gaps)
    is_old = whole is not None and asked.until - whole.until > _old_after(history)
    if whole and is_old and not told and not _is_catching_up(history, asked.now):
        gaps.append(GapRow(None, FaultKind.STOPPED, "no daemon writes this store", whole.until, None))
    return gaps


def _old_after(history: History) -> float:
    newest = history.latest()
    return old_after(newest) if newest else 0.0


def _is_catching_up(history: History, now: float) -> bool:
    """Return whether a simulated server, or a recording, is being played into the store at ``now``.

    Whoever plays it has not come to the present yet, and nobody was stopped.
    """
    newest = history.latest()
    return newest is not None and is_played(newest.at) and is_being_written(history.path, now)
