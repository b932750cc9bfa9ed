"""Why memory grows: a subtraction, layer by layer, and what was ruled out by it; and when it will end.

The gap between two layers that grows names the class (see ``windows.Layer``). Without a process's inner
layers, what the driver shows cannot tell the classes inside a process apart, and that is said.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vramwatch.core.floors import BEGUN, WARM_UP, kept_of, rise, slowing
from vramwatch.core.forecast import Abstention, Exhaustion, Reason, exhaustion
from vramwatch.core.model import SubjectKind
from vramwatch.core.saturation import LEAST_SAMPLES, Saturation
from vramwatch.core.trend import Slope
from vramwatch.core.units import MIB, show_bytes, show_seconds
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

POOLED = frozenset({"pool_leak", "pool_pressure"})
"""Patterns inside a preallocated pool: it is the pool that will be exhausted."""

SUREST_RATE = "daily_floor"
"""Whole days have every load: where they were seen, the rate is theirs."""

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

ONSET_TOLERANCE, ONSET_SHARE = 64 * MIB, 0.12
"""How far above the line of its growth a floor at rest may lie, before growth had not begun yet there."""

WAIT_SHARE, LONGEST_WAIT = 0.4, 12 * HOUR
"""How long growth is watched before it is told apart from a cache that fills: as a share of the time left."""

HEALTHY = HOUR
"""Seconds for which the floor must have stood after the warm-up, for growth to have begun later."""

SERVED_CLOSE = 300.0
"""With less time left it does not matter that requests which run may yet end and give back their cache."""

CLOSE = 2 * HOUR
"""With less time left nobody waits for a curve to show."""

Forecast = Exhaustion | Abstention

AT_REST = frozenset({"level_return", "same_state", "idle_creep", "pool_leak"})
"""Patterns that look at memory only where nothing is asked."""

INSIDE = (Cause.LEAK, Cause.KV_CACHE, Cause.FRAGMENTATION, Cause.AUTOGRAD, Cause.NON_TORCH)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the patterns found in one window come to.

    ``explained``: the cause is no fault. ``premature``: it may yet be a cache that fills, and there is time
    to wait and see; or all layers are known, and none of them shows the growth; or it is the cache of
    requests that run, which may end in time. Neither fires.
    """

    pattern: str
    found: Found
    cause: Cause
    ruled_out: tuple[RuledOut, ...]
    rate: Rate | None
    forecast: Exhaustion | Abstention  # times as of the window's lanes
    explained: bool = False
    premature: bool = False
    others: tuple[str, ...] = ()
    alternatives: tuple[Cause, ...] = ()


def diagnose(window: Window, found: Mapping[str, Found]) -> Diagnosis:
    """Return the one diagnosis of all patterns ``found`` (by name, at least one) in ``window``."""
    names = sorted(found, key=PRECEDENCE.index)
    main = names[0]
    if main in POOLED and window.pool is not None:
        window = window.pool
    urgent = next((name for name in names if found[name].is_urgent), None)
    rate = next(
        (found[name].rate for name in ("daily_floor", *names) if name in found and found[name].rate), None
    )
    if urgent is not None:
        rate = found[urgent].rate
    curve = None if urgent else _curve(window)
    forecast = _forecast(window, rate, curve, urgent is not None)
    cause, ruled_out, alternatives = _cause(window, found, main, urgent is not None)
    is_told = any(each.causes and each.rate is None for each in found.values())  # no growth, and no curve
    fits = isinstance(forecast, Abstention) and forecast.reason in (Reason.FITS, Reason.MAY_FIT)
    fits = fits and not is_told
    if fits and cause is not Cause.KV_CACHE and not found[main].causes:
        cause, alternatives = Cause.WARMUP, ()
        ruled_out = tuple(each for each in ruled_out if each.cause is not Cause.WARMUP)
    is_early = urgent is None and "idle_creep" not in found and _is_premature(window, rate, forecast, curve)
    is_early |= urgent is None and cause is Cause.UNKNOWN and bool(window.layers)
    is_served = urgent is not None and cause is Cause.KV_CACHE and bool(window.running)
    is_early |= is_served and seconds_left(forecast, window.now)[1] > SERVED_CLOSE
    return Diagnosis(
        main,
        _with_work(window, found[main], rate),
        cause,
        ruled_out,
        rate,
        forecast,
        explained=fits,
        premature=is_early and not is_told,
        others=tuple(names[1:]),
        alternatives=alternatives,
    )


def _is_premature(window: Window, rate: Rate | None, forecast: Forecast, curve: Saturation | None) -> bool:
    """Return whether it may as well be a cache that fills, with time enough to tell the two apart.

    Where one floor rises cleanly, or has risen since the process started, its curve decides; it must have
    been watched for a while (nothing fills while nothing is asked). Where the memory goes through many
    states it is not one cache that fills.
    """
    if rate is None or isinstance(forecast, Abstention):
        return False
    lane = window.used
    is_one_state = len(lane.rests) >= LEAST_SAMPLES and rise(lane.rests.time, lane.rests.value).is_clean
    if not is_one_state and not _is_cold(window):
        return False
    left = forecast.at - window.now
    if left > CLOSE and (curve is None or curve.evidence > 0):
        return True
    watched = lane.time - max(lane.began, onset(lane, rate.median))
    return watched < min(LONGEST_WAIT, WAIT_SHARE * left)


def _with_work(window: Window, found: Found, rate: Rate | None) -> Found:
    """Return ``found`` with its growth for each thousand requests, where they are counted."""
    pace = window.used.pace(DAY)
    if rate is None or not window.counts_requests or pace <= 0:
        return found
    numbers = {**found.evidence.numbers, "growth_bytes_per_1000_requests": 1000 * rate.median / pace}
    return replace(found, evidence=replace(found.evidence, numbers=numbers))


def _is_cold(window: Window) -> bool:
    """Return whether memory has grown since its process had warmed up: no healthy stretch to compare with."""
    if window.started is None:
        return False
    times, _, values = window.used.rests.since(window.started + WARM_UP)
    if len(values) < 2:
        return True
    kept = kept_of(values)
    flat = kept[0] + max(ONSET_TOLERANCE / 2, BEGUN * (kept[-1] - kept[0]))
    return times[bisect_right(kept, flat) - 1] - times[0] < HEALTHY


# --- cause --------------------------------------------------------------------------------------


Told = tuple[Cause, tuple[RuledOut, ...], tuple[Cause, ...]]
"""A cause, the causes that were ruled out, and those that cannot be told from it."""


def _cause(window: Window, found: Mapping[str, Found], main: str, is_urgent: bool) -> Told:
    names = sorted(found, key=PRECEDENCE.index)
    if told := next((found[name].causes for name in names if found[name].causes), ()):
        return told[0], (), told[1:]
    if names == ["out_of_memory"]:
        return Cause.UNKNOWN, (), ()
    if window.kind is SubjectKind.UNATTRIBUTED and not window.withheld:
        nobody = "no process that is listed holds it"
        return Cause.GHOST, tuple(RuledOut(each, nobody) for each in INSIDE), ()
    since = found[main].evidence.since - window.wall + window.now
    span = window.now - max(since, window.used.began)
    grown = growth(window.used, span)
    outside = tuple(_ruled_out_by_state(window, main))
    if not window.layers or grown <= 0:
        return Cause.LEAK, outside, INSIDE[1:]
    shares = {layer: growth(lane, span) / grown for layer, lane in window.layers.items()}
    largest = max(shares, key=lambda layer: shares[layer])
    ruled_out = (*outside, *_ruled_out(shares, largest, grown))
    if shares[largest] < DECISIVE:
        return Cause.UNKNOWN, ruled_out, ()
    cause = BY_LAYER[largest]
    if cause is Cause.LEAK and is_urgent and _per_work(window, grown, span) >= GRAPH_PER_REQUEST:
        cause = Cause.AUTOGRAD
    return cause, ruled_out, ()


def _ruled_out_by_state(window: Window, main: str) -> Iterator[RuledOut]:
    """Yield what the pattern itself rules out: memory at rest is no load's, and an old process is warm."""
    if main in AT_REST:
        yield RuledOut(Cause.LOAD, "it is held where nothing is asked")
    if window.age > WARM_UP and window.started is not None:
        sentence = f"its process has run for {show_seconds(window.age)}"
        yield RuledOut(Cause.WARMUP, sentence, {"age_seconds": window.age})


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


def _forecast(window: Window, rate: Rate | None, curve: Saturation | None, is_urgent: bool) -> Forecast:
    if rate is None:
        return Abstention(Reason.NO_RATE)
    if not window.is_bounded:
        return Abstention(Reason.NO_CAPACITY)
    capacity = window.capacity - window.taken
    slope = Slope(rate.low, rate.median, rate.high, LEAST_SAMPLES)
    level = _recent_peak(window.used) if is_urgent else projected_peak(window.used, rate.median)
    if curve is not None and curve.plateau is not None:
        swing = max(0.0, level - window.used.last)
        capacity, level = capacity - swing, level - swing
    return exhaustion(window.now, level, capacity, slope, curve)


def _recent_peak(lane: Lane) -> float:
    """Return the most that was held within the last minute."""
    return max(*lane.moments.high[lane.moments.since(lane.time - MINUTE) :], lane.high, lane.last)


def projected_peak(lane: Lane, rate: float) -> float:
    """Return what the highest peak of the last day would reach now, had it come now.

    It counts for what has grown since at ``rate`` bytes a second, as far back as the floor shows growth.
    """
    since = max(lane.time - DAY, onset(lane, rate))
    level = max(lane.high, lane.last)
    for envelope in (lane.minutes, lane.hours):
        for place in range(envelope.since(lane.time - DAY), len(envelope)):
            ended = (envelope.index[place] + 1) * envelope.span
            level = max(level, envelope.high[place] + rate * max(0.0, lane.time - max(ended, since)))
    return level


def onset(lane: Lane, rate: float) -> float:
    """Return since when the floor at rest has risen at ``rate`` bytes a second, by its points; else long ago.

    As in ``floors.slowing``, a point counts as what memory never went below afterwards.
    """
    points = lane.rests
    if len(points) < 3:
        return lane.began
    kept = min(points.value[-2:])
    last, level = points.time[-2], kept
    since = last
    for place in range(len(points) - 2, -1, -1):
        back = last - points.time[place]
        kept = min(kept, points.value[place])
        if kept - (level - rate * back) > max(ONSET_TOLERANCE, ONSET_SHARE * rate * back):
            break
        since = points.time[place]
    return since


def _curve(window: Window) -> Saturation | None:
    """Return whether the floor slows down, over work where it is known. None: too little to say."""
    lane = window.used
    warm = max(lane.time - window.age + WARM_UP / 3, lane.began)
    for points in (lane.rests, lane.valleys.least_of(3), _least(lane)):
        times, works, values = points.since(warm)
        if len(values) >= LEAST_SAMPLES:
            return slowing(times, works, values)
    return None


def _least(lane: Lane) -> Points:
    """Return the least of every ten minutes of the last half day, or of every hour of a longer life."""
    return lane.minutes.least_of(10) if lane.time - lane.began <= 12 * HOUR else lane.hours.least_of(1)


def seconds_left(forecast: Exhaustion | Abstention, now: float) -> Sequence[float]:
    """Return the seconds to the early bound and to the median of exhaustion; inf where it abstains."""
    if isinstance(forecast, Abstention):
        return (float("inf"), float("inf"))
    return (forecast.low - now, forecast.at - now)
