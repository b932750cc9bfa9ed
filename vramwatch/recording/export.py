"""What was stored as the rows of a recording: the long form, which ``replay`` reads."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from vramwatch.core.model import ProcessKey
from vramwatch.recording.long_form import FACTS, GAUGES, REQUIRED
from vramwatch.recording.row import EXIT, GAP, LONGEST_TEXT, OOM, RESTART

HEADER = (*REQUIRED, *FACTS, *GAUGES)

Fields = dict[str, str | float | None]
"""Column -> what is written; a column that is absent, or None, is empty. Every row has a time."""

AFTER = 0.001
"""Seconds by which a gap that begins with a reading is told after it: the two exclude one another."""


@dataclass(frozen=True, slots=True)
class Life:
    """One life of one process. ``owner``: its key; ``started``: unix seconds."""

    key: ProcessKey
    owner: str
    started: float | None


@dataclass(slots=True)
class Part:
    """What was read of one Gpu at one time. ``claims`` None: its process list was not read then."""

    figures: dict[str, float] = field(default_factory=dict)  # quantity -> value
    claims: dict[Life, float] | None = None  # used bytes
    gauges: dict[Life, dict[str, float]] = field(default_factory=dict)


class Hole(NamedTuple):
    """A stretch without readings of a Gpu, or of all (None). Unix seconds; ``until`` may be infinite."""

    gpu: str | None
    since: float
    until: float
    reason: str


class Accident(NamedTuple):
    """Something ran out of memory on a Gpu at a time (unix seconds)."""

    time: float
    gpu: str


def export(
    moments: Iterable[tuple[float, Mapping[str, Part]]],
    holes: Sequence[Hole],
    accidents: Sequence[Accident],
) -> Iterator[Fields]:
    """Yield the rows of a recording, ascending in time.

    ``moments``: time and what was read then, by UUID. One that is not later than those before it, because
    the clock was set back, is left out: a recording has no other order than time. ``holes`` and
    ``accidents`` ascend in time.
    """
    told = _Told(holes, accidents)
    for time, parts in moments:
        if time > told.reached:
            yield from told.until(time)
            yield from told.moment(time, parts)
    if told.reached > -inf:
        yield from told.until(inf)


class _Told:
    """Keeps who was listed last on every Gpu, and which gaps are still to be told."""

    def __init__(self, holes: Sequence[Hole], accidents: Sequence[Accident]) -> None:
        self.reached = -inf
        self._waiting = list(holes)  # not begun yet
        self._open: list[Hole] = []
        self._accidents = list(accidents)
        self._listed: dict[str, dict[int, Life]] = {}  # UUID -> pid -> who it was in the newest list
        self._gauges: dict[Life, dict[str, float]] = {}  # read since the newest list

    def until(self, time: float) -> Iterator[Fields]:
        """Yield what happened before ``time`` while nothing was read."""
        gaps: dict[tuple[float, str | None], Fields] = {}
        accidents: list[tuple[float, Fields]] = []
        while self._waiting and self._waiting[0].since < time:
            hole = self._waiting.pop(0)
            at = max(hole.since, self.reached + AFTER)
            self._open = [*(each for each in self._open if each.until > at), hole]
            if at < time:
                gaps |= {(at, uuid): row for uuid, row in self._gap_rows(at, ())}
        while self._accidents and self._accidents[0].time <= time:
            accident = self._accidents.pop(0)
            at = max(accident.time, self.reached)
            accidents.append((at, {"time": at, "gpu": accident.gpu, "event": OOM}))
        rows = [*accidents, *((at, row) for (at, _), row in gaps.items())]
        yield from (row for _, row in sorted(rows, key=lambda row: row[0]))

    def moment(self, time: float, parts: Mapping[str, Part]) -> Iterator[Fields]:
        """Yield what was read at ``time``, and the gaps of the Gpus of which nothing was."""
        self.reached = time
        begun = [each for each in self._waiting if each.since == time and each.gpu not in (None, *parts)]
        self._waiting = [each for each in self._waiting if each not in begun]
        self._open = [each for each in (*self._open, *begun) if each.until > time]
        for uuid, part in parts.items():
            yield from _gpu_rows(time, uuid, part)
            for life, told in part.gauges.items():
                self._gauges.setdefault(life, {}).update(told)
        yield from (row for _, row in self._gap_rows(time, (None, *parts)))
        yield from self._list_rows(time, parts)

    def _gap_rows(self, time: float, read: Collection[str | None]) -> Iterator[tuple[str | None, Fields]]:
        """Yield UUID and row of every Gpu that is in a gap and not among those ``read``; None: of all.

        All of them each time: a Gpu of which nothing is told while others are is taken for unplugged.
        """
        for uuid, hole in {hole.gpu: hole for hole in self._open}.items():
            if uuid not in read:
                yield uuid, {"time": time, "gpu": uuid, "event": f"{GAP}:{_name(hole.reason)}"}

    def _list_rows(self, time: float, parts: Mapping[str, Part]) -> Iterator[Fields]:
        before = self._listed
        lists = {uuid: part.claims for uuid, part in parts.items() if part.claims is not None}
        self._listed = before | {
            uuid: {life.key.pid: life for life in claims} for uuid, claims in lists.items()
        }
        alive = {pid for listed in self._listed.values() for pid in listed}
        for uuid, claims in lists.items():
            earlier = before.get(uuid, {})
            for pid in earlier.keys() - alive:
                yield {"time": time, "gpu": uuid, "pid": pid, "event": EXIT}
            for life, used in claims.items():
                is_other = earlier.get(life.key.pid, life).key != life.key
                gauges = self._gauges.pop(life, {})
                yield _process_row(time, uuid, life, used, gauges) | ({"event": RESTART} if is_other else {})


def _gpu_rows(time: float, uuid: str, part: Part) -> Iterator[Fields]:
    figures = part.figures
    if "used_bytes" in figures:
        yield {
            "time": time,
            "gpu": uuid,
            "used_bytes": figures["used_bytes"],
            "total_bytes": figures.get("total_bytes"),
            "reserved_bytes": figures.get("reserved_bytes"),
            "utilization": figures.get("utilization_ratio"),
        }


def _process_row(time: float, uuid: str, life: Life, used: float, gauges: Mapping[str, float]) -> Fields:
    return {
        "time": time,
        "gpu": uuid,
        "pid": life.key.pid,
        "used_bytes": used,
        "process_start": life.started,
        "owner": _name(life.owner),
        **{quantity: value for quantity, value in gauges.items() if quantity in GAUGES},
    }


def _name(text: str) -> str:
    """Return ``text`` as a recording may hold it."""
    return "".join(char if char.isprintable() else "?" for char in text)[:LONGEST_TEXT]
