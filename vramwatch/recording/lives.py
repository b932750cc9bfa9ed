"""The lives of recorded processes: how long a pid is the same process, and what is known of it.

A pid has ended at ``exit``, at ``restart``, at a new ``process_start``, or when it was absent for 60 s
while its Gpu still had rows.
"""

from dataclasses import dataclass, field

from vramwatch.core.model import Container, ProcessFacts, ProcessKey, ProcessState
from vramwatch.core.owners import told_owner
from vramwatch.core.units import Seconds
from vramwatch.recording.moments import Moment, Part, ends_life
from vramwatch.recording.row import EXIT, RESTART, Row

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


class Lives:
    """Every process of a recording, up to the moment that was followed last."""

    def __init__(self, boot_id: str) -> None:
        self._boot_id = boot_id
        self._living: dict[int, _Life] = {}
        self._ended: dict[int, _Life] = {}
        self._on_gpu: dict[str, set[int]] = {}

    def follow(self, moment: Moment) -> None:
        """Take in what ``moment`` says of processes.

        Errors: MalformedError, when more processes live than any server has.
        """
        if moment.gap is not None:
            for gpu in self._on_gpu:
                self._excuse(gpu, moment.time)
        for part in moment.parts.values():
            if part.is_gap:
                self._excuse(part.gpu, moment.time)
            else:
                self._follow_part(part, moment.time)

    def _follow_part(self, part: Part, time: float) -> None:
        for row in part.events:
            if ends_life(row):
                self._end_all(part.gpu, time)
        for row in part.processes:
            if row.pid is not None:
                self._follow_process(row, row.pid)
        if part.own is not None or part.claims:
            self._end_absent(part.gpu, time)

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

    def _follow_process(self, row: Row, pid: int) -> None:
        life = self._living.get(pid)
        if life is not None and _ends(row, life):
            self._end(pid, row.time)
            life = None
        if row.event == EXIT:
            return
        if life is None:
            life = self._begin(row, pid)
        _learn(life, row)
        life.last_seen = row.time
        if row.gpu not in life.gpus:
            life.gpus.add(row.gpu)
            self._on_gpu.setdefault(row.gpu, set()).add(pid)

    def _begin(self, row: Row, pid: int) -> _Life:
        if len(self._living) >= MOST_LIVING:
            raise row.malformed(f"more than {MOST_LIVING} processes live at this time")
        began = row.time if row.started is None else row.started
        ticks = round(began * CLOCK_TICKS)
        before = self._ended.get(pid)
        if before is not None:
            ticks = max(ticks, before.key.start_ticks + 1)
        key = ProcessKey(self._boot_id, pid, max(ticks, 1))
        life = self._living[pid] = _Life(key, row.started, row.time, row.time, row.owner, row.program)
        return life

    def _end_absent(self, gpu: str, time: float) -> None:
        for pid in tuple(self._on_gpu.get(gpu, ())):
            if time - self._living[pid].last_seen >= ABSENT_FOR:
                self._end(pid, time)

    def _end_all(self, gpu: str, time: float) -> None:
        for pid in tuple(self._on_gpu.get(gpu, ())):
            self._end(pid, time)

    def _end(self, pid: int, time: float) -> None:
        life = self._living.pop(pid)
        for gpu in life.gpus:
            self._on_gpu[gpu].discard(pid)
        life.ended, life.facts = time, None
        self._ended.pop(pid, None)  # and back at the end: the oldest are dropped first
        self._ended[pid] = life
        if len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]


def _ends(row: Row, life: _Life) -> bool:
    """Return whether ``row`` tells the end of ``life``, or a start that is not its own."""
    if row.event == EXIT or (row.event == RESTART and life.first_seen < row.time):
        return True
    if row.started is None:
        return False
    if life.started is not None:
        return row.started != life.started
    return row.started > life.last_seen


def _learn(life: _Life, row: Row) -> None:
    """What is known once stays; what was not known is taken from ``row``."""
    owner, program = life.owner or row.owner, life.program or row.program
    started = row.started if life.started is None else life.started
    if (owner, program, started) != (life.owner, life.program, life.started):
        life.owner, life.program, life.started = owner, program, started
        life.facts = None


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
