"""History as data: one object a series, or one row a value."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vramwatch.cli.views.records import Json, moment, row
from vramwatch.cli.views.tracks import Point, Subject
from vramwatch.cli.views.words import because
from vramwatch.core.model import Gpu

if TYPE_CHECKING:
    from vramwatch.store import GapRow


def series_record(series: Subject, gpus: Mapping[str, Gpu]) -> Json:
    """Return what a series is of."""
    key, gpu = series.key, gpus.get(series.key.gpu)
    return {
        "gpu": key.gpu,
        "ordinal": gpu.ordinal if gpu else None,
        "subject_kind": str(key.kind),
        "subject": key.subject,
        "owner": series.owner.key if series.owner else None,
        "owner_name": series.owner.name if series.owner else None,
        "pid": series.process.key.pid if series.process else None,
        "process_name": series.process.name if series.process else None,
        "quantity": key.quantity,
    }


def gap_record(gap: "GapRow") -> Json:
    """Return a stretch without readings; ``until`` None: it goes on, ``gpu`` None: of all GPUs."""
    return {
        "gpu": gap.gpu,
        "reason": str(gap.reason),
        "because": because(gap.reason),
        "detail": gap.detail,
        **moment("since", gap.since),
        **moment("until", gap.until),
    }


def point_record(point: Point) -> Json:
    """Return one value with its time; None: the series ended there."""
    return {**moment("time", point.wall), point.series.key.quantity: point.value}


def series_json(
    series: Subject, points: Iterable[Point], gaps: Iterable["GapRow"], gpus: Mapping[str, Gpu]
) -> Iterator[str]:
    """Yield the pieces of one JSON object, so that a long series never stands in memory whole."""
    yield f'{{"series": {json.dumps(series_record(series, gpus))}, "points": ['
    separator = ""
    for point in points:
        yield separator + json.dumps(point_record(point))
        separator = ", "
    own = [gap_record(gap) for gap in gaps if gap.gpu in (None, series.key.gpu)]
    yield f'], "gaps": {json.dumps(own)}}}'


def point_row(point: Point, gpus: Mapping[str, Gpu]) -> tuple[Any, ...]:
    """Return one row of records.COLUMNS; an empty value: the series ended there."""
    series = point.series
    key = series.key
    return row(
        point.wall,
        gpus.get(key.gpu) or Gpu(key.gpu, "", ""),
        key.kind,
        key.quantity,
        point.value,
        owner=series.owner.key if series.owner else "",
        pid=series.process.key.pid if series.process else None,
    )
