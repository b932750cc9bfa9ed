"""What is drawn: a server for each pattern, and the look-alikes beside which they are told apart."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from tests import growing
from tests.servers import GPU, Moment, creeping, leaking, out_of_memory, running_away
from vramwatch.core.model import SubjectKind


class Floor(StrEnum):
    """The points that a pattern looks at, by the name that stands below the plot."""

    RESTS = "at rest"
    VALLEYS = "minimum of three valleys"
    MINUTES = "ten-minute minimum"
    DAYS = "daily minimum"


@dataclass(frozen=True, slots=True)
class Example:
    """A server, and of whom the plot is.

    ``fires``: whether it comes to fire. ``is_pool``: what is used of the KV pool is drawn.
    ``has_layers``: what the process tells of itself is drawn too. ``is_log``: it is recorded as
    nvidia-smi logs whole GPUs.
    """

    moments: Callable[[], Iterable[Moment]]
    title: str
    kind: SubjectKind = SubjectKind.PROCESS
    floor: Floor | None = None
    owner: str = "unit:serve.service"
    fires: bool = True
    is_pool: bool = False
    has_layers: bool = False
    is_log: bool = False


def _of(pattern: str) -> Callable[[], Iterable[Moment]]:
    return growing.GROWING[pattern]


def _refused_when_full() -> Iterator[Moment]:
    """Memory runs away until the card is full, and the process is refused more."""
    moments = list(running_away())
    yield from moments[:-1]
    yield replace(moments[-1], events=(out_of_memory(4100, GPU.uuid),))


PATTERNS: Mapping[str, Example] = {
    "level_return": Example(
        _of("level_return"), "models are swapped; equal states return a little higher", floor=Floor.RESTS
    ),
    "same_state": Example(_of("same_state"), "memory at rest rises in steps", floor=Floor.RESTS),
    "event_floor": Example(
        _of("event_floor"), "never at rest; memory after releases rises", floor=Floor.VALLEYS
    ),
    "daily_floor": Example(
        _of("daily_floor"), "each daily minimum is above the one before", floor=Floor.DAYS
    ),
    "idle_creep": Example(lambda: creeping(300), "memory rises while the process is idle", floor=Floor.RESTS),
    "staircase": Example(_of("staircase"), "up in steps, never down", floor=Floor.MINUTES),
    "fast_path": Example(_of("fast_path"), "minutes are left"),
    "near_full": Example(_of("near_full"), "almost full, and memory at rest rises", floor=Floor.RESTS),
    "process_count": Example(
        _of("process_count"), "one more process, again and again", kind=SubjectKind.OWNER
    ),
    "restart_growth": Example(
        _of("restart_growth"), "each restart settles higher than the one before", kind=SubjectKind.OWNER
    ),
    "unattributed": Example(
        _of("unattributed"),
        "workers exit, and bytes stay that no process holds",
        kind=SubjectKind.UNATTRIBUTED,
    ),
    "pool_leak": Example(
        _of("pool_leak"), "inside a pool: blocks that no request returns", floor=Floor.RESTS, is_pool=True
    ),
    "pool_pressure": Example(_of("pool_pressure"), "requests wait for a full pool", is_pool=True),
    "spilled": Example(_of("spilled"), "a model that lies partly in host memory"),
    "spike": Example(_of("spike"), "the largest spike would no longer fit", kind=SubjectKind.GPU),
    "out_of_memory": Example(_refused_when_full, "growth that was reported ends in an out-of-memory"),
}
"""By the pattern that it shows."""

CAUSES: Mapping[str, Example] = {
    "warmup": Example(
        lambda: growing.filling(6000.0, 7200.0, tells=False),
        "a cache that fills: its curve shows in time",
        floor=Floor.RESTS,
        fires=False,
    ),
    "leak": Example(lambda: leaking(560, where="live"), "allocated grows, KV does not", has_layers=True),
    "kv_cache": Example(lambda: leaking(560, where="kv"), "KV grows", has_layers=True),
    "fragmentation": Example(
        lambda: leaking(560, where="reserved"), "reserved grows, allocated does not", has_layers=True
    ),
    "non_torch": Example(
        lambda: leaking(560, where="outside"),
        "the driver's figure grows, reserved does not",
        has_layers=True,
    ),
    "autograd": Example(lambda: running_away(each=140.0, requests=1), "140 MiB stay for each request"),
}
"""By the cause that it shows."""

LOG = Example(
    lambda: leaking(560),
    "a leak as nvidia-smi shows it",
    kind=SubjectKind.GPU,
    floor=Floor.RESTS,
    is_log=True,
)

EXAMPLES: Mapping[str, Example] = {**PATTERNS, **CAUSES, "smi": LOG}

DRAWN = tuple(name for name in EXAMPLES if name not in ("spilled", "autograd", "smi"))
"""What has a plot: a spilled model does not move, and the others look like ``fast_path``, ``same_state``."""
