"""A recording played through the real pipeline and the real watch, with what a plot needs on the way."""

from dataclasses import dataclass, field
from pathlib import Path

from docs.plots.examples import Example, Floor
from vramwatch import assembly
from vramwatch.config import load
from vramwatch.core.folding import GpuWindows, Watched
from vramwatch.core.incidents import Transition
from vramwatch.core.lanes import DAY, HOUR, Lane, Points
from vramwatch.core.model import Ledger, SubjectKind
from vramwatch.core.units import Seconds
from vramwatch.core.windows import Layer
from vramwatch.recording.progress import Progress
from vramwatch.sources.replay import Replay

Sample = tuple[float, float]
"""Unix seconds, bytes."""

LAYERS = {"reserved": "torch_reserved_bytes", "allocated": "torch_allocated_bytes", "KV": "engine_kv_bytes"}
"""What a process tells of itself, outermost first, below what the driver says of it."""


@dataclass(slots=True)
class Played:
    """What an example came to. ``samples`` of its subject, oldest first; ``floor``: the points looked at;
    ``layers``: what its process tells of itself, by the name that stands below the plot.

    ``capacity``: bytes at which there is no more room for the subject, when it was seen last.
    """

    samples: list[Sample] = field(default_factory=list)
    floor: list[Sample] = field(default_factory=list)
    layers: dict[str, list[Sample]] = field(default_factory=dict)
    told: list[Transition] = field(default_factory=list)
    capacity: float = 0.0


def play(example: Example, recorded: Path) -> Played:
    """Return what is found in the file ``recorded``, and how the example's subject moved."""
    config = load(None, {}, {})
    feed = Replay(files=(recorded,)).play(1, Progress())
    pipeline, watch = assembly.assemble(config, feed, {}), assembly.watch(config)
    windows, played = GpuWindows(), Played()
    while at := feed.clock.wait(Seconds(0.0)):
        poll = pipeline.turn(at)
        played.told += watch.turn(poll)
        for ledger in poll.ledgers:
            windows.fold(ledger, at.wall)
            _follow(example, ledger, windows, played)
        if watched := _watched(example, windows):
            played.floor = _points(example.floor, _lane(example, watched))
    return played


def _follow(example: Example, ledger: Ledger, windows: GpuWindows, played: Played) -> None:
    """Take down one sample of the subject, and the room that the others leave it."""
    watched = _watched(example, windows)
    if watched is None or watched.window.used.time < ledger.at.wall:
        return  # an owner is remembered between two lives
    lane = _lane(example, watched)
    played.samples.append((ledger.at.wall, lane.last))
    window = watched.window
    if example.has_layers:
        for name, quantity in LAYERS.items():
            played.layers.setdefault(name, []).append((ledger.at.wall, window.told[quantity]))
    pool = window.told.get("engine_pool_bytes")
    played.capacity = pool if example.is_pool and pool else window.capacity - window.taken


def _watched(example: Example, windows: GpuWindows) -> Watched | None:
    if example.kind is SubjectKind.GPU:
        return windows.gpu
    if example.kind is SubjectKind.UNATTRIBUTED:
        return windows.unattributed
    several = windows.processes if example.kind is SubjectKind.PROCESS else windows.owners
    return next((each for each in several.values() if each.owner == example.owner), None)


def _lane(example: Example, watched: Watched) -> Lane:
    window = watched.window
    return window.layers.get(Layer.KV, window.used) if example.is_pool else window.used


def _points(floor: Floor | None, lane: Lane) -> list[Sample]:
    match floor:
        case Floor.RESTS:
            return _pairs(lane.rests)
        case Floor.VALLEYS:
            return _pairs(lane.valleys.least_of(3))
        case Floor.MINUTES:
            return _pairs(lane.minutes.least_of(10))
        case Floor.DAYS:
            return _days(lane)
        case None:
            return []


def _pairs(points: Points) -> list[Sample]:
    return list(zip(points.time, points.value, strict=True))


def _days(lane: Lane) -> list[Sample]:
    """Return the least of each calendar day that is over, in the hour in which it was held."""
    days: dict[int, list[Sample]] = {}
    for index, low in zip(lane.hours.index, lane.hours.low, strict=True):
        days.setdefault(int(index * HOUR // DAY), []).append(((index + 0.5) * HOUR, low))
    return [min(of_day, key=lambda sample: sample[1]) for of_day in list(days.values())[:-1]]
