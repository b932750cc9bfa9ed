"""History as data: one object a series, or one row a value."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vramwatch.cli.views.records import row
from vramwatch.cli.views.tracks import Point, Step, Subject
from vramwatch.cli.views.words import because
from vramwatch.core.model import Gpu
from vramwatch.core.records import Json, moment

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


STEP_COLUMNS = (
    "time", "time_iso", "gpu", "ordinal", "subject_kind", "owner", "pid", "quantity",
    "count", "minimum", "mean", "maximum", "last",
)  # fmt: skip
"""Of the CSV of steps: a row for each step with readings."""


def step_record(series: Subject, step: Step) -> Json:
    """Return one step; its time is its beginning. The unit of its figures is at the end of their keys."""
    unit = series.key.quantity.rpartition("_")[2]
    return {
        **moment("time", step.start),
        "count": step.count,
        f"minimum_{unit}": step.minimum,
        f"mean_{unit}": step.mean,
        f"maximum_{unit}": step.maximum,
        f"last_{unit}": step.last,
    }


def series_json(
    series: Subject,
    what: str,
    records: Iterable[Json],
    gaps: Iterable["GapRow"],
    gpus: Mapping[str, Gpu],
) -> Iterator[str]:
    """Yield the pieces of one JSON object, so that a long series never stands in memory whole.

    ``what``: the key of ``records``, "points" or "steps".
    """
    yield f'{{"series": {json.dumps(series_record(series, gpus))}, "{what}": ['
    separator = ""
    for record in records:
        yield separator + json.dumps(record)
        separator = ", "
    own = [gap_record(gap) for gap in gaps if gap.gpu in (None, series.key.gpu)]
    yield f'], "gaps": {json.dumps(own)}}}'


def step_row(series: Subject, step: Step, gpus: Mapping[str, Gpu]) -> tuple[Any, ...]:
    """Return one row of STEP_COLUMNS."""
    begin = _row(series, step.start, None, gpus)[:-1]
    return (*begin, step.count, step.minimum, step.mean, step.maximum, step.last)


def point_row(point: Point, gpus: Mapping[str, Gpu]) -> tuple[Any, ...]:
    """Return one row of records.COLUMNS; an empty value: the series ended there."""
    return _row(point.series, point.wall, point.value, gpus)


def _row(series: Subject, wall: float, value: float | None, gpus: Mapping[str, Gpu]) -> tuple[Any, ...]:
    key = series.key
    return row(
        wall,
        gpus.get(key.gpu) or Gpu(key.gpu, "", ""),
        key.kind,
        key.quantity,
        value,
        owner=series.owner.key if series.owner else "",
        pid=series.process.key.pid if series.process else None,
    )
