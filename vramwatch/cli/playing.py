"""Recordings and stored history, played through what judges them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from math import inf
from pathlib import Path

from vramwatch import assembly
from vramwatch.cli.assigning import Assigner
from vramwatch.config import Config
from vramwatch.core.episodes import MERGED_WITHIN
from vramwatch.core.errors import UsageError
from vramwatch.core.incidents import Subject, Transition
from vramwatch.core.marks import Score, scores
from vramwatch.core.model import EventKind, Fault, FaultKind, Gpu, SubjectKind
from vramwatch.core.owners import OwnerRule
from vramwatch.core.poll import Poll
from vramwatch.core.ports import Feed
from vramwatch.core.sufficiency import Lack
from vramwatch.core.units import MIB, Seconds
from vramwatch.recording.progress import Progress
from vramwatch.sources.replay import Replay
from vramwatch.store import History

TOLD_EVERY = 256
"""Polls after which a progress bar is moved: at 100,000 a second it must cost nothing."""

SQLITE = b"SQLite format 3\0"
"""How a database begins (https://www.sqlite.org/fileformat.html, 1.3)."""

Tell = Callable[[float], None]
"""Is told how far it has come: bytes of files, or seconds of history."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was played, and how incidents moved meanwhile."""

    name: str  # the file as given, or the store
    gpus: Mapping[str, Gpu]  # by UUID, in the order in which they were met
    span: tuple[float, float] | None  # of its polls, unix seconds; None: there was none
    polls: int
    rows: int | None  # None: history has no rows
    watched: float  # GPU-seconds between readings that lie within an hour
    transitions: tuple[Transition, ...]
    lacking: tuple[tuple[Subject, Lack], ...] = ()  # of whom there was too little to judge at the end
    minutes_until: float | None = None  # unix seconds; up to then minutes alone were left of history
    unread: Mapping[tuple[Gpu | None, Fault], int] = field(default_factory=dict)  # how often; None: all Gpus
    released: Mapping[Gpu | None, tuple[int, float]] = field(default_factory=dict)  # how often; for how long
    doubt: str | None = None  # what may be wrong with what was played, as a sentence
    scores: tuple[Score, ...] = ()  # how it does on what people have marked; of files nobody has


def is_store(path: Path) -> bool:
    """Return whether a regular file at ``path`` is a database; what cannot be opened is none."""
    try:
        with path.open("rb") if path.is_file() else BytesIO() as file:
            return file.read(len(SQLITE)) == SQLITE
    except OSError:
        return False


def play_file(name: str, path: Path, tz: str | None, config: Config, tell: Tell) -> Run:
    """Return what is found in one recording. Errors: UsageError as ``file:line: reason``, also without a row.

    It is read once; an error may come from its last line, so nothing of it may be told before.
    """
    progress = Progress()
    feed = Replay(files=(path,), tz=tz).play(1, progress)
    seen = _judge(_played(config, feed), config, lambda _: tell(progress.size))
    if not progress.rows:
        raise UsageError(f"{name}:1: no row stands below the header; there is nothing to judge")
    return replace(seen.run(name, progress.rows), doubt=_tiny(name, seen.largest))


def _tiny(name: str, largest: Mapping[str, int]) -> str | None:
    """Return the sentence on GPUs that were never used beyond a MiB, as no GPU at work is; None: none is."""
    tiny = [ordinal for ordinal, used in largest.items() if 0 < used < MIB]
    if not tiny:
        return None
    most = max(largest[ordinal] for ordinal in tiny)
    return (
        f"{name}: used_bytes of GPU {', '.join(tiny)} never exceeds {most}, less than any program takes; "
        "if it counts MiB, write bytes"
    )


def play_history(
    name: str,
    history: History,
    since: float,
    until: float,
    config: Config,
    tell: Tell,
    rules: Sequence[OwnerRule] | None = None,
) -> Run:
    """Return what is found in stored polls between ``since`` and ``until``. Errors: StoreError.

    Where samples are no longer kept, in those that minutes tell. ``rules``: by which processes are given
    their Owners, None: they keep those that they had.
    """
    polls = history.polls(since, until, minutes=True)
    assigner = None if rules is None else Assigner(rules)
    seen = _judge(assigner.polls(polls) if assigner else polls, config, lambda wall: tell(wall - since))
    forgotten = _forgotten(history, since)
    run = _without_what_was_forgotten(seen.run(name, None), forgotten)
    doubts = (assigner.doubt if assigner else None, _deleted(forgotten, run.gpus))
    return replace(
        run,
        minutes_until=history.minutes_until(since, until),
        doubt="; ".join(filter(None, doubts)) or None,
        scores=_scores(history, run, until),
    )


def _forgotten(history: History, since: float) -> Mapping[str, float]:
    """Return UUID -> when history of there was deleted last, where that was after ``since``."""
    events = history.events(since, inf)
    return {
        row.event.gpu: row.wall for row in events if row.event.kind is EventKind.FORGOTTEN and row.event.gpu
    }


def _without_what_was_forgotten(run: Run, forgotten: Mapping[str, float]) -> Run:
    """Leave out what was found of nobody's bytes before history was deleted: they were somebody's."""
    made_up = {
        move.incident.id
        for move in run.transitions
        if move.incident.subject.kind is SubjectKind.UNATTRIBUTED
        and move.incident.opened <= forgotten.get(move.incident.subject.gpu, -inf)
    }
    return replace(
        run, transitions=tuple(each for each in run.transitions if each.incident.id not in made_up)
    )


def _deleted(forgotten: Mapping[str, float], gpus: Mapping[str, Gpu]) -> str | None:
    """Return the sentence on those of ``gpus``, by UUID, whose history was deleted; None: there are none."""
    names = [gpu.ordinal for uuid, gpu in gpus.items() if uuid in forgotten]
    if not names:
        return None
    where = f"on GPU {', '.join(names)}"
    return f"{where} somebody's history was deleted: growth of nobody's bytes from before is left out"


def said_then(history: History, since: float, until: float) -> Sequence[Transition]:
    """Return how the incidents that were open within the span had moved by ``until``. Errors: StoreError.

    From their openings on: what fired before ``since`` and stood is part of what was said.
    """
    stood = {move.incident.id: move.incident.opened for move in history.last_moves(since, until)}
    moves = history.incidents(min(stood.values(), default=until), until)
    return [move for move in moves if move.incident.id in stood]


def _scores(history: History, run: Run, until: float) -> tuple[Score, ...]:
    """Return how ``run`` does on marked incidents that were open at its first poll, or opened later."""
    if run.span is None:
        return ()
    then = said_then(history, run.span[0], until)
    marks = history.casebook.marks({move.incident.id for move in then})
    return scores(marks, then, run.transitions)


def _played(config: Config, feed: Feed) -> Iterator[Poll]:
    pipeline = assembly.assemble(config, feed, {})
    while at := feed.clock.wait(Seconds(0.0)):
        yield pipeline.turn(at)


def _judge(polls: Iterable[Poll], config: Config, tell: Tell) -> "_Seen":
    watch = assembly.watch(config)
    seen = _Seen()
    for poll in polls:
        seen.take(poll)
        seen.transitions += watch.turn(poll)
        if seen.polls % TOLD_EVERY == 0:
            tell(poll.at.wall)
    seen.lacking = watch.lacking()
    return seen


class _Seen:
    """What a run is told by, poll by poll."""

    def __init__(self) -> None:
        self.polls = 0
        self.transitions: list[Transition] = []
        self.lacking: tuple[tuple[Subject, Lack], ...] = ()
        self.largest: dict[str, int] = {}  # ordinal -> bytes
        self._unread: Counter[tuple[Gpu | None, Fault]] = Counter()
        self._released = _Released()
        self._gpus: dict[str, Gpu] = {}
        self._read: dict[str, float] = {}  # UUID -> when it was read last
        self._watched = 0.0
        self._first: float | None = None
        self._last = 0.0

    def take(self, poll: Poll) -> None:
        wall = poll.at.wall
        self.polls += 1
        self._first = wall if self._first is None else self._first
        self._last = wall
        self._released.take(poll)
        if poll.missing:
            self._unread.update(
                (each.gpu, each.fault) for each in poll.missing if not _is_release(each.fault)
            )
        for ledger in poll.ledgers:
            gpu = ledger.reading.gpu
            since = wall - self._read.get(gpu.uuid, wall)
            self._watched += since if 0 < since <= MERGED_WITHIN else 0.0
            self._read[gpu.uuid] = wall
            self._gpus[gpu.uuid] = gpu
            self.largest[gpu.ordinal] = max(self.largest.get(gpu.ordinal, 0), ledger.memory.used)

    def run(self, name: str, rows: int | None) -> Run:
        span = None if self._first is None else (self._first, self._last)
        moves = tuple(self.transitions)
        return Run(
            name,
            self._gpus,
            span,
            self.polls,
            rows,
            self._watched,
            moves,
            self.lacking,
            unread=self._unread,
            released=self._released.told(),
        )


class _Released:
    """How often people let go of GPUs, and for how long: that is meant, and no failure."""

    def __init__(self) -> None:
        self._times: Counter[Gpu | None] = Counter()
        self._seconds: dict[Gpu | None, float] = {}
        self._now: frozenset[Gpu | None] = frozenset()
        self._wall = 0.0  # of the poll before

    def take(self, poll: Poll) -> None:
        wall = poll.at.wall
        for gpu in self._now:
            self._seconds[gpu] = self._seconds.get(gpu, 0.0) + max(0.0, wall - self._wall)
        before = self._now
        self._now = frozenset(each.gpu for each in poll.missing if _is_release(each.fault))
        self._times.update(self._now - before)
        self._wall = wall

    def told(self) -> Mapping[Gpu | None, tuple[int, float]]:
        return {gpu: (times, self._seconds.get(gpu, 0.0)) for gpu, times in self._times.items()}


def _is_release(fault: Fault) -> bool:
    """Return whether GPUs were let go of: live, or as a recording has it ("gap:released")."""
    is_recorded = fault.kind is FaultKind.RECORDED and fault.detail == FaultKind.RELEASED.value
    return fault.kind is FaultKind.RELEASED or is_recorded
