"""The lives of recorded processes: how long a pid is the same process, and what is known of it.

A pid has ended at ``exit``, at ``restart``, at a new ``process_start``, or when it was absent for 60 s
while its Gpu still had rows.
"""

from dataclasses import dataclass, field

from vramwatch.core.model import Container, ProcessFacts, ProcessKey, ProcessState
from vramwatch.core.owners import told_owner
from vramwatch.core.units import Seconds
from vramwatch.recording.moments import Listing, Moment, Part, ends_life
from vramwatch.recording.row import EXIT, RESTART, Row, Said

ABSENT_FOR = Seconds(60.0)  # a pid that is not listed for so long, while its Gpu is, has ended
CLOCK_TICKS = 100  # start ticks a second: USER_HZ of Linux, proc(5)
MOST_LIVING = 65_536  # processes that live at one time: a bound on memory
ENDED_KEPT = 4096  # ended processes of which it is still known which they were
COMM_LENGTH = 15  # characters of comm: TASK_COMM_LEN of Linux less its terminating zero


@dataclass(slots=True)
class _Life:
    key: ProcessKey
    started: float | None
    first_seen: float
    last_seen: float
    owner: str
    program: str
    gpus: set[str] = field(default_factory=set)
    ended: float | None = None
    facts: ProcessFacts | None = None  # until something changes


@dataclass(frozen=True, slots=True)
class _Followed:
    """What was followed on one Gpu last: nothing but these lives, all of them listed."""

    listing: Listing
    changes: int
    lives: tuple[_Life, ...]


class Lives:
    """Every process of a recording, up to the moment that was followed last.

    ``changes`` counts whatever began, ended or was learnt: while it stands, all facts do.
    """

    def __init__(self, boot_id: str) -> None:
        self.changes = 0
        self._boot_id = boot_id
        self._living: dict[int, _Life] = {}
        self._ended: dict[int, _Life] = {}
        self._on_gpu: dict[str, set[int]] = {}
        self._followed: dict[str, _Followed] = {}

    def follow(self, moment: Moment) -> None:
        """Take in what ``moment`` says of processes.

        Errors: MalformedError, when more processes live than any server has.
        """
        if moment.gap is not None:
            for gpu in self._on_gpu:
                self._excuse(gpu, moment.time)
        for part in moment.parts.values():
            followed = None if part.events else self._followed.get(part.gpu)
            if part.is_gap:
                self._excuse(part.gpu, moment.time)
            elif followed and followed.listing is part.listing and followed.changes == self.changes:
                for life in followed.lives:
                    life.last_seen = moment.time
            else:
                self._follow_part(part, moment.time)

    def _follow_part(self, part: Part, time: float) -> None:
        for row in part.events:
            if ends_life(row):
                self._end_all(part.gpu, time)
        for row in part.listing.rows:
            if row.said.pid is not None:
                self._follow_process(row, row.said.pid, time)
        if part.own is not None or part.listing.claims:
            self._end_absent(part.gpu, time)
        self._followed.pop(part.gpu, None)
        lives = tuple(map(self._living.get, part.listing.claims))
        here = self._on_gpu.get(part.gpu, ())
        if not part.has_events and len(lives) == len(here) and None not in lives:
            known = tuple(life for life in lives if life is not None)
            self._followed[part.gpu] = _Followed(part.listing, self.changes, known)

    def had_some_on(self, gpu: str) -> bool:
        """Return whether a process was ever seen on ``gpu``: its list is recorded."""
        return gpu in self._on_gpu

    def has_some_on(self, gpu: str) -> bool:
        """Return whether a process lives on ``gpu`` now, listed or not."""
        return bool(self._on_gpu.get(gpu))

    def facts(self, pid: int, time: float) -> ProcessFacts:
        """Return what is known of ``pid``; one that ended, or was never seen, is GONE."""
        life = self._living.get(pid) or self._ended.get(pid)
        if life is None:
            return ProcessFacts(ProcessKey(self._boot_id, pid, 0), ProcessState.GONE, time)
        if life.facts is None:
            life.facts = _facts(life)
        return life.facts

    def _excuse(self, gpu: str, time: float) -> None:
        """Nobody on ``gpu`` was absent at ``time``: nothing could be seen."""
        for pid in self._on_gpu.get(gpu, ()):
            self._living[pid].last_seen = time

    def _follow_process(self, row: Row, pid: int, time: float) -> None:
        said = row.said
        life = self._living.get(pid)
        if life is not None and _ends(said, time, life):
            self._end(pid, time)
            life = None
        if said.event == EXIT:
            return
        if life is None:
            life = self._begin(row, pid, time)
        self._learn(life, said)
        life.last_seen = time
        if said.gpu not in life.gpus:
            life.gpus.add(said.gpu)
            self._on_gpu.setdefault(said.gpu, set()).add(pid)

    def _learn(self, life: _Life, said: Said) -> None:
        """What is known once stays; what was not known is taken from ``said``."""
        owner, program = life.owner or said.owner, life.program or said.program
        started = said.started if life.started is None else life.started
        if (owner, program, started) != (life.owner, life.program, life.started):
            life.owner, life.program, life.started = owner, program, started
            life.facts = None
            self.changes += 1

    def _begin(self, row: Row, pid: int, time: float) -> _Life:
        if len(self._living) >= MOST_LIVING:
            raise row.malformed(f"more than {MOST_LIVING} processes live at this time")
        said = row.said
        began = time if said.started is None else said.started
        ticks = round(began * CLOCK_TICKS)
        before = self._ended.get(pid)
        if before is not None:
            ticks = max(ticks, before.key.start_ticks + 1)
        key = ProcessKey(self._boot_id, pid, max(ticks, 1))
        life = self._living[pid] = _Life(key, said.started, time, time, said.owner, said.program)
        self.changes += 1
        return life

    def _end_absent(self, gpu: str, time: float) -> None:
        for pid in tuple(self._on_gpu.get(gpu, ())):
            if time - self._living[pid].last_seen >= ABSENT_FOR:
                self._end(pid, time)

    def _end_all(self, gpu: str, time: float) -> None:
        for pid in tuple(self._on_gpu.get(gpu, ())):
            self._end(pid, time)

    def _end(self, pid: int, time: float) -> None:
        self.changes += 1
        life = self._living.pop(pid)
        for gpu in life.gpus:
            self._on_gpu[gpu].discard(pid)
        life.ended, life.facts = time, None
        self._ended.pop(pid, None)  # and back at the end: the oldest are dropped first
        self._ended[pid] = life
        if len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]


def _ends(said: Said, time: float, life: _Life) -> bool:
    """Return whether ``said`` at ``time`` tells the end of ``life``, or a start that is not its own."""
    if said.event == EXIT or (said.event == RESTART and life.first_seen < time):
        return True
    if said.started is None:
        return False
    if life.started is not None:
        return said.started != life.started
    return said.started > life.last_seen


def _facts(life: _Life) -> ProcessFacts:
    """An owner is told by its key, as exports have it; any other name stands as a container's, whole."""
    is_key = told_owner(life.owner) is not None
    container = Container(id="", runtime="unknown", name=life.owner) if life.owner and not is_key else None
    return ProcessFacts(
        key=life.key,
        state=ProcessState.ALIVE if life.ended is None else ProcessState.GONE,
        state_since=life.ended or 0.0,
        name=life.program.rpartition("/")[2][:COMM_LENGTH],
        argv=(life.program,) if life.program else (),
        title=life.program,
        container=container,
        started=life.started,
        owner_key=life.owner if is_key else None,
    )
