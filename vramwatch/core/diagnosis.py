"""Diagnoses what the patterns found in a window: the cause, what is ruled out, and the forecast.

The cause is a subtraction: the layer that grows names it (see ``windows.Layer``). Without a process's own
figures the causes inside a process cannot be told apart, and the diagnosis lists them.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from vramwatch.core.floors import BEGUN, WARM_UP, kept_of, rise
from vramwatch.core.forecast import Abstention, Exhaustion, Reason, seconds_left
from vramwatch.core.hindcasts import USUAL, Width
from vramwatch.core.lanes import DAY, HOUR, MINUTE, Lane
from vramwatch.core.model import SubjectKind
from vramwatch.core.outlook import ONSET_TOLERANCE, Forecast, by_days, curve_of, is_straight, onset, outlook
from vramwatch.core.saturation import LEAST_SAMPLES, Saturation
from vramwatch.core.traits import Traits
from vramwatch.core.units import MIB, show_bytes, show_seconds
from vramwatch.core.verdicts import Cause, Found, Rate, RuledOut
from vramwatch.core.windows import Layer, Window

BY_LAYER = {
    Layer.NON_TORCH: Cause.NON_TORCH,
    Layer.CACHED: Cause.FRAGMENTATION,
    Layer.LIVE: Cause.LEAK,
    Layer.KV: Cause.KV_CACHE,
}

LAYERS = {
    Layer.NON_TORCH: "outside PyTorch's allocator",
    Layer.CACHED: "what PyTorch's allocator caches",
    Layer.LIVE: "live tensors",
    Layer.KV: "the KV cache",
}

DECISIVE = 0.5
"""The share of the growth that a layer must have to name the cause."""

GRAPH_PER_REQUEST = 64 * MIB
"""Live tensors that stay behind at each request from which a kept autograd graph is likelier than a leak:
graphs keep a forward pass's whole activations (424 MiB a step in transformers#3141, 160 in InvokeAI#3633),
leaks of single tensors 2 to 30 MiB a request."""

WAIT_SHARE, LONGEST_WAIT = 0.4, 12 * HOUR
"""How long growth is watched before it is told apart from a cache that fills: as a share of the time left."""

HEALTHY = HOUR
"""Seconds for which the floor must have stood after the warm-up, for growth to have begun later."""

SERVED_CLOSE = 300.0
"""With less time left it does not matter that requests which run may yet end and give back their cache."""

CLOSE = 2 * HOUR
"""With less time left nobody waits for a curve to show."""

LEAST_CYCLES = 8
"""Release cycles within the growth from which their mean length means something."""

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
    straight: Rate | None = None


def diagnose(
    window: Window, found: Mapping[str, Found], traits: Mapping[str, Traits], width: Width = USUAL
) -> Diagnosis:
    """Return the one diagnosis of all patterns ``found`` (by name, at least one) in ``window``.

    ``traits``: of each that was found, by the same names. ``width``: how wide intervals of
    forecasts must be told here.
    """
    names = _surest_first(found, traits)
    main = names[0]
    in_pool = traits[main].in_pool
    if in_pool and window.pool is not None:
        window = window.pool
    urgent = next((name for name in names if found[name].is_urgent), None)
    if urgent is not None:
        rate, curve = found[urgent].rate, None
    else:
        rate, curve = _rate(window, found, traits), curve_of(window)
    forecast = outlook(window, rate, curve, urgent is not None, width.factor)
    cause, ruled_out, alternatives = _cause(window, found, traits, found.get(urgent or ""))
    is_told = any(each.causes and each.rate is None for each in found.values())  # no growth, and no curve
    fits = isinstance(forecast, Abstention) and forecast.reason in (Reason.FITS, Reason.MAY_FIT)
    fits = fits and not is_told
    if fits and cause is not Cause.KV_CACHE and not found[main].causes:
        cause, alternatives = Cause.WARMUP, ()
        ruled_out = tuple(each for each in ruled_out if each.cause is not Cause.WARMUP)
    is_seen = any(traits[name].sees_curve for name in names)
    is_early = urgent is None and not is_seen and _is_premature(window, rate, forecast, curve)
    is_early |= urgent is None and cause is Cause.UNKNOWN and bool(window.layers)
    is_served = urgent is not None and cause is Cause.KV_CACHE and bool(window.running)
    is_early |= is_served and seconds_left(forecast, window.now)[1] > SERVED_CLOSE
    is_line = urgent is None and isinstance(forecast, Exhaustion) and is_straight(curve)
    told = _with_numbers(window, found[main], rate)
    return Diagnosis(
        main,
        _with_width(told, width) if is_line else told,
        cause,
        ruled_out,
        rate,
        forecast,
        explained=fits,
        premature=is_early and not is_told,
        others=tuple(names[1:]),
        alternatives=alternatives,
        straight=rate if is_line and not is_early and not in_pool else None,
    )


def _surest_first(found: Iterable[str], traits: Mapping[str, Traits]) -> list[str]:
    return sorted(found, key=lambda name: traits[name].precedence)


def _rate(window: Window, found: Mapping[str, Found], traits: Mapping[str, Traits]) -> Rate | None:
    """Return the surest rate: by whole days, else that of the first pattern that has one."""
    names = sorted(_surest_first(found, traits), key=lambda name: not traits[name].by_days)
    rate = next((found[name].rate for name in names if found[name].rate), None)
    return by_days(window, rate) if rate else None


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


def _with_numbers(window: Window, found: Found, rate: Rate | None) -> Found:
    """Return ``found`` with its growth for each thousand requests, where they are counted, else for each
    release cycle, and with the owner's budget, where that is what will be exhausted."""
    more = {} if window.budget is None else {"budget_bytes": window.budget}
    pace = window.used.pace(DAY)
    if rate is not None and window.counts_requests and pace > 0:
        more["growth_bytes_per_1000_requests"] = 1000 * rate.median / pace
    elif rate is not None and not window.counts_requests and (lasts := _cycle(window, found)):
        more["growth_bytes_per_release_cycle"] = rate.median * lasts
    if not more:
        return found
    return replace(found, evidence=replace(found.evidence, numbers={**found.evidence.numbers, **more}))


def _cycle(window: Window, found: Found) -> float | None:
    """Return how many seconds a release cycle (load, then unload) lasts of late, while it grew.

    None: fewer than LEAST_CYCLES were counted. Older valleys are thinned out, and would count too few.
    """
    valleys = window.used.valleys
    since = found.evidence.since - window.wall + window.now
    times = [time for time in valleys.time[-(valleys.kept // 2) :] if time >= since]
    cycles = len(times) - 1
    return (times[-1] - times[0]) / cycles if cycles >= LEAST_CYCLES else None


def _with_width(found: Found, width: Width) -> Found:
    """Return ``found``, saying how many past forecasts the interval rests on, if any."""
    if not width.count:
        return found
    evidence = found.evidence
    sentence = f"{evidence.sentence}; interval from {width.count} past forecasts here"
    numbers = {**evidence.numbers, "past_forecasts": width.count, "interval_factor": width.factor}
    return replace(found, evidence=replace(evidence, sentence=sentence, numbers=numbers))


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


def _cause(
    window: Window, found: Mapping[str, Found], traits: Mapping[str, Traits], urgent: Found | None
) -> Told:
    names = _surest_first(found, traits)
    main = names[0]
    if told := next((found[name].causes for name in names if found[name].causes), ()):
        return told[0], (), told[1:]
    if all(traits[name].is_accident for name in names):
        return Cause.UNKNOWN, (), ()
    if window.kind is SubjectKind.UNATTRIBUTED and not window.withheld:
        nobody = "no process that is listed holds it"
        return Cause.GHOST, tuple(RuledOut(each, nobody) for each in INSIDE), ()
    since = found[main].evidence.since - window.wall + window.now
    span = window.now - max(since, window.used.began)
    grown = growth(window.used, span)
    outside = tuple(_ruled_out_by_state(window, traits[main]))
    if not window.layers or grown <= 0:
        return Cause.LEAK, outside, INSIDE[1:]
    shares = {layer: growth(lane, span) / grown for layer, lane in window.layers.items()}
    largest = max(shares, key=lambda layer: shares[layer])
    ruled_out = (*outside, *_ruled_out(shares, largest, grown))
    if shares[largest] < DECISIVE:
        return Cause.UNKNOWN, ruled_out, ()
    cause = BY_LAYER[largest]
    if cause is Cause.LEAK and _keeps_graphs(window, urgent):
        cause = Cause.AUTOGRAD
    return cause, ruled_out, ()


def _keeps_graphs(window: Window, urgent: Found | None) -> bool:
    """Return whether live tensors are autograd graphs: by their cache's own word, or by their size."""
    if window.told.get("kv_requires_grad"):
        return True
    return urgent is not None and _per_work(window, urgent) >= GRAPH_PER_REQUEST


def _ruled_out_by_state(window: Window, main: Traits) -> Iterator[RuledOut]:
    """Yield what the pattern itself rules out: memory at rest is no load's, and an old process is warm."""
    if main.at_rest:
        yield RuledOut(Cause.LOAD, "memory stays held while there is no load")
    if window.age > WARM_UP and window.started is not None:
        sentence = f"its process has run for {show_seconds(window.age)}"
        yield RuledOut(Cause.WARMUP, sentence, {"age_seconds": window.age})


def _ruled_out(shares: Mapping[Layer, float], largest: Layer, grown: float) -> Iterator[RuledOut]:
    for layer, share in shares.items():
        if layer is not largest:
            sentence = f"{share:z.0%} of the growth of {show_bytes(round(grown))} is {LAYERS[layer]}"
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


def _per_work(window: Window, urgent: Found) -> float:
    """Return bytes per unit of work while it ran away; inf where no work was done.

    Work and bytes are those of the same minutes: a longer span has work from before growth began.
    """
    lane, moments = window.used, window.used.moments
    start = moments.since(urgent.evidence.since - window.wall + window.now)
    if urgent.rate is None or start >= len(moments):
        return float("inf")
    elapsed = lane.time - (moments.index[start] + 1) * moments.span
    done = lane.work - moments.work[start]
    return urgent.rate.median * elapsed / done if done > 0 else float("inf")
