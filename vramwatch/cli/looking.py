"""Where a verb's figures come from: the store while a daemon fills it, else one reading of the driver."""

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo
from math import inf
from pathlib import Path
from typing import Any

from vramwatch.cli.selection import pick_gpu
from vramwatch.cli.views.status import (
    OLD_SECONDS,
    OVER,
    Standing,
    Status,
    age,
    gpus_of,
    is_old,
    standing_words,
)
from vramwatch.cli.views.words import blame, join_sentences
from vramwatch.core.errors import NoDeviceError, StoreError, VramwatchError
from vramwatch.core.model import FaultKind, Gpu, Instant, SeriesKey, SubjectKind
from vramwatch.core.poll import Poll
from vramwatch.core.records import Json
from vramwatch.core.texts import clean
from vramwatch.core.units import Seconds
from vramwatch.store import History

ATTEMPTS_SHOWN = 86400.0
"""Seconds back from the newest poll of which it is shown what was done."""

CHANGE_SPAN = Seconds(3600.0)
"""Over how long a change is told."""

READ_EVERY = Seconds(5.0)
"""How often the driver is asked without a daemon: each time the whole of it is opened and closed."""

SIMULATED, RECORDED = "simulated:", "replay:"
"""How the boot ids of simulated servers and of recordings begin (sources/simulated.py, replay.py)."""

ASKED_AFTER = 5.0
"""Seconds after which it is asked whether the store can be written; one to which nothing happens is older."""

JUST_BEFORE = 0.001
"""Seconds: the store keeps the wall clock to a millisecond."""

TRY = "run `make try` in a checkout to see vramwatch on a simulated server"
NOT_KEPT = "No history is being kept; vramwatch run keeps it"
OF_THE_DRIVER = "These figures are the driver's own of just now"


class Looking:
    """Answers with the present Status, again and again; the store is opened once.

    Without ``read_once``, which reads the driver, the store at ``path`` answers, however old it is.
    ``gpus``: of these alone, as written by a person (see ``selection.pick_gpu``); none: of all. ``ask`` asks
    the daemon a verb and returns its reply; None: it does not say.
    """

    def __init__(
        self,
        path: Path,
        read_once: Callable[[], Poll] | None,
        zone: tzinfo | None,
        gpus: Sequence[str] = (),
        ask: Callable[[str], Mapping[str, Any] | None] = lambda verb: None,
    ) -> None:
        self._path = path
        self._read_once = read_once
        self._zone = zone
        self._gpus = gpus
        self._ask = ask
        self._history: History | None = None
        self._read: Poll | None = None
        self._latest: Status | None = None

    def look(self, now: Instant) -> tuple[Status, str]:
        """Return the present Status and what a reader must know beside its standing ("": nothing).

        Errors: at the first look, what forbids every answer (NoDeviceError, StoreError, UsageError); later
        the latest Status stays, and the error is told.
        """
        try:
            status, note = self._look(now)
            self._latest = _picked(status, self._gpus)
        except VramwatchError as error:
            if self._latest is None:
                raise
            self._latest, note = replace(self._latest, now=now), join_sentences(str(error))
        return self._latest, note

    def _look(self, now: Instant) -> tuple[Status, str]:
        try:
            stored = self._stored(now)
        except StoreError as error:
            if self._read_once is None:
                raise
            why = join_sentences("No daemon is running, or its store cannot be used", str(error))
        else:
            fault = self._fault(stored)
            is_present = stored is not None and stored.standing not in OVER
            if stored and (is_present or self._read_once is None or (fault and is_simulated(stored.poll.at))):
                return self._with_daemons_word(stored), fault
            if self._read_once is None:
                raise StoreError(f"{self._path} holds no reading yet; vramwatch run fills it")
            if fault:
                return Status(self._fresh(now, fault, self._read_once), now, self._zone), join_sentences(
                    fault, OF_THE_DRIVER
                )
            why = self._why_not_the_store(stored)
        said = join_sentences(why, OF_THE_DRIVER, NOT_KEPT)
        return Status(self._fresh(now, why, self._read_once), now, self._zone), said

    def _fault(self, stored: Status | None) -> str:
        """Return that the daemon cannot write the store it fills, and why; empty where it can."""
        if stored is None or age(stored.poll.at, stored.now) < ASKED_AFTER:
            return ""
        fault = (self._ask("ping") or {}).get("store")
        if fault is None:
            return ""
        meanwhile = "Meanwhile it keeps what is newest in memory, and tells people from there"
        return join_sentences(f"The daemon runs and cannot write: {clean(str(fault))}", meanwhile)

    def _with_daemons_word(self, stored: Status) -> Status:
        """Add what the daemon alone knows, as far as it says."""
        off = (self._ask("remedies") or {}).get("off")
        return replace(
            stored,
            workers=self._asked("workers"),
            models=self._asked("models"),
            remedies_off=None if off is None else str(off),
        )

    def _asked(self, what: str) -> Sequence[Json] | None:
        """Return who has enrolled with the daemon, or what engines have loaded; None: it does not say."""
        return (self._ask(what) or {}).get(what)

    def _stored(self, now: Instant) -> Status | None:
        """Return the newest Status of the store; None if it has none. Errors: StoreError."""
        if self._history is None:
            self._history = History.open(self._path)
        return stored_status(self._history, self._path, now, self._zone)

    def _why_not_the_store(self, stored: Status | None) -> str:
        if stored is None:
            return join_sentences("No daemon is running", f"{self._path} holds no reading")
        last = f"vramwatch status --store {shlex.quote(str(self._path))} shows what stood last"
        return join_sentences(standing_words(stored), last)

    def _fresh(self, now: Instant, why: str, read_once: Callable[[], Poll]) -> Poll:
        """Return a reading of the driver, at most READ_EVERY old. Errors: NoDeviceError."""
        if self._read is None or age(self._read.at, now) >= READ_EVERY:
            poll = read_once()
            if not poll.ledgers and all(missing.gpu is None for missing in poll.missing):
                raise NoDeviceError(join_sentences(why, f"Nor can the driver be asked: {_no_device(poll)}"))
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


def stored_status(history: History, path: Path, now: Instant, zone: tzinfo | None) -> Status | None:
    """Return the newest Status of the store at ``path``; None if it has none. Errors: StoreError."""
    poll = history.latest()
    if poll is None:
        return None
    status = _with_standing(history, path, Status(poll, now, zone))
    if status.standing in OVER:
        status = replace(status, poll=_with_last_figures(history, poll))
    return _with_history(history, status, poll.at.wall)


def _with_standing(history: History, path: Path, status: Status) -> Status:
    """Return ``status`` with how the daemon that fills the store stands now."""
    at = status.poll.at
    if at.boot_id.startswith(RECORDED):
        return replace(status, standing=Standing.RECORDED)
    for gap in history.gaps(at.wall, at.wall):
        if gap.reason is FaultKind.STOPPED and gap.until is None:
            return replace(status, standing=Standing.STOPPED, stopped=gap.since)
    if not is_old(status):
        return status
    simulated = is_simulated(status.poll.at) and is_being_written(path, status.now.wall)
    return replace(status, standing=Standing.CATCHING_UP if simulated else Standing.SILENT)


def is_simulated(at: Instant) -> bool:
    """Return whether the poll of ``at`` was read from a simulated server."""
    return at.boot_id.startswith(SIMULATED)


def is_played(at: Instant) -> bool:
    """Return whether the poll of ``at`` is none of this machine: simulated, or from a recording."""
    return at.boot_id.startswith((SIMULATED, RECORDED))


def is_being_written(path: Path, now: float) -> bool:
    """Return whether the store or its log was written lately: within the time after which a reading is old.

    ``now``: unix seconds.
    """
    files = (path, path.with_name(path.name + "-wal"))
    return any(abs(now - _written_at(each)) < OLD_SECONDS for each in files)


def _written_at(path: Path) -> float:
    """Return when the file was last written, unix seconds; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _picked(status: Status, written: Collection[str]) -> Status:
    """Return ``status`` of the GPUs that were asked for, with their incidents and vramwatch's own.

    Errors: UsageError.
    """
    poll = _pick(status.poll, written)
    if poll is status.poll:
        return status
    gpus = gpus_of(poll)
    theirs = tuple(
        each
        for each in status.incidents
        if (subject := each.incident.subject).gpu in gpus or subject.kind is SubjectKind.VRAMWATCH
    )
    return replace(status, poll=poll, incidents=theirs)


def _pick(poll: Poll, written: Collection[str]) -> Poll:
    """Return ``poll`` of the GPUs that were asked for by name; of all where none was, or none is known.

    Errors: UsageError for a name that fits no Gpu of the Poll, or several.
    """
    known = [ledger.gpu for ledger in poll.ledgers] + [each.gpu for each in poll.missing if each.gpu]
    if not written or not known:
        return poll
    return _of(poll, {pick_gpu(name, known).uuid for name in written})


def _of(poll: Poll, uuids: Collection[str]) -> Poll:
    """Return ``poll`` of these devices with their MIG instances, and of these instances."""

    def is_asked_for(gpu: Gpu) -> bool:
        return gpu.uuid in uuids or gpu.parent in uuids

    return replace(
        poll,
        ledgers=tuple(ledger for ledger in poll.ledgers if is_asked_for(ledger.gpu)),
        missing=tuple(each for each in poll.missing if each.gpu is None or is_asked_for(each.gpu)),
    )


def _with_last_figures(history: History, poll: Poll) -> Poll:
    """Return ``poll``, or where all GPUs were blind at it, the last one before with its figures.

    What was missing stays that of ``poll``. ``poll`` itself where the last life of the daemon saw nothing.
    """
    since = _since(history, poll, poll.at.wall).get(None)
    if poll.ledgers or since is None:
        return poll
    before = history.at(since - JUST_BEFORE)
    if before and not before.ledgers:
        before = history.at(before.at.wall)  # the daemon was stopped then, and this is its last poll
    return replace(before, missing=poll.missing) if before and before.ledgers else poll


def _with_history(history: History, status: Status, newest: float) -> Status:
    """Return ``status`` with what the store knows beside it: changes, and since when GPUs are blind.

    ``newest``: when they were so last, unix seconds.
    """
    at = status.poll.at.wall
    first = (history.span() or (at, at))[0]
    span = min(CHANGE_SPAN, at - first)
    moved = history.change(at - span, at) if span > 0 else {}
    return replace(
        status,
        changes=_differences(moved),
        newcomers={key for key, (first, last) in moved.items() if first is None and last is not None},
        span=span if span > 0 else None,
        since=_since(history, status.poll, newest),
        silences=history.casebook.silences(),
        incidents=history.open_incidents(),
        acknowledged=_acknowledged(history),
        gpus={gpu.uuid: gpu for gpu in history.gpus()},
        attempts=history.casebook.last_attempts(at - ATTEMPTS_SHOWN),
    )


def _since(history: History, poll: Poll, wall: float) -> dict[str | None, float]:
    """Return since when each Gpu (UUID; None: all) is blind for the reason that ``poll`` gives."""
    reasons = {(each.gpu.uuid if each.gpu else None, each.fault.kind) for each in poll.missing}
    return {gap.gpu: gap.since for gap in history.gaps(wall, wall) if (gap.gpu, gap.reason) in reasons}


def past_status(history: History, moment: float, zone: tzinfo | None, gpu: str | None) -> Status | None:
    """Return who held what at ``moment`` (unix seconds), of one GPU (UUID) or of all (None).

    None: the store reaches not so far. Its ``now`` is that moment, so its age is the age then.
    """
    poll = history.at(moment)
    if poll is None:
        return None
    passed = moment - poll.at.wall
    now = replace(poll.at, wall=moment, boottime=poll.at.boottime + passed)
    shown = poll if gpu is None else _of(poll, {gpu})
    return Status(shown, now, zone, since=_since(history, poll, moment), past=True)


def _differences(moved: Mapping[SeriesKey, tuple[float | None, float | None]]) -> dict[SeriesKey, int]:
    """Return last - first of every series that had a value at both ends."""
    return {
        key: round(last - first)
        for key, (first, last) in moved.items()
        if first is not None and last is not None
    }


def _acknowledged(history: History) -> Mapping[str, str]:
    entries = history.casebook.entries(inf)  # those that are open alone
    known = {each.case.incident.id: each.case.acknowledged for each in entries}
    return {id: said.author for id, said in known.items() if said is not None}
