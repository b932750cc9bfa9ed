"""Why memory grows, by subtraction; what is ruled out, and what stays unsaid for now."""

from dataclasses import replace
from itertools import permutations
from math import exp, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers import CARD, DAY, HOUR, STEP, one, poll, torch
from vramwatch.config.detection import DetectionOptions
from vramwatch.core import diagnosis
from vramwatch.core.diagnosis import (
    BY_LAYER,
    CLOSE,
    DECISIVE,
    GRAPH_PER_REQUEST,
    INSIDE,
    growth,
)
from vramwatch.core.folding import GpuWindows
from vramwatch.core.forecast import Abstention, Exhaustion, Reason, seconds_left
from vramwatch.core.model import SubjectKind
from vramwatch.core.outlook import onset, projected_peak
from vramwatch.core.units import MIB
from vramwatch.core.verdicts import Cause, Evidence, Found, Rate
from vramwatch.core.windows import Layer

START_MIB = 9000.0
TRAITS = {name: each.TRAITS for name, each in DetectionOptions().detectors.on().items()}


def window_of(moments, kind=SubjectKind.PROCESS):
    """Return the window of that kind that comes of ``moments`` on one card."""
    windows = GpuWindows()
    for seq, moment in enumerate(moments, 1):
        told = poll(seq, moment)
        windows.fold(told.ledgers[0], told.at.wall)
    return next(each.window for each in windows.all() if each.window.kind is kind)


def shares(minutes=300, per_minute=10.0, begins=60, held=START_MIB, **parts):
    """A process that works and rests by turns and grows by ``per_minute``; ``parts``: layer -> its share.

    Without ``parts`` it tells nothing of its layers.
    """
    for minute in range(minutes):
        grown = per_minute * max(0, minute - begins)
        told = {}
        if parts:
            live, cached, kv = (grown * parts.get(name, 0.0) for name in ("live", "cached", "kv"))
            told = torch(6000.0 + live + kv, reserve=200.0 + cached, kv=1000.0 + kv)
        yield one(minute * STEP, held + grown, 0.0 if minute % 30 > 22 else 0.5, told=told)


def found(window, hours=4.0, per_hour=600.0, **more):
    """A pattern that was found over the last ``hours``; ``per_hour``: MiB, None: no growth over time."""
    rate = None if per_hour is None else Rate(*(per_hour * MIB / HOUR * part for part in (0.9, 1.0, 1.1)))
    evidence = Evidence(
        "it grew", {"growth_bytes": 1.0}, window.at(window.now - hours * HOUR), window.wall, 9
    )
    return Found(evidence, rate, **more)


def diagnose(window, told):
    return diagnosis.diagnose(window, told, TRAITS)


def judged(window, *names, **more):
    return diagnose(window, {name: found(window, **more) for name in names or ("staircase",)})


# --- the cause is a subtraction ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "cause"),
    [
        ("live", Cause.LEAK),
        ("cached", Cause.FRAGMENTATION),
        ("kv", Cause.KV_CACHE),
        ("outside", Cause.NON_TORCH),
    ],
)
def test_the_layer_that_grows_names_the_cause_and_the_others_are_ruled_out(part, cause):
    said = judged(window_of(shares(**{part: 1.0})))
    assert said.cause is cause
    assert said.alternatives == ()
    by_layer = [each for each in said.ruled_out if each.cause in BY_LAYER.values()]
    assert {each.cause for each in by_layer} == set(BY_LAYER.values()) - {cause}
    assert all(each.sentence.startswith("0% of the growth of ") for each in by_layer)


def test_a_layer_that_fell_by_next_to_nothing_accounts_for_0_and_not_for_minus_0_percent():
    said = judged(window_of(shares(live=1.002, outside=-0.002)))
    (outside,) = (each for each in said.ruled_out if each.cause is Cause.NON_TORCH)
    assert outside.sentence.startswith("0% of the growth of ")
    assert outside.sentence.endswith(" is outside PyTorch's allocator")


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["live", "cached", "kv"]), st.floats(0.0, 1.0))
def test_a_cause_is_named_by_half_of_the_growth_and_by_no_less(part, share):
    other = {"live": "cached", "cached": "kv", "kv": "live"}[part]
    window = window_of(shares(180, **{part: share, other: (1 - share) / 2}))
    said = judged(window, hours=2.0)
    grown = growth(window.used, 2 * HOUR)
    measured = {layer: growth(lane, 2 * HOUR) / grown for layer, lane in window.layers.items()}
    assert sum(measured.values()) == pytest.approx(1.0, abs=0.02)
    largest = max(measured, key=lambda layer: measured[layer])
    if measured[largest] >= DECISIVE:
        assert said.cause is BY_LAYER[largest]
    else:
        assert (said.cause, said.premature, said.explained) == (Cause.UNKNOWN, True, False)


def test_without_layers_the_causes_within_a_process_cannot_be_told_apart_and_that_is_said():
    said = judged(window_of(shares()))
    assert said.cause is Cause.LEAK
    assert said.alternatives == INSIDE[1:]


@pytest.mark.parametrize(("said", "cause"), [(1.0, Cause.AUTOGRAD), (0.0, Cause.LEAK)])
def test_live_bytes_that_grow_while_a_cached_key_holds_its_graph_are_graphs(said, cause):
    told = [
        replace(each, processes=tuple(_telling(process, kv_requires_grad=said) for process in each.processes))
        for each in shares(180, live=0.9, cached=0.05)
    ]
    assert judged(window_of(told), hours=2.0).cause is cause


def _telling(process, **more):
    return replace(process, told={**process.told, **more})


@pytest.mark.parametrize(("each", "cause"), [(1.2, Cause.AUTOGRAD), (0.8, Cause.LEAK)])
def test_live_bytes_that_run_away_are_a_graph_where_so_many_stay_for_each_request(each, cause):
    size = each * GRAPH_PER_REQUEST / MIB
    moments = (
        one(
            i * 10.0,
            START_MIB + size * max(0, i - 60),
            0.9,
            told=torch(8000.0 + size * max(0, i - 60), requests_total=float(i)),
        )
        for i in range(100)
    )
    window = window_of(moments)
    urgent = {"hours": 150.0 / HOUR, "per_hour": size * 360, "is_urgent": True}
    assert judged(window, "fast_path", **urgent).cause is cause
    slow = found(window, hours=1000.0 / HOUR, per_hour=size * 360)  # with requests from before it began
    assert diagnose(window, {"same_state": slow, "fast_path": found(window, **urgent)}).cause is cause
    assert judged(window, "same_state", hours=150.0 / HOUR).cause is Cause.LEAK  # where time is left


def test_memory_at_rest_is_no_loads_and_an_old_process_is_warm():
    window = window_of(shares())
    assert {each.cause for each in judged(window, "same_state").ruled_out} == {Cause.LOAD, Cause.WARMUP}
    assert {each.cause for each in judged(window, "staircase").ruled_out} == {Cause.WARMUP}
    young = replace(window, started=window.now - 60.0)
    assert judged(young, "staircase").ruled_out == ()


def test_bytes_that_nobody_holds_are_a_ghosts_unless_a_process_withholds_its_own():
    window = window_of(shares(), SubjectKind.UNATTRIBUTED)
    said = judged(window)
    assert said.cause is Cause.GHOST
    assert {each.cause for each in said.ruled_out} == set(INSIDE)
    assert judged(replace(window, withheld=True)).cause is Cause.LEAK


def test_what_a_pattern_tells_by_itself_is_the_cause_and_the_surest_pattern_counts():
    window = window_of(shares(live=1.0))
    told = {
        "spike": found(window, per_hour=None, causes=(Cause.SPIKE,)),
        "process_count": found(window, causes=(Cause.PROCESS_COUNT, Cause.UNKNOWN)),
        "staircase": found(window),
    }
    said = diagnose(window, told)
    assert (said.cause, said.alternatives, said.ruled_out) == (Cause.PROCESS_COUNT, (Cause.UNKNOWN,), ())


def test_an_accident_alone_says_nothing_of_its_cause():
    window = window_of(shares(live=1.0))
    assert judged(window, "out_of_memory", per_hour=None, is_urgent=True).cause is Cause.UNKNOWN


# --- precedence -------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.sets(
        st.sampled_from([name for name, each in TRAITS.items() if not each.in_pool]), min_size=2, max_size=4
    )
)
def test_the_surest_pattern_names_the_growth_in_whatever_order_they_were_found(names):
    window = window_of(shares(80))
    by_name = {
        name: found(window, hours=1.0, per_hour=100.0 * (i + 1)) for i, name in enumerate(sorted(names))
    }
    ordered = sorted(names, key=lambda name: TRAITS[name].precedence)
    said = [diagnose(window, {name: by_name[name] for name in order}) for order in permutations(names)]
    assert all(each == said[0] for each in said)
    assert (said[0].pattern, *said[0].others) == tuple(ordered)
    rated = "daily_floor" if "daily_floor" in names else ordered[0]
    assert said[0].rate == by_name[rated].rate


def test_what_is_urgent_gives_the_rate():
    window = window_of(shares(80))
    slow, fast = found(window, per_hour=10.0), found(window, per_hour=9000.0, is_urgent=True)
    assert diagnose(window, {"daily_floor": slow, "fast_path": fast}).rate == fast.rate


# --- what is not told yet ---------------------------------------------------------------------------


def test_growth_since_the_process_began_is_watched_for_a_while_and_then_told():
    early = judged(window_of(shares(140, begins=0)), hours=2.0)
    assert early.premature
    assert not early.explained
    assert not judged(window_of(shares(700, begins=0)), hours=10.0).premature


def test_nobody_waits_where_little_time_is_left():
    window = window_of(shares(240, begins=0))
    room = window.capacity - window.taken - projected_peak(window.used, 0.0)
    hours = CLOSE / HOUR / 2
    assert judged(window, hours=3.0).premature
    assert not judged(window, hours=3.0, per_hour=room / MIB / hours).premature


def test_what_is_urgent_is_never_premature():
    window = window_of(shares(140, begins=0))
    assert not judged(window, "fast_path", hours=0.1, is_urgent=True).premature


def test_growth_after_a_healthy_stretch_through_many_states_is_told_at_once():
    def moments():
        for minute in range(400):
            is_busy = minute % 30 < 22
            level = (0.0, 1500.0, 700.0)[minute // 30 % 3]
            yield one(minute * STEP, START_MIB + level + 5.0 * max(0, minute - 240), 0.5 * is_busy)

    assert not judged(window_of(moments()), hours=2.0, per_hour=300.0).premature


def test_a_curve_that_comes_to_rest_below_the_capacity_is_explained():
    filling = (one(m * STEP, START_MIB + 4000.0 * (1 - exp(-m / 120)), 0.0) for m in range(600))
    said = judged(window_of(filling), "same_state", hours=9.0, per_hour=100.0)
    assert said.explained
    assert said.cause is Cause.WARMUP
    assert said.forecast in (Abstention(Reason.FITS), Abstention(Reason.MAY_FIT))


def test_a_cache_that_comes_to_rest_is_explained_and_stays_a_cache():
    filling = (
        one(
            m * STEP,
            START_MIB + 4000.0 * (1 - exp(-m / 120)),
            0.0,
            told=torch(8000.0 + 4000.0 * (1 - exp(-m / 120)), kv=1000.0 + 4000.0 * (1 - exp(-m / 120))),
        )
        for m in range(600)
    )
    said = judged(window_of(filling), "same_state", hours=9.0, per_hour=100.0)
    assert (said.explained, said.cause) == (True, Cause.KV_CACHE)


def test_a_spike_is_no_growth_so_that_no_curve_explains_it():
    filling = (one(m * STEP, START_MIB + 4000.0 * (1 - exp(-m / 120)), 0.0) for m in range(600))
    said = judged(window_of(filling), "spike", per_hour=None, causes=(Cause.SPIKE,))
    assert (said.explained, said.premature, said.forecast) == (False, False, Abstention(Reason.NO_RATE))


@pytest.mark.parametrize(("per_hour", "is_early"), [(40_000.0, True), (400_000.0, False)])
def test_the_cache_of_requests_that_run_may_end_in_time_unless_seconds_are_left(per_hour, is_early):
    window = window_of(shares(180, kv=1.0))
    busy = replace(window, running=8.0)
    urgent = {"hours": 1.0, "per_hour": per_hour, "is_urgent": True}
    assert judged(busy, "fast_path", **urgent).premature is is_early
    assert not judged(replace(window, running=0.0), "fast_path", **urgent).premature


# --- numbers ----------------------------------------------------------------------------------------


def test_growth_for_each_thousand_requests_is_told_where_they_are_counted():
    moments = (
        one(m * STEP, START_MIB + 2.0 * m, 0.5, told=torch(8000.0 + 2.0 * m, requests_total=20.0 * m))
        for m in range(180)
    )
    numbers = judged(window_of(moments), hours=2.0, per_hour=120.0).found.evidence.numbers
    assert numbers["growth_bytes_per_1000_requests"] == pytest.approx(100 * MIB, rel=0.05)
    assert "growth_bytes_per_1000_requests" not in judged(window_of(shares())).found.evidence.numbers


def test_growth_for_each_release_cycle_is_told_where_requests_are_not_counted():
    def cycles(**told):
        for minute in range(240):  # loaded for six minutes, unloaded for four: 30 MiB stay behind each time
            loaded = 4000.0 if minute % 10 < 6 else 0.0
            yield one(minute * STEP, START_MIB + 30.0 * (minute // 10) + loaded, 0.5, told=told)

    numbers = judged(window_of(cycles()), hours=3.0, per_hour=180.0).found.evidence.numbers
    assert numbers["growth_bytes_per_release_cycle"] == pytest.approx(30 * MIB, rel=0.02)
    brief = judged(window_of(cycles()), hours=1.0, per_hour=180.0).found.evidence.numbers
    assert "growth_bytes_per_release_cycle" not in brief  # five cycles are no mean
    counted = judged(window_of(cycles(requests_total=7.0)), hours=3.0, per_hour=180.0)
    assert "growth_bytes_per_release_cycle" not in counted.found.evidence.numbers


def test_the_budget_is_told_where_it_is_what_will_be_exhausted():
    window = window_of(shares())
    assert "budget_bytes" not in judged(window).found.evidence.numbers
    whole = judged(window).forecast
    window.bind(14_000.0 * MIB, 1000.0 * MIB)
    said = judged(window)
    assert said.found.evidence.numbers["budget_bytes"] == 14_000 * MIB
    assert said.forecast.at < whole.at


@pytest.mark.parametrize(
    ("forecast", "left"),
    [(Exhaustion(500.0, 200.0, 900.0), (100.0, 400.0)), (Abstention(Reason.THIN), (inf, inf))],
)
def test_the_seconds_left_are_those_to_the_early_bound_and_to_the_median(forecast, left):
    assert seconds_left(forecast, 100.0) == left


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(2, 10))
def test_the_growth_of_a_span_is_that_of_its_floor_and_load_does_not_count(per_minute, hours):
    minutes = hours * 60 + 30
    moments = [
        one(m * STEP, 2000.0 + 2.0 * per_minute * m + (m % 4 > 0) * 700.0, 0.5) for m in range(minutes)
    ]
    lane = window_of(replace(each, total=10 * CARD) for each in moments).used
    whole = 2.0 * per_minute * hours * 60 * MIB
    assert 0.7 * whole <= growth(lane, hours * HOUR) <= whole + 10 * per_minute * MIB


def test_nothing_has_grown_where_nothing_is_known_of_the_span():
    lane = window_of([one(0.0, START_MIB, 0.5)]).used
    assert growth(lane, DAY) == 0.0


def test_growth_began_where_its_line_leaves_the_floor():
    moments = (one(m * STEP, START_MIB + 5.0 * max(0, m - 300), 0.0) for m in range(600))
    window = window_of(moments)
    began = onset(window.used, 5.0 * MIB / STEP)
    assert abs(began - (window.now - 300 * STEP)) <= 0.75 * HOUR


def test_the_layers_of_the_windows_are_those_that_have_a_cause():
    assert BY_LAYER.keys() == set(Layer)
