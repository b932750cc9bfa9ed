"""When the reader is started, ended, and which GPUs it must not touch. Pure: time is handed in.

A reader is starting, then idle or asked. One that does not answer in time is told to end (SIGTERM), killed
2 s later, and given up as stuck when not even that ends it: then one replacement runs, without the GPU
that the stuck one is inside of. Times are boottime seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from signal import SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGTERM, Signals
from types import MappingProxyType

from vramwatch.core.model import Event, EventKind, Fault, FaultKind
from vramwatch.core.units import Seconds, show_seconds
from vramwatch.driver.wire import Calling

GRACE = Seconds(2.0)
"""Between SIGTERM and SIGKILL: time to finish a slow call, as killing a client inside one is a risk."""

STUCK_AFTER = Seconds(2.0)
"""After SIGKILL: who still lives then sleeps uninterruptibly inside the driver."""

SLOWEST_RESTART = Seconds(60.0)
"""Restarts are tried after 1, 2, 4 … s, at most this."""

FAILURES_COUNTED = 16
"""More change nothing: the delay has long reached its most."""

GOOD_MINUTE = Seconds(60.0)
"""After so long without a failure, the next one is again the first."""

NO_DRIVER_RETRY = Seconds(30.0)
"""How often a driver is looked for where there is none, or one that cannot be used."""

HANGS_BORNE = 2
"""So many hangs of one GPU, and it is left out."""

FIRST_LEFT_OUT, LONGEST_LEFT_OUT = Seconds(60.0), Seconds(600.0)
"""How long a GPU is left out: doubled with each further hang, up to 10 minutes."""

FORGIVEN_AFTER = Seconds(3600.0)
"""A GPU that did not hang for so long starts anew."""

LIVING_STUCK_MOST = 1
"""So many stuck readers may live beside a replacement."""

CRASHES = frozenset({SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL})
"""Signals by which the library ends its own process; others come from outside and blame no GPU."""

NO_EVENTS: tuple[Event, ...] = ()

WAITS_FOR_A_DRIVER = frozenset({FaultKind.NO_DRIVER, FaultKind.MISMATCH, FaultKind.NO_PERMISSION})


class Phase(Enum):
    ABSENT = auto()
    STARTING = auto()
    READY = auto()
    ENDING = auto()  # told to end, perhaps killed


@dataclass(frozen=True, slots=True)
class Suspect:
    """A device inside whose calls readers hung or crashed. ``until``: left out until then."""

    index: int
    count: int
    call: str
    latest: float
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Stuck:
    """A reader that not even SIGKILL ended; ``device`` None: inside no GPU's call."""

    pid: int
    device: str | None
    index: int | None
    call: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """What follows from something seen: the next state, a signal to send, and what to tell."""

    life: "Lifecycle"
    signal: Signals | None = None
    events: tuple[Event, ...] = ()


STARTING_FAULT = Fault(FaultKind.STARTING, "the reader of the GPUs is starting")
RELEASED_FAULT = Fault(FaultKind.RELEASED, "an operator asked vramwatch to let go of the GPUs")


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The life of the reader so far. ``fault`` says why nothing is read while that is so."""

    phase: Phase = Phase.ABSENT
    since: float = 0.0  # when the phase began
    start_at: float = 0.0  # ABSENT: not before
    killed_at: float | None = None  # ENDING
    failures: int = 0
    good_since: float | None = None
    fault: Fault = STARTING_FAULT
    inside: Calling | None = None  # ENDING: what it hung in
    released: bool = False
    stuck: tuple[Stuck, ...] = ()
    suspects: Mapping[str, Suspect] = field(default_factory=lambda: MappingProxyType({}))

    # --- questions ------------------------------------------------------------------------------

    def may_start(self, now: float) -> bool:
        """Whether a reader is to be started."""
        if self.phase is not Phase.ABSENT or self.released or now < self.start_at:
            return False
        return len(self.stuck) <= LIVING_STUCK_MOST and all(stuck.device for stuck in self.stuck)

    def left_out(self, now: float) -> dict[str, int]:
        """Return device UUID -> index of every device that must not be touched."""
        out = {device: s.index for device, s in self.suspects.items() if s.until > now}
        return out | {s.device: s.index for s in self.stuck if s.device and s.index is not None}

    def why_left_out(self, device: str, now: float) -> Fault:
        """Return the reason for leaving out ``device``, one of ``left_out``."""
        for stuck in self.stuck:
            if stuck.device == device:
                detail = f"the reader with pid {stuck.pid} is stuck in {stuck.call} on it and cannot be ended"
                return Fault(FaultKind.LEFT_OUT, detail, stuck.call)
        suspect = self.suspects[device]
        rest = show_seconds(max(0.0, suspect.until - now))
        detail = f"it hung {suspect.count} times, last in {suspect.call}; it is tried again in {rest}"
        return Fault(FaultKind.LEFT_OUT, detail, suspect.call)

    # --- a good life ------------------------------------------------------------------------------

    def started(self, now: float) -> "Lifecycle":
        return replace(self, phase=Phase.STARTING, since=now, fault=STARTING_FAULT, good_since=None)

    def ready(self, now: float) -> "Lifecycle":
        return replace(self, phase=Phase.READY, since=now, good_since=now)

    def answered(self, now: float) -> "Lifecycle":
        """It answered. After a good minute the failures before it count no more."""
        suspects = self.suspects
        if any(now - max(s.latest, s.until) > FORGIVEN_AFTER for s in suspects.values()):
            kept = {d: s for d, s in suspects.items() if now - max(s.latest, s.until) <= FORGIVEN_AFTER}
            suspects = MappingProxyType(kept)
        is_good = self.good_since is not None and now - self.good_since >= GOOD_MINUTE
        if suspects is self.suspects and not (is_good and self.failures):
            return self
        return replace(self, failures=0 if is_good else self.failures, suspects=suspects)

    def let_go(self) -> "Lifecycle":
        """An operator wants the GPUs released, and the reader has ended or was given up."""
        return replace(self, phase=Phase.ABSENT, released=True, fault=RELEASED_FAULT)

    def taken_up(self) -> "Lifecycle":
        return replace(self, released=False, start_at=0.0, fault=STARTING_FAULT)

    # --- what goes wrong --------------------------------------------------------------------------

    def said_farewell(self, now: float, fault: Fault) -> "Lifecycle":
        """It could do nothing for any GPU, said so, and ended."""
        if fault.kind in WAITS_FOR_A_DRIVER:
            waiting = now + NO_DRIVER_RETRY
            return replace(self, phase=Phase.ABSENT, since=now, start_at=waiting, fault=fault)
        return self._absent(now, fault)

    def crashed(self, now: float, how: str, signal: int | None, inside: Calling | None) -> Move:
        """It ended unasked; ``how`` says with what status, ``signal`` by which signal."""
        where = f" {_place(inside)}" if inside else ""
        fault = Fault(
            FaultKind.CRASHED, f"the reader of the GPUs {how}{where}", inside.call if inside else None
        )
        life, left_out = self, NO_EVENTS
        if signal in CRASHES and inside:
            life, left_out = self._blamed(now, inside)
        return Move(life._absent(now, fault), events=left_out)

    def overdue(self, now: float, waited: Seconds, inside: Calling | None) -> Move:
        """It did not answer, or not start, within ``waited``; end it."""
        where = _place(inside) if inside else "inside no driver call"
        is_starting = self.phase is Phase.STARTING
        verb = "start" if is_starting else "answer"
        detail = f"the driver did not {verb} within {show_seconds(waited)}, {where}"
        fault = Fault(FaultKind.HUNG, detail, inside.call if inside else None)
        on_gpu = inside is not None and inside.device_index is not None
        kind = EventKind.INIT_HUNG if is_starting and not on_gpu else EventKind.READER_KILLED
        told = Event(kind, detail, inside.gpu if inside and on_gpu else None)
        life, left_out = self, NO_EVENTS
        if inside and inside.seconds >= waited / 2:  # else many slow calls, and no single one to blame
            life, left_out = self._blamed(now, inside)
        return Move(life._ending(now, fault, inside), SIGTERM, (told, *left_out))

    def babbled(self, now: float, what: str) -> Move:
        """It answered something that is no answer; end it."""
        fault = Fault(FaultKind.CRASHED, f"the reader of the GPUs answered {what}")
        return Move(self._ending(now, fault, None), SIGTERM, (Event(EventKind.READER_KILLED, fault.detail),))

    def lingers(self, now: float, fault: Fault, inside: Calling | None) -> Move:
        """It has closed its end, for the reason ``fault``, and yet lives; end it."""
        return Move(self._ending(now, fault, inside), SIGTERM)

    def still_ending(self, now: float, pid: int) -> Move:
        """It was told to end and lives: kill it, then give it up."""
        if self.killed_at is None:
            if now - self.since < GRACE:
                return Move(self)
            return Move(replace(self, killed_at=now), SIGKILL)
        if now - self.killed_at < STUCK_AFTER:
            return Move(self)
        return self.gave_up(now, pid)

    def gave_up(self, now: float, pid: int) -> Move:
        """Not even SIGKILL ended it."""
        inside = self.inside
        device = inside.gpu if inside and inside.device_index is not None else None
        stuck = Stuck(pid, device, inside.device_index if inside else None, inside.call if inside else None)
        where = _place(inside) if inside else "inside no driver call"
        detail = f"the reader with pid {pid} cannot be ended, {where}"
        life = replace(self._absent(now, Fault(FaultKind.HUNG, detail)), stuck=(*self.stuck, stuck))
        return Move(life, events=(Event(EventKind.READER_STUCK, detail, device),))

    def ended(self, now: float) -> "Lifecycle":
        """The one that was told to end has ended."""
        return self._absent(now, self.fault)

    def stuck_ended(self, pid: int) -> "Lifecycle":
        """One that was given up has ended after all."""
        return replace(self, stuck=tuple(stuck for stuck in self.stuck if stuck.pid != pid))

    def _ending(self, now: float, fault: Fault, inside: Calling | None) -> "Lifecycle":
        return replace(
            self,
            phase=Phase.ENDING,
            since=now,
            killed_at=None,
            fault=fault,
            inside=inside,
            good_since=None,
        )

    def _absent(self, now: float, fault: Fault) -> "Lifecycle":
        delay = min(2.0**self.failures, SLOWEST_RESTART)
        return replace(
            self,
            phase=Phase.ABSENT,
            since=now,
            start_at=now + delay,
            failures=min(self.failures + 1, FAILURES_COUNTED),
            good_since=None,
            fault=fault,
            inside=None,
        )

    def _blamed(self, now: float, inside: Calling) -> tuple["Lifecycle", tuple[Event, ...]]:
        """Count a hang or crash against the device that it happened in, and leave it out at the second."""
        if inside.gpu is None or inside.device_index is None:
            return self, NO_EVENTS
        before = self.suspects.get(inside.gpu)
        count = before.count + 1 if before else 1
        span = 0.0
        if count >= HANGS_BORNE:
            span = min(FIRST_LEFT_OUT * 2.0 ** (count - HANGS_BORNE), LONGEST_LEFT_OUT)
        suspect = Suspect(inside.device_index, count, inside.call, now, now + span)
        life = replace(self, suspects=MappingProxyType({**self.suspects, inside.gpu: suspect}))
        if not span:
            return life, NO_EVENTS
        detail = f"left out for {show_seconds(span)}: it hung {count} times, last in {inside.call}"
        return life, (Event(EventKind.LEFT_OUT, detail, inside.gpu),)


def _place(inside: Calling) -> str:
    on = f" on {inside.gpu}" if inside.gpu else ""
    return f"inside {inside.call}{on} for {show_seconds(inside.seconds)}"
