"""A synthetic server: the lives of its processes, and what a recording of it says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.detection.cases import View
from benchmarks.detection.recordings import MIB, Row
from benchmarks.detection.synthetic.shapes import DRIVER_QUANTUM, Curve, steps_of

ORIGIN = 1_750_000_000.0  # unix seconds of the first sample
GPU = "GPU-5f3c2a10-0000-4000-8000-000000000001"
CONTEXT = 480.0  # MiB of a CUDA context with its modules: 274 lazily loaded, 636 eagerly


@dataclass(frozen=True, slots=True)
class Life:
    """One process from step ``begin`` on, as many steps as its curves are long. MiB.

    What the driver sees is ``reserved`` (of the caching allocator) and ``outside`` (all else).
    ``kv``: what the engine accounts for. None: the program tells no such figure.
    """

    pid: int
    begin: int
    outside: Curve
    reserved: Curve | None = None
    allocated: Curve | None = None
    kv: Curve | None = None
    served: Sequence[int] | None = None  # requests of each step
    running: Sequence[int] | None = None
    waiting: Sequence[int] | None = None
    owner: str = "unit:serve.service"
    is_withheld: bool = False  # the driver will not say what it holds

    @property
    def end(self) -> int:
        return self.begin + len(self.outside)

    def held(self) -> Curve:
        """Return what the driver sees, in its quanta."""
        reserved = self.reserved or [0.0] * len(self.outside)
        return steps_of((a + b for a, b in zip(self.outside, reserved, strict=True)), DRIVER_QUANTUM)


@dataclass(frozen=True, slots=True)
class Gap:
    """Steps without readings, the last not included."""

    begin: int
    end: int
    reason: str = "daemon_stopped"


@dataclass(frozen=True, slots=True)
class Trace:
    """A server's whole recording. ``hidden``: bytes on the card that no listed process holds.

    ``grows_from``, ``life_from``: steps at which growth begins, and at which the life does whose growth
    exhausts the card; None where nothing grows. ``told``: the steps that are recorded.
    """

    step: float  # seconds
    total: Curve  # MiB
    duty: Curve
    lives: tuple[Life, ...]
    hidden: Curve | None = None
    gaps: tuple[Gap, ...] = ()
    grows_from: int | None = None
    life_from: int | None = None
    told: int | None = None
    clock_back: tuple[int, float] | None = None  # at that step the clock is set back by those seconds
    scale: int = MIB  # what a MiB is written as; 1 is the mistake of recording MiB as bytes
    held: tuple[Curve, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "held", tuple(life.held() for life in self.lives))

    def used(self) -> Curve:
        """Return what is used of the card at each step, were the card endless."""
        used = list(self.hidden or [0.0] * len(self.duty))
        for life, held in zip(self.lives, self.held, strict=True):
            for i, mebibytes in enumerate(held):
                used[life.begin + i] += mebibytes
        return used

    def exhausted(self) -> int | None:
        """Return the first step at which more would be used than there is; None: never."""
        pairs = zip(self.used(), self.total, strict=True)
        return next((i for i, (used, total) in enumerate(pairs) if used > total), None)

    def time(self, step: int) -> float:
        """Return the unix seconds at which ``step`` is recorded."""
        back = self.clock_back[1] if self.clock_back and step >= self.clock_back[0] else 0.0
        return ORIGIN + step * self.step - back


def rows(trace: Trace, view: View) -> Iterator[Row]:
    """Yield the recording of ``trace`` up to its exhaustion, which is its last row."""
    used = trace.used()
    out_at = trace.exhausted()
    count = min(n for n in (len(used), trace.told, out_at) if n is not None)
    gone = {i: gap for gap in trace.gaps for i in range(gap.begin, gap.end)}
    totals = [0] * len(trace.lives)
    for i in range(count):
        _count_requests(trace, i, totals)
        time = trace.time(i)
        if i in gone:
            yield Row(time, GPU, event=f"gap:{gone[i].reason}")
            continue
        total = round(trace.total[i] * trace.scale)
        yield Row(time, GPU, None, round(used[i] * trace.scale), total, round(trace.duty[i], 4))
        for number, life in enumerate(trace.lives):
            if life.begin <= i < life.end:
                yield _process(trace, number, i, view, total, totals[number])
            elif i == life.end:
                yield Row(time, GPU, life.pid, event="exit")
    if out_at is not None and count == out_at:
        yield Row(trace.time(out_at), GPU, event="oom")


def _count_requests(trace: Trace, i: int, totals: list[int]) -> None:
    for number, life in enumerate(trace.lives):
        if life.served is not None and life.begin <= i < life.end:
            totals[number] += life.served[i - life.begin]


def _process(trace: Trace, number: int, i: int, view: View, total: int, served: int) -> Row:
    life = trace.lives[number]
    at = i - life.begin
    row = Row(
        trace.time(i),
        GPU,
        life.pid,
        None if life.is_withheld else round(trace.held[number][at] * trace.scale),
        total,
        None,
        ORIGIN + life.begin * trace.step - 1,
        life.owner,
    )
    if view is View.DRIVER_ONLY:
        return row
    return row._replace(
        torch_reserved=_bytes(life.reserved, at),
        torch_allocated=_bytes(life.allocated, at),
        engine_kv=_bytes(life.kv, at),
        requests_total=None if life.served is None else served,
        requests_running=None if life.running is None else life.running[at],
        requests_waiting=None if life.waiting is None else life.waiting[at],
    )


def _bytes(curve: Curve | None, at: int) -> int | None:
    return None if curve is None else round(curve[at] * MIB)
