"""The detection benchmark's scorer: what counts as found, as false, as resolved."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.detection import confusion, scoring
from benchmarks.detection.alarms import ContractError, Line, alarms, episodes, first_apart, parse
from benchmarks.detection.cases import HOUR, WEEK, Case, Cause, Group, Serving, Suite, Truth, View
from benchmarks.detection.goals import Outcome, Range, outcome
from benchmarks.detection.judging import Judged, judge
from benchmarks.detection.programs import Answer
from benchmarks.detection.scoring import Measure
from vramwatch.core import intervals
from vramwatch.core.intervals import Interval

LEAK = Truth(Cause.LEAK, True, begin=2 * HOUR, life=2 * HOUR, end=12 * HOUR, exhausts=True)
HEALTHY = Truth(Cause.LOAD)


def case(name: str = "one", truth: Truth = LEAK, twin: str | None = None, **changes: object) -> Case:
    whole = Case(
        name,
        Path(f"{name}.csv"),
        Suite.SYNTHETIC,
        Serving.IMAGE,
        View.DRIVER_ONLY,
        Group.GROWTH,
        truth,
        0.0,
        WEEK,
        twin,
    )
    return replace(whole, **changes)


def line(hours: float, state: str = "firing", cause: Cause = Cause.LEAK, incident: str = "1") -> Line:
    return Line("", hours * HOUR, incident, state, cause)


def judged(one: Case, *lines: Line) -> Judged:
    return judge([one], {one.name: Answer(lines)})[0]


def anything(_: Judged) -> bool:
    return True


# --- what a program says ----------------------------------------------------------------------------


def test_a_line_of_the_contract_is_read_with_its_forecast():
    said = parse(
        json.dumps(
            {
                "time": 60,
                "incident": 7,
                "state": "firing",
                "cause": "non_torch",
                "exhaustion": {"at": 90, "low": 80, "high": 120},
            }
        )
    )
    assert (said.incident, said.cause, said.forecast.low) == ("7", Cause.NON_TORCH, 80.0)


def test_a_cause_that_the_contract_does_not_name_is_unknown():
    assert parse('{"time": 1, "incident": 1, "state": "firing", "cause": "gremlins"}').cause is Cause.UNKNOWN


@pytest.mark.parametrize("text", ["{", "[]", '{"time": 1}', '{"time": 1, "incident": 1, "state": "on"}'])
def test_what_is_no_line_of_the_contract_is_named(text):
    with pytest.raises(ContractError, match=r"contract"):
        parse(text)


def test_updates_belong_to_their_alarm_and_an_alarm_that_never_resolves_lasts_to_the_end():
    told = alarms(
        [line(1), line(2), line(3, "resolved"), line(5, "pending", incident="2"), line(6, incident="2")],
        10 * HOUR,
    )
    assert [(one.begin / HOUR, one.end / HOUR, len(one.lines)) for one in told] == [(1, 3, 2), (6, 10, 1)]


# --- episodes and twins -----------------------------------------------------------------------------


def test_alarms_within_an_hour_are_one_episode():
    assert episodes([(0, 60), (HOUR + 30, 2 * HOUR), (4 * HOUR, 4 * HOUR)]) == (
        (0, 2 * HOUR),
        (4 * HOUR, 4 * HOUR),
    )


spans = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**5)).map(lambda pair: (pair[0], sum(pair)))
)


@given(spans, spans, st.integers(0, 10**6))
def test_what_is_credited_lies_in_an_alarm_and_an_hour_from_every_alarm_of_the_twin(own, others, after):
    time = first_apart(own, others, after)
    if time is None:
        assert not own or others or max(end for _, end in own) < after
    else:
        assert time >= after
        assert any(begin <= time <= end for begin, end in own)
        assert not any(begin - HOUR <= time <= end + HOUR for begin, end in others)


@given(spans)
def test_episodes_are_apart_and_hold_every_alarm(own):
    joined = episodes(own)
    assert all(later[0] - earlier[1] > HOUR for earlier, later in pairwise(joined))
    assert all(any(begin <= one[0] and one[1] <= end for begin, end in joined) for one in own)


def test_an_alarm_that_the_untouched_twin_has_too_finds_nothing():
    cases = [case("leak", twin="calm"), case("calm", HEALTHY)]
    both = {"leak": Answer((line(4), line(5, "resolved"))), "calm": Answer((line(4.5), line(6, "resolved")))}
    assert judge(cases, both)[0].found is None
    alone = judge(cases, {**both, "calm": Answer()})[0]
    assert alone.found == 4 * HOUR
    assert alone.delay == pytest.approx(0.2)


def test_an_alarm_before_the_growth_or_after_the_end_finds_nothing():
    assert judged(case(), line(1), line(1.5, "resolved")).found is None
    assert judged(case(), line(12.5)).found is None


def test_an_alarm_that_calls_the_growth_load_has_not_found_it_but_one_for_a_spike_may_say_so():
    assert judged(case(), line(4, cause=Cause.LOAD)).found is None
    assert judged(case(group=Group.SPIKE), line(4, cause=Cause.SPIKE)).found == 4 * HOUR


# --- figures ----------------------------------------------------------------------------------------


def test_false_alarms_are_counted_in_episodes_whatever_their_cause_and_critical_ones_apart():
    page = replace(line(50, incident="2"), severity="critical")
    calm = judged(case(truth=HEALTHY), line(1, cause=Cause.LOAD), line(2, "resolved"), page)
    measure = scoring.false_alarms([calm, judged(case())], anything)
    assert measure.value == pytest.approx(2.0)
    assert measure.detail == "2 (1 critical) in 1.00 GPU-weeks"


def test_a_find_in_the_second_half_of_the_life_is_not_in_time():
    late = judged(case(), line(8))
    assert scoring.found([late], anything).value == 1.0
    assert scoring.found([late], anything, scoring.IN_TIME).value == 0.0


def test_a_figure_without_recordings_is_not_measured():
    assert scoring.false_alarms([], anything).value is None
    assert scoring.found([], anything).value is None
    assert scoring.causes([], View.ALL_LAYERS).value is None


def forecast(at: float, hours: float, state: str = "firing") -> Line:
    said = {
        "time": hours * HOUR,
        "incident": 1,
        "state": state,
        "cause": "leak",
        "exhaustion": {"at": at * HOUR, "low": (at - 1) * HOUR, "high": (at + 1) * HOUR},
    }
    return parse(json.dumps(said))


def test_the_forecast_that_stands_at_half_life_is_judged_by_the_time_left():
    one = judged(case(), forecast(20, 3), forecast(13, 6), forecast(12, 8))  # half of the life is at hour 7
    measure = scoring.forecast_error([one, judged(case())], anything)
    assert measure.value == pytest.approx(1 / 5)
    assert measure.detail == "1 of 2 forecast"
    assert scoring.forecast_coverage([one], anything).value == 1.0


def test_a_forecast_of_a_resolved_incident_is_an_abstention():
    one = judged(case(), forecast(12, 3), replace(line(4, "resolved"), incident="1"))
    assert one.forecast is None


# --- causes -----------------------------------------------------------------------------------------


def test_the_cause_is_the_last_told_before_the_end_by_the_first_alarm_that_blames():
    one = judged(
        case(),
        line(3, cause=Cause.LOAD, incident="0"),
        line(4, cause=Cause.UNKNOWN),
        line(6, cause=Cause.LEAK),
        line(13, cause=Cause.GHOST),
    )
    assert one.cause is Cause.LEAK


def test_silence_about_a_growth_is_a_miss_and_about_load_is_right():
    found, silent, calm = (
        judged(case(), line(4)),
        judged(case()),
        judged(case(truth=HEALTHY)),
    )
    told = confusion.pairs([found, silent, calm], View.DRIVER_ONLY)
    assert told == [("growth", "growth"), ("growth", "benign"), ("benign", "benign")]
    assert confusion.macro_f1(told) == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_the_driver_tells_no_leak_from_a_cache_but_all_layers_do():
    told = (line(4, cause=Cause.KV_CACHE),)
    assert confusion.pairs([judged(case(), *told)], View.DRIVER_ONLY) == [("growth", "growth")]
    layered = judged(case(view=View.ALL_LAYERS), *told)
    assert confusion.pairs([layered], View.ALL_LAYERS) == [("leak", "kv_cache")]


def test_unknown_is_a_miss_and_its_share_is_shown():
    told = confusion.pairs([judged(case(), line(4, cause=Cause.UNKNOWN))], View.DRIVER_ONLY)
    assert (confusion.macro_f1(told), confusion.unknown_share(told)) == (0.0, 1.0)


# --- intervals and goals ----------------------------------------------------------------------------


def test_intervals_are_those_of_the_tables():
    rate = intervals.poisson(2, 14.86)
    assert (rate.low, rate.high) == (pytest.approx(0.0163, abs=1e-4), pytest.approx(0.486, abs=1e-3))
    assert intervals.poisson(0, 1.0).high == pytest.approx(3.689, abs=1e-3)
    share = intervals.share(8, 10)
    assert (share.low, share.high) == (pytest.approx(0.444, abs=1e-3), pytest.approx(0.975, abs=1e-3))


@given(st.integers(1, 60), st.data())
def test_the_interval_of_a_share_holds_the_share_and_lies_within_0_and_1(of, data):
    hits = data.draw(st.integers(0, of))
    one = intervals.share(hits, of)
    assert 0.0 <= one.low <= hits / of <= one.high <= 1.0


def test_the_interval_of_a_median_needs_six_values():
    assert intervals.median([1.0] * 5) == Interval(-math.inf, math.inf)
    assert intervals.median([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]) == Interval(1.0, 6.0)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.09, Outcome.REACHED),
        (0.0, 0.7, Outcome.NOT_RESOLVED),
        (0.2, 0.9, Outcome.MISSED),
    ],
)
def test_a_goal_is_reached_only_where_the_bound_reaches_it(low, high, expected):
    assert outcome(Measure(0.05, Interval(low, high), ""), Range("", high=0.10)) is expected


def test_what_was_not_measured_reaches_nothing():
    assert outcome(scoring.not_measured("no data"), Range("", high=0.10)) is Outcome.NOT_MEASURED
