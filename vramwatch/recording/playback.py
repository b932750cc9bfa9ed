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
from vramwatch.recording.moments import Listing, Moment, Part
from vramwatch.recording.row import OOM, Said

UNNAMED_GPU = "recorded GPU"
_COMPUTE = frozenset({ClaimKind.COMPUTE})


_Claimed = tuple[tuple[Claim, ...], tuple[Gauge, ...]]


class Playback:
    """Turns moments, in their order, into Readings; keeps who lives and how the Gpus are called."""

    def __init__(self, boot_id: str) -> None:
        self._lives = Lives(boot_id)
        self._gpus: dict[str, Gpu] = {}
        self._claimed: dict[str, tuple[Listing, _Claimed]] = {}  # by UUID, with what it was made of
        self._readings: dict[str, tuple[Part, bool, Reading]] = {}  # as above
        self._facts: tuple[Collection[int], int, Mapping[int, ProcessFacts]] = ((), -1, {})

    def play(self, moment: Moment) -> Readings:
        """Return the Readings of ``moment``, its Gpus in the order of their rows.

        A Gpu whose memory nothing tells at this time is Missing. What is told as it was before is the
        same Reading, or has the same claims. Errors: MalformedError as of Lives.
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
            if part.has_events:
                told = (row.said for row in (*part.events, *part.listing.rows))
                events += [_out_of_memory(said) for said in told if said.event == OOM]
        return Readings(tuple(readings), tuple(missing), tuple(events))

    def facts(self, pids: Collection[int], time: float) -> Mapping[int, ProcessFacts]:
        """Return what is known of every one of ``pids`` at ``time``, that of the moment played last.

        The same mapping, as long as it is asked for the same collection and nothing has changed.
        """
        asked, changes, facts = self._facts
        if asked is not pids or changes != self._lives.changes:
            facts = {pid: self._lives.facts(pid, time) for pid in pids}
            self._facts = pids, self._lives.changes, facts
        return facts

    def _found(self, part: Part) -> Reading | Missing | None:
        """Return what could be read of a Gpu; None: its rows are events alone."""
        is_empty = self._lives.had_some_on(part.gpu) and not self._lives.has_some_on(part.gpu)
        known = self._readings.get(part.gpu)
        if known is not None and known[0] is part and known[1] is is_empty:
            return known[2]
        gpu = self._gpu(part)
        if part.own is not None and part.is_gap:
            return _missing(gpu, part.own.reason)
        if part.own is None and not part.listing.claims and not (part.is_sum and is_empty):
            return None
        if part.memory is None:
            return _missing(gpu, "no row tells how much of it is used at this time")
        claims, gauges = self._claims(part)
        listed = claims if claims or is_empty else None
        utilization = None if part.own is None else part.own.utilization
        reading = Reading(gpu, part.memory, listed, utilization=utilization, gauges=gauges)
        self._readings[part.gpu] = part, is_empty, reading
        return reading

    def _claims(self, part: Part) -> _Claimed:
        known = self._claimed.get(part.gpu)
        if known is not None and known[0] is part.listing:
            return known[1]
        told = part.listing.claims
        claims = tuple(_claim(pid, said) for pid, said in told.items())
        gauges = tuple(Gauge(pid, *gauge) for pid, said in told.items() for gauge in said.gauges)
        self._claimed[part.gpu] = part.listing, (claims, gauges)
        return claims, gauges

    def _gpu(self, part: Part) -> Gpu:
        known = self._gpus.get(part.gpu)
        if known is None or (part.own is not None and part.own.ordinal not in ("", known.ordinal)):
            ordinal = part.own.ordinal if part.own else ""
            device = part.own.device if part.own else ""
            ordinal = ordinal or (part.gpu if part.gpu.isdecimal() else str(len(self._gpus)))
            known = self._gpus[part.gpu] = Gpu(part.gpu, ordinal, device or UNNAMED_GPU)
        return known


def _claim(pid: int, said: Said) -> Claim:
    return Claim(pid, None if said.used is None else Bytes(said.used), _COMPUTE)


def _missing(gpu: Gpu | None, reason: str) -> Missing:
    return Missing(gpu, Fault(FaultKind.RECORDED, reason))


def _out_of_memory(said: Said) -> Event:
    who = "a process" if said.pid is None else f"pid {said.pid}"
    return Event(
        EventKind.OUT_OF_MEMORY,
        f"{who} ran out of memory, as recorded",
        said.gpu,
        pid=said.pid,
        origin=Origin.RECORDED,
    )
