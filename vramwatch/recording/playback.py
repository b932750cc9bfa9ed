"""A recording as the readings that its source once gave."""

from collections.abc import Collection, Mapping

from vramwatch.core.model import (
    Claim,
    ClaimKind,
    Event,
    EventKind,
    Fault,
    FaultKind,
    Gauge,
    Gpu,
    Missing,
    Origin,
    ProcessFacts,
    Reading,
    Readings,
)
from vramwatch.core.units import Bytes
from vramwatch.recording.lives import Lives
from vramwatch.recording.moments import Moment, Part
from vramwatch.recording.row import OOM, Row

UNNAMED_GPU = "recorded GPU"
_COMPUTE = frozenset({ClaimKind.COMPUTE})


class Playback:
    """Turns moments, in their order, into Readings; keeps who lives and how the Gpus are called."""

    def __init__(self, boot_id: str) -> None:
        self._lives = Lives(boot_id)
        self._gpus: dict[str, Gpu] = {}

    def play(self, moment: Moment) -> Readings:
        """Return the Readings of ``moment``, its Gpus in the order of their rows.

        A Gpu whose memory nothing tells at this time is Missing. Errors: MalformedError as of Lives.
        """
        readings: list[Reading] = []
        missing: list[Missing] = []
        events: list[Event] = []
        self._lives.follow(moment)
        if moment.gap is not None:
            missing.append(_missing(None, moment.gap.reason))
        for part in moment.parts.values():
            found = self._found(part)
            if isinstance(found, Reading):
                readings.append(found)
            elif found is not None:
                missing.append(found)
            events += [_out_of_memory(row) for row in (*part.events, *part.processes) if row.event == OOM]
        return Readings(gpus=tuple(readings), missing=tuple(missing), events=tuple(events))

    def facts(self, pids: Collection[int], time: float) -> Mapping[int, ProcessFacts]:
        """Return what is known of every one of ``pids`` at ``time``, that of the moment played last."""
        return {pid: self._lives.facts(pid, time) for pid in pids}

    def _found(self, part: Part) -> Reading | Missing | None:
        """Return what could be read of a Gpu; None: its rows are events alone."""
        gpu = self._gpu(part)
        if part.own is not None and part.is_gap:
            return _missing(gpu, part.own.reason)
        is_empty = self._lives.had_some_on(part.gpu) and not self._lives.has_some_on(part.gpu)
        if part.own is None and not part.claims and not (part.is_sum and is_empty):
            return None
        if part.memory is None:
            return _missing(gpu, "no row tells how much of it is used at this time")
        claims = tuple(_claim(pid, row) for pid, row in part.claims.items())
        return Reading(
            gpu=gpu,
            memory=part.memory,
            claims=claims if claims or is_empty else None,
            utilization=None if part.own is None else part.own.utilization,
            gauges=tuple(
                Gauge(pid, quantity, value)
                for pid, row in part.claims.items()
                for quantity, value in row.gauges
            ),
        )

    def _gpu(self, part: Part) -> Gpu:
        known = self._gpus.get(part.gpu)
        if known is None or (part.own is not None and part.own.ordinal not in ("", known.ordinal)):
            ordinal = part.own.ordinal if part.own else ""
            device = part.own.device if part.own else ""
            ordinal = ordinal or (part.gpu if part.gpu.isdecimal() else str(len(self._gpus)))
            known = self._gpus[part.gpu] = Gpu(part.gpu, ordinal, device or UNNAMED_GPU)
        return known


def _claim(pid: int, row: Row) -> Claim:
    return Claim(pid, None if row.used is None else Bytes(row.used), _COMPUTE)


def _missing(gpu: Gpu | None, reason: str) -> Missing:
    return Missing(gpu, Fault(FaultKind.RECORDED, reason))


def _out_of_memory(row: Row) -> Event:
    who = "a process" if row.pid is None else f"pid {row.pid}"
    return Event(
        EventKind.OUT_OF_MEMORY,
        f"{who} ran out of memory, as recorded",
        row.gpu,
        pid=row.pid,
        origin=Origin.RECORDED,
    )
