"""Where a verb's figures come from: the store while a daemon fills it, else one reading of the driver."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path

from vramwatch.cli.views.status import Status, age, is_old
from vramwatch.cli.views.words import blame
from vramwatch.core.errors import NoDeviceError, StoreError, VramwatchError
from vramwatch.core.model import FaultKind, Instant, Poll, SeriesKey
from vramwatch.core.units import Seconds, show_seconds
from vramwatch.store import History

CHANGE_SPAN = Seconds(3600.0)
"""Over how long a change is told."""

READ_EVERY = Seconds(5.0)
"""How often the driver is asked without a daemon: each time the whole of it is opened and closed."""

TRY = "run `make try` in a checkout to see vramwatch on a simulated server"
NOT_KEPT = "No history is being kept; vramwatch run keeps it."


class Looking:
    """Answers with the present Status, again and again; the store is opened once.

    Without ``read_once`` the store at ``path`` is all that is asked, however old it is.
    """

    def __init__(self, path: Path, read_once: Callable[[], Poll] | None, zone: tzinfo | None) -> None:
        self._path = path
        self._read_once = read_once
        self._zone = zone
        self._history: History | None = None
        self._read: Poll | None = None
        self._latest: Status | None = None

    def look(self, now: Instant) -> tuple[Status, str]:
        """Return the present Status and what a reader must know of where it comes from ("": nothing).

        Errors: at the first look, what forbids every answer (NoDeviceError); later the latest Status
        stays, and the error is told.
        """
        try:
            self._latest, note = self._look(now)
        except VramwatchError as error:
            if self._latest is None:
                raise
            self._latest, note = replace(self._latest, now=now), str(error)
        return self._latest, note

    def _look(self, now: Instant) -> tuple[Status, str]:
        if self._read_once is None:
            stored = self._stored(now)
            if stored is None:
                raise StoreError(self._how_old(stored))
            return stored, f"{self._how_old(stored)}." if is_old(stored) or self._is_stopped(stored) else ""
        return self._look_at_the_present(now, self._read_once)

    def _look_at_the_present(self, now: Instant, read_once: Callable[[], Poll]) -> tuple[Status, str]:
        try:
            stored = self._stored(now)
            stopped = stored is not None and self._is_stopped(stored)
        except StoreError as error:
            why = f"No daemon is running, or its store cannot be used: {error}."
        else:
            if stored and not stopped and not is_old(stored):
                return stored, ""
            why = f"No daemon is running: {self._how_old(stored)}."
        return Status(self._fresh(now, why, read_once), now, self._zone), f"{why} {NOT_KEPT}"

    def _stored(self, now: Instant) -> Status | None:
        """Return the newest Status of the store; None if it has none. Errors: StoreError."""
        if self._history is None:
            self._history = History.open(self._path)
        poll = self._history.latest()
        return stored_status(self._history, poll, now, self._zone) if poll else None

    def _is_stopped(self, stored: Status) -> bool:
        """Whether the store says that its daemon ended. Errors: StoreError."""
        gaps = self._history.gaps(stored.poll.at.wall, stored.now.wall) if self._history else []
        return any(gap.reason is FaultKind.STOPPED and gap.until is None for gap in gaps)

    def _how_old(self, stored: Status | None) -> str:
        if stored is None:
            return f"{self._path} holds no reading"
        return f"the newest reading in {self._path} is {show_seconds(age(stored.poll.at, stored.now))} old"

    def _fresh(self, now: Instant, why: str, read_once: Callable[[], Poll]) -> Poll:
        """Return a reading of the driver, at most READ_EVERY old. Errors: NoDeviceError."""
        if self._read is None or age(self._read.at, now) >= READ_EVERY:
            poll = read_once()
            if not poll.ledgers and all(missing.gpu is None for missing in poll.missing):
                raise NoDeviceError(f"{why} Nor can it be read now: {_no_device(poll)}")
            self._read = poll
        return self._read


def _no_device(poll: Poll) -> str:
    """Return why there is no GPU to show, and what to do."""
    faults = [missing.fault for missing in poll.missing]
    if not faults:
        return f"the NVIDIA driver lists no GPU: see nvidia-smi -L, or {TRY}"
    if faults[0].kind is FaultKind.NO_DRIVER:
        return f"{blame(faults[0])}: install the driver, so that nvidia-smi works, or {TRY}"
    return f"no GPU can be read, because {blame(faults[0])}; vramwatch doctor says what to do"


def stored_status(history: History, poll: Poll, now: Instant, zone: tzinfo | None) -> Status:
    """Return ``poll`` with what the store knows beside it: changes, and since when GPUs are blind."""
    at = poll.at.wall
    first = (history.span() or (at, at))[0]
    span = min(CHANGE_SPAN, at - first)
    moved = history.change(at - span, at) if span > 0 else {}
    return Status(
        poll,
        now,
        zone,
        changes=_differences(moved),
        span=span if span > 0 else None,
        since={gap.gpu: gap.since for gap in history.gaps(at, at)},
    )


def past_status(history: History, moment: float, zone: tzinfo | None, gpu: str | None) -> Status | None:
    """Return who held what at ``moment`` (unix seconds), of one GPU (UUID) or of all (None).

    None: the store reaches not so far. Its ``now`` is that moment, so its age is the age then.
    """
    poll = history.at(moment)
    if poll is None:
        return None
    passed = moment - poll.at.wall
    now = replace(poll.at, wall=moment, boottime=poll.at.boottime + passed)
    shown = replace(
        poll,
        ledgers=tuple(ledger for ledger in poll.ledgers if gpu in (None, ledger.gpu.uuid)),
        missing=tuple(each for each in poll.missing if each.gpu is None or gpu in (None, each.gpu.uuid)),
    )
    since = {gap.gpu: gap.since for gap in history.gaps(moment, moment)}
    return Status(shown, now, zone, since=since, past=True)


def _differences(moved: Mapping[SeriesKey, tuple[float | None, float | None]]) -> dict[SeriesKey, int]:
    """Return last - first of every series that had a value at both ends."""
    return {
        key: round(last - first)
        for key, (first, last) in moved.items()
        if first is not None and last is not None
    }
