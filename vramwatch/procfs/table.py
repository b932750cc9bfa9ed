"""The facts of every process that is asked for, read once a life and then only watched."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vramwatch.core.model import Instant, ProcessFacts, ProcessKey, ProcessState
from vramwatch.procfs.exits import Exits, exists
from vramwatch.procfs.identify import IdentifySocket
from vramwatch.procfs.identity import Stat, read_stat, sees_every_process
from vramwatch.procfs.reader import FactsReader

LOOK_EVERY = 10.0
"""Seconds after which a living process is looked at again: is it stuck, has it taken another name."""

REMEMBERED_FOR = 600.0
"""Seconds for which a process is remembered that nobody asks for: a ghost keeps its name."""

REMEMBERED = 4096
"""Processes remembered at most."""

_SWEEP_EVERY = 60.0  # seconds between two looks for what is to be forgotten


@dataclass(slots=True)
class _Known:
    facts: ProcessFacts
    stat: Stat | None  # at the last look that was due
    is_watched: bool  # its end will be told; otherwise it is looked for at every call
    asked: float  # boottime
    look_at: float  # boottime at which the next look is due


class ProcessTable:
    """Who stands behind a pid. Implements core.ports.People; for one thread.

    ``root`` is a /proc, or a tree recorded from one. ``host`` is the root of the host's file system,
    where the daemon runs inside a container of it. ``redacts``: what looks like a secret in a command
    line is masked. ``others`` is asked what /proc hides of other users' processes.
    A living process costs no read of /proc for ten seconds at a time, and its end is
    seen at the next call.
    """

    def __init__(
        self,
        root: Path = Path("/proc"),
        host: Path = Path("/"),
        *,
        redacts: bool = True,
        others: IdentifySocket | None = None,
    ) -> None:
        self._root = str(root)
        self._is_live = root == Path("/proc")  # only there is a pid one of ours
        self._sees_every_process = sees_every_process(self._root)
        self._reader = FactsReader(self._root, host, self._sees_every_process, redacts, others)
        self._exits = Exits()
        self._known: dict[int, _Known] = {}
        self._sweep_at = 0.0

    def facts(self, pids: Collection[int], at: Instant) -> Mapping[int, ProcessFacts]:
        """Return pid -> facts for every pid asked for.

        The very same object is returned while nothing has changed. A process that ended keeps what was
        known of it, as GONE (as ZOMBIE until its parent has taken note), for ten minutes after it was
        last asked for. One that was never seen has ``start_ticks`` 0 and is GONE, or HIDDEN where it
        may well live out of our sight.
        """
        for pid in self._exits.ended():
            self._known[pid].is_watched = False
        if at.boottime >= self._sweep_at:
            self._forget(at)
        return {pid: self._facts_of(pid, at) for pid in pids}

    def close(self) -> None:
        """Let go of every pidfd and forget everything."""
        self._exits.close()
        self._known.clear()

    def _facts_of(self, pid: int, at: Instant) -> ProcessFacts:
        known = self._known.get(pid)
        if known is None:
            known = self._meet(pid, at)
        elif at.boottime >= known.look_at or not known.is_watched:
            known = self._look(pid, known, at)
        known.asked = at.boottime
        return known.facts

    def _meet(self, pid: int, at: Instant) -> _Known:
        """Read everything of a life that is new to us. Watched first, so that no end falls in between."""
        if len(self._known) >= REMEMBERED:
            self._drop(min(self._known, key=lambda other: self._known[other].asked))
        is_watched = self._is_live and self._exits.watch(pid)
        facts, stat = self._reader.read(pid, at)
        if stat is None:
            self._exits.forget(pid)
            is_watched = False
        if facts is None:
            facts = ProcessFacts(ProcessKey(at.boot_id, pid, 0), self._unseen(pid), at.boottime)
        known = _Known(facts, stat, is_watched, at.boottime, at.boottime + LOOK_EVERY)
        self._known[pid] = known
        return known

    def _look(self, pid: int, known: _Known, at: Instant) -> _Known:
        """Look again at what cannot be watched, has just ended, or was not looked at for long."""
        stat = read_stat(self._root, pid)
        if stat is not None and stat.start_ticks != known.facts.key.start_ticks:
            self._drop(pid)
            return self._meet(pid, at)
        is_due = at.boottime >= known.look_at
        state = self._unseen(pid, known) if stat is None else _state(known, stat, is_due)
        if state is not known.facts.state:
            known.facts = replace(known.facts, state=state, state_since=at.boottime)
        if is_due:
            if stat is not None and stat.state != "Z" and stat.name != known.facts.name:
                known.facts = self._renamed(pid, known.facts, at)
            known.stat = stat
            known.look_at = at.boottime + LOOK_EVERY
        return known

    def _renamed(self, pid: int, facts: ProcessFacts, at: Instant) -> ProcessFacts:
        """Read a life again that has taken another name: by exec, or as engines do that know their rank."""
        fresh, _ = self._reader.read(pid, at)
        if fresh is None or fresh.key != facts.key:
            return facts  # ended meanwhile: seen at the next look
        return replace(fresh, state=facts.state, state_since=facts.state_since)

    def _unseen(self, pid: int, known: _Known | None = None) -> ProcessState:
        """Judge a pid without an entry in /proc."""
        if known is not None and known.facts.key.start_ticks:
            return known.facts.state if known.is_watched else ProcessState.GONE
        if not self._sees_every_process or (self._is_live and exists(pid)):
            return ProcessState.HIDDEN
        return ProcessState.GONE

    def _forget(self, at: Instant) -> None:
        for pid in [pid for pid, known in self._known.items() if known.asked < at.boottime - REMEMBERED_FOR]:
            self._drop(pid)
        self._sweep_at = at.boottime + _SWEEP_EVERY

    def _drop(self, pid: int) -> None:
        self._exits.forget(pid)
        del self._known[pid]


def _state(known: _Known, stat: Stat, is_due: bool) -> ProcessState:
    """Judge a process that has an entry.

    A process waits in D for a moment whenever it reads a disk. It is stuck when two looks in a row find
    it there and it has not run an instruction between them: no page fault, no tick of CPU time.
    """
    if stat.state == "Z":
        return ProcessState.ZOMBIE
    if not is_due and known.facts.state in (ProcessState.ALIVE, ProcessState.STUCK):
        return known.facts.state
    before = known.stat
    is_stuck = before is not None and (before.state, before.progress) == ("D", stat.progress)
    return ProcessState.STUCK if is_stuck and stat.state == "D" else ProcessState.ALIVE
