"""Transitions of incidents as data: objects whose keys carry units, and rows of one table."""

from typing import Any

from vramwatch.core.episodes import Tally
from vramwatch.core.incidents import Transition
from vramwatch.core.records import Json, transition_record
from vramwatch.core.texts import clean

COLUMNS = (
    "file", "time", "time_iso", "gpu", "pid", "subject_kind", "owner", "incident", "pattern", "state",
    "severity", "cause", "rate_bytes_per_hour", "exhaustion_at", "exhaustion_low", "exhaustion_high",
    "abstention", "evidence", "reason",
)  # fmt: skip


TALLY_COLUMNS = (
    "file", "episodes", "warning", "critical", "gpu_weeks", "episodes_per_gpu_week",
    "episodes_per_gpu_week_low", "episodes_per_gpu_week_high",
)  # fmt: skip


def transition_row(transition: Transition, file: str) -> tuple[Any, ...]:
    """Return one row of COLUMNS; what is not known is empty."""
    record = transition_record(transition)
    exhaustion = record["exhaustion"] or {}
    fields = (
        *(file, record["time"], record["time_iso"], record["gpu"], record["pid"]),
        *(record["subject"]["kind"], clean(record["subject"]["owner"] or "")),
        *(record[name] for name in COLUMNS[7:13]),
        *(exhaustion.get(name) for name in ("at", "low", "high")),
        *(record["abstention"], clean(record["evidence"]["sentence"]), record["reason"]),
    )
    return tuple("" if each is None else each for each in fields)


def tally_record(name: str, tally: Tally) -> Json:
    """Return one object, its keys in the order of TALLY_COLUMNS; the interval holds the rate with 95 %."""
    interval = tally.interval
    figures = (name, tally.episodes, tally.warning, tally.critical, tally.weeks, tally.rate)
    bounds = (interval.low, interval.high) if interval else (None, None)
    return dict(zip(TALLY_COLUMNS, (*figures, *bounds), strict=True))
