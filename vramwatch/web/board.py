"""What the daemon shows of its newest poll: frozen when the poll ends, read by other threads afterwards."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vramwatch.core.attempts import Apply, Result
from vramwatch.core.incidents import State, Transition
from vramwatch.core.ladder import WithheldApply
from vramwatch.core.model import Fault, Gpu
from vramwatch.core.poll import Poll

ATTEMPTS_KNOWN = 1000
"""Attempts of which it is known by which remedy they were made; budgets allow far fewer in a day."""

UNKNOWN_REMEDY = "unknown"
"""Of an attempt that was begun before the daemon was."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What one channel has to send: messages under way or to be tried again, and whether it fails."""

    messages: int
    failing: bool


@dataclass(frozen=True, slots=True)
class Remedies:
    """What was tried about memory: ``attempts`` and ``freed`` (bytes) by remedy, ``results`` by remedy and
    result, ``withheld`` by hindrance."""

    attempts: Mapping[str, int] = field(default_factory=dict)
    results: Mapping[tuple[str, str], int] = field(default_factory=dict)
    freed: Mapping[str, int] = field(default_factory=dict)
    withheld: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Board:
    """One poll and all that was counted up to it, since the daemon started.

    ``incidents``: the newest Transition of each that is open. ``moves``: (pattern, cause, state) -> how many
    transitions. ``driver_errors``: (function, code) of the driver -> how often. ``queues``: by channel.
    """

    poll: Poll | None = None
    incidents: tuple[Transition, ...] = ()
    moves: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    driver_errors: Mapping[tuple[str, str], int] = field(default_factory=dict)
    blind_seconds: float = 0.0
    lost_polls: int = 0
    queues: Mapping[str, Queue] = field(default_factory=dict)
    remedies: Remedies = field(default_factory=Remedies)


class Tally:
    """Counts over polls. For the thread of the polls; what it hands out is frozen."""

    def __init__(self) -> None:
        self._open: dict[str, Transition] = {}
        self._moves: Counter[tuple[str, str, str]] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        self._faults: dict[str, Fault] = {}
        self._treated = _Treated()
        self._blind_seconds = 0.0
        self._before: Poll | None = None

    def take_up(self, open_ones: Iterable[Transition]) -> None:
        """Go on from ``open_ones``, the newest Transition of each incident that is open in the store."""
        self._open = {each.incident.id: each for each in open_ones}

    def turn(self, poll: Poll) -> None:
        before = self._before
        if before is not None and before.at.boot_id == poll.at.boot_id and is_blind(before):
            self._blind_seconds += max(0.0, poll.at.boottime - before.at.boottime)
        self._before = poll
        for moved in poll.transitions:
            self._move(moved)
        self._treated.turn(poll)
        faults: dict[str, Fault] = {}
        for gpu, fault in _faults(poll):
            known = gpu.uuid if gpu else ""
            faults[known] = fault
            # One that is merely told again, while the driver is not even asked, is the same object.
            if fault.code is not None and fault is not self._faults.get(known):
                self._errors[fault.call or "", str(fault.code)] += 1
        self._faults = faults

    def board(self, lost_polls: int = 0, queues: Mapping[str, Queue] | None = None) -> Board:
        """Return how things stand after the newest poll."""
        return Board(
            self._before,
            tuple(self._open.values()),
            dict(self._moves),
            dict(self._errors),
            self._blind_seconds,
            lost_polls,
            queues or {},
            self._treated.remedies(),
        )

    def _move(self, moved: Transition) -> None:
        incident = moved.incident
        self._moves[incident.judgement.pattern, incident.judgement.cause.value, incident.state.value] += 1
        if incident.state is State.RESOLVED:
            self._open.pop(incident.id, None)
        else:
            self._open[incident.id] = moved


class _Treated:
    """Counts attempts and what came of them."""

    def __init__(self) -> None:
        self._attempts: Counter[str] = Counter()
        self._results: Counter[tuple[str, str]] = Counter()
        self._freed: Counter[str] = Counter()
        self._withheld: Counter[str] = Counter()
        self._known: dict[str, str] = {}  # the newest attempts, by id -> remedy

    def turn(self, poll: Poll) -> None:
        for action in poll.actions:
            if isinstance(action, WithheldApply):
                self._withheld[action.hindrance.value] += 1
                continue
            self._attempts[action.remedy.value] += 1
            if action.dry_run:
                self._results[action.remedy.value, Result.DRY_RUN.value] += 1
            self._remember(action)
        for ended in poll.endings:
            remedy = self._known.get(ended.id, UNKNOWN_REMEDY)
            self._results[remedy, ended.outcome.result.value] += 1
            if ended.outcome.result is not Result.RETURNED:  # that it had been freed was counted then
                self._freed[remedy] += max(0, ended.outcome.freed or 0)

    def remedies(self) -> Remedies:
        return Remedies(dict(self._attempts), dict(self._results), dict(self._freed), dict(self._withheld))

    def _remember(self, apply: Apply) -> None:
        self._known[apply.id] = apply.remedy.value
        if len(self._known) > ATTEMPTS_KNOWN:
            del self._known[next(iter(self._known))]


def is_blind(poll: Poll) -> bool:
    """Return whether nothing at all could be read at ``poll``."""
    return not poll.ledgers and bool(poll.missing)


def _faults(poll: Poll) -> Iterator[tuple[Gpu | None, Fault]]:
    for missing in poll.missing:
        yield missing.gpu, missing.fault
    for ledger in poll.ledgers:
        if ledger.reading.claims_fault is not None:
            yield ledger.gpu, ledger.reading.claims_fault
