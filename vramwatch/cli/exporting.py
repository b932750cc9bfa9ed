"""A stretch of the store as the rows of a recording, read as it is written."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from math import inf

from vramwatch.cli.selection import is_owner
from vramwatch.core.model import EventKind, Origin, SubjectKind
from vramwatch.core.series import USED_BYTES
from vramwatch.recording.export import Accident, Fields, Hole, Life, Part, export
from vramwatch.recording.long_form import GAUGES
from vramwatch.store import History, Point, SeriesRow

GPU_FIGURES = ("used_bytes", "reserved_bytes", "total_bytes", "utilization_ratio")


def export_rows(
    history: History, uuid: str | None, owner: str | None, since: float, until: float
) -> Iterator[Fields]:
    """Yield the rows of one Gpu, or of all (None); processes of every Owner, or of those ``owner`` names.

    Errors: StoreError.
    """
    rows = list(_series(history, uuid, owner))
    readings = history.readings(rows, since, until)
    moments = ((wall, _parts(points)) for wall, points in groupby(readings, key=lambda point: point.wall))
    holes = [
        Hole(gap.gpu, max(gap.since, since), inf if gap.until is None else gap.until, gap.reason.value)
        for gap in history.gaps(since, until)
        if uuid is None or gap.gpu in (None, uuid)
    ]
    accidents = [
        Accident(row.wall, row.event.gpu)
        for row in history.events(since, until)
        if row.event.kind is EventKind.OUT_OF_MEMORY
        and row.event.origin is not Origin.WORKER  # its ooms_total tells it
        and row.event.gpu
        and uuid in (None, row.event.gpu)
    ]
    return export(moments, sorted(holes, key=lambda hole: hole.since), sorted(accidents))


def _series(history: History, uuid: str | None, owner: str | None) -> Iterator[SeriesRow]:
    """Yield the series that make up a recording.

    The unattributed bytes are read with every process list, hence tell when one was.
    """
    for quantity in GPU_FIGURES:
        yield from history.series(gpu=uuid, kind=SubjectKind.GPU, quantity=quantity)
    yield from history.series(gpu=uuid, kind=SubjectKind.UNATTRIBUTED, quantity=USED_BYTES)
    for quantity in (USED_BYTES, *GAUGES):
        for row in history.series(gpu=uuid, kind=SubjectKind.PROCESS, quantity=quantity):
            if owner is None or (row.owner and is_owner(owner, row.owner)):
                yield row


def _parts(points: Iterable[Point]) -> dict[str, Part]:
    """Return what ``points`` of one time say of each Gpu."""
    parts: dict[str, Part] = {}
    for point in points:
        if point.value is None:
            continue
        key = point.series.key
        part = parts.setdefault(key.gpu, Part())
        if key.kind is SubjectKind.GPU:
            part.figures[key.quantity] = point.value
            continue
        if key.quantity == USED_BYTES and part.claims is None:
            part.claims = {}
        process = point.series.process
        if process is None:
            continue
        life = Life(process.key, point.series.owner.key if point.series.owner else "", process.started)
        if key.quantity != USED_BYTES:
            part.gauges.setdefault(life, {})[key.quantity] = point.value
        elif part.claims is not None:
            part.claims[life] = point.value
    return parts
