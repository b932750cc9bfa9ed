"""Why memory grows: a subtraction, layer by layer, and what was ruled out by it; and when it will end.

The gap between two layers that grows names the class (see ``windows.Layer``). Without a process's inner
layers, what the driver shows cannot tell the classes inside a process apart, and that is said.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vramwatch.core.floors import WARM_UP
from vramwatch.core.forecast import Abstention, Exhaustion, Reason, exhaustion
from vramwatch.core.model import SubjectKind
from vramwatch.core.saturation import LEAST_SAMPLES, Saturation, Shape, saturation
from vramwatch.core.trend import Slope
from vramwatch.core.units import MIB, show_bytes
from vramwatch.core.verdicts import Cause, Found, Rate, RuledOut
from vramwatch.core.windows import DAY, HOUR, MINUTE, Lane, Layer, Points, Window

PRECEDENCE = (
    "out_of_memory",
    "pool_leak",
    "level_return",
    "same_state",
    "event_floor",
    "daily_floor",
    "idle_creep",
    "staircase",
    "unattributed",
    "process_count",
    "restart_growth",
    "fast_path",
    "pool_pressure",
    "spilled",
    "near_full",
    "spike",
)
"""Of several patterns on one subject the first names the incident and gives the rate: surest first."""

BY_LAYER = {
    Layer.NON_TORCH: Cause.NON_TORCH,
    Layer.CACHED: Cause.FRAGMENTATION,
    Layer.LIVE: Cause.LEAK,
    Layer.KV: Cause.KV_CACHE,
}

DECISIVE = 0.5
"""The share of the growth that a layer must have to name the cause."""

GRAPH_PER_REQUEST = 64 * MIB
"""Live tensors that stay behind at each request from which a kept autograd graph is likelier than a leak:
graphs keep a forward pass's whole activations (424 MiB a step in transformers#3141, 160 in InvokeAI#3633),
leaks of single tensors 2 to 30 MiB a request."""

INSIDE = (Cause.LEAK, Cause.KV_CACHE, Cause.FRAGMENTATION, Cause.AUTOGRAD, Cause.NON_TORCH)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the patterns found in one window come to. ``explained``: the cause is no fault, do not fire."""

    pattern: str
    found: Found
    cause: Cause
    ruled_out: tuple[RuledOut, ...]
    rate: Rate | None
    forecast: Exhaustion | Abstention  # times as of the window's lanes
    explained: bool = False
    others: tuple[str, ...] = ()


def diagnose(window: Window, found: Mapping[str, Found]) -> Diagnosis:
    """Return the one diagnosis of all patterns ``found`` (by name, at least one) in ``window``."""
    names = sorted(found, key=PRECEDENCE.index)
    main = names[0]
    urgent = next((name for name in names if found[name].is_urgent), None)
    rate = found[main].rate or next((found[name].rate for name in names if found[name].rate), None)
    if urgent is not None:
        rate = found[urgent].rate
    curve = None if urgent else _curve(window)
    forecast = _forecast(window, rate, curve)
    cause, ruled_out = _cause(window, found, main, urgent is not None)
    fits = isinstance(forecast, Abstention) and forecast.reason in (Reason.FITS, Reason.MAY_FIT)
    if fits and cause is not Cause.KV_CACHE and not found[main].causes:
        cause = Cause.WARMUP
    return Diagnosis(
        main, found[main], cause, tuple(ruled_out), rate, forecast, fits, tuple(names[1:])
    )


# --- cause --------------------------------------------------------------------------------------


def _cause(
    window: Window, found: Mapping[str, Found], main: str, is_urgent: bool
) -> tuple[Cause, list[RuledOut]]:
    told = next((found[name].causes for name in sorted(found, key=PRECEDENCE.index) if found[name].causes), ())
    if told:
        return told[0], []
    if window.kind is SubjectKind.UNATTRIBUTED:
        return Cause.GHOST, [RuledOut(each, "no process that is listed holds it") for each in INSIDE]
    span = window.now - max(found[main].evidence.since - window.wall + window.now, window.used.began)
    grown = growth(window.used, span)
    if not window.layers or grown <= 0:
        sentence = "cannot be told apart without the worker's own figures"
        return Cause.LEAK, [RuledOut(each, sentence) for each in INSIDE[1:]]
    shares = {layer: growth(lane, span) / grown for layer, lane in window.layers.items()}
    largest = max(shares, key=lambda layer: shares[layer])
    ruled_out = list(_ruled_out(shares, largest, grown))
    if shares[largest] < DECISIVE:
        return Cause.UNKNOWN, ruled_out
    cause = BY_LAYER[largest]
    if cause is Cause.LEAK and is_urgent and _per_work(window, grown, span) >= GRAPH_PER_REQUEST:
        return Cause.AUTOGRAD, ruled_out
    return cause, ruled_out


def _ruled_out(shares: Mapping[Layer, float], largest: Layer, grown: float) -> Iterator[RuledOut]:
    for layer, share in shares.items():
        if layer is not largest:
            sentence = f"{layer} accounts for {share:.0%} of the growth of {show_bytes(round(grown))}"
            yield RuledOut(BY_LAYER[layer], sentence, {"growth_bytes": share * grown})


def growth(lane: Lane, span: float) -> float:
    """Return by how much the floor of ``lane`` rose within the last ``span`` seconds. Bytes; may be below 0.

    The floor at either end is the least rest there, or where there was none, the least of a fifth of the
    span.
    """
    begin, end = lane.time - span, lane.time
    fifth = span / 5
    first = _floor(lane, begin, begin + fifth)
    last = _floor(lane, end - fifth, end + MINUTE)
    return 0.0 if first is None or last is None else last - first


def _floor(lane: Lane, since: float, until: float) -> float | None:
    if until - since < 3 * MINUTE:
        start, stop = lane.moments.since(since), lane.moments.since(until)
        return min(lane.moments.low[start:stop], default=None)
    return lane.floor(since, until)


def _per_work(window: Window, grown: float, span: float) -> float:
    """Return bytes per unit of work within the last ``span`` seconds; inf where no work was done."""
    lane = window.used
    moments = lane.moments
    start = moments.since(lane.time - span)
    done = lane.work - moments.work[start] if start < len(moments) else 0.0
    return grown / done if done > 0 else float("inf")


# --- forecast -----------------------------------------------------------------------------------


def _forecast(window: Window, rate: Rate | None, curve: Saturation | None) -> Exhaustion | Abstention:
    if rate is None:
        return Abstention(Reason.NOT_GROWING)
    capacity = window.capacity - window.taken
    slope = Slope(rate.low, rate.median, rate.high, LEAST_SAMPLES)
    level = projected_peak(window.used, rate.median)
    if curve is not None and curve.plateau is not None:
        swing = max(0.0, level - window.used.last)
        capacity, level = capacity - swing, level - swing
    return exhaustion(window.now, level, capacity, slope, curve)


def projected_peak(lane: Lane, rate: float) -> float:
    """Return what the highest peaks of the last day would reach now, grown by ``rate`` bytes a second since."""
    level = max(lane.high, lane.last)
    for envelope in (lane.minutes, lane.hours):
        start = envelope.since(lane.time - DAY)
        for place in range(start, len(envelope)):
            ended = (envelope.index[place] + 1) * envelope.span
            level = max(level, envelope.high[place] + rate * max(0.0, lane.time - ended))
    return level


def _curve(window: Window) -> Saturation | None:
    """Return whether the floor slows down, over work where it is known. None: too little to say."""
    lane = window.used
    warm = max(lane.time - window.age + WARM_UP / 3, lane.began)
    for points in (lane.rests, _blocks(lane.valleys, 3), _least(lane)):
        times, works, values = points.since(warm)
        if len(values) >= LEAST_SAMPLES:
            return saturation(times, values)
    return None


def _blocks(points: Points, size: int) -> Points:
    floor = Points(len(points) + 1)
    for start in range(len(points) % size, len(points), size):
        lowest = min(range(start, start + size), key=points.value.__getitem__)
        floor.add(points.time[lowest], points.work[lowest], points.value[lowest])
    return floor


def _least(lane: Lane) -> Points:
    """Return the least of every ten minutes of the last half day, or of every hour of a longer life."""
    envelope, size = (lane.minutes, 10) if lane.time - lane.began <= 12 * HOUR else (lane.hours, 1)
    floor, block = Points(len(envelope) + 1), -1
    for place, index in enumerate(envelope.index):
        if index // size != block:
            block = index // size
            floor.add(index * envelope.span, envelope.work[place], envelope.low[place])
        else:
            floor.lower(envelope.low[place])
    return floor


def seconds_left(forecast: Exhaustion | Abstention, now: float) -> Sequence[float]:
    """Return the seconds to the early bound and to the median of exhaustion; inf where it abstains."""
    if isinstance(forecast, Abstention):
        return (float("inf"), float("inf"))
    return (forecast.low - now, forecast.at - now)
