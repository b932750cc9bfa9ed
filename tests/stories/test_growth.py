"""Growth, and what looks like it, as people live through it: small servers played through the real watch."""

import json
import re
from dataclasses import replace
from functools import cache
from math import cos, exp, inf, pi
from random import Random

import pytest

from tests.growing import (
    GROWING,
    SILENT,
    days_of_load,
    ending_when_full,
    filling,
    idle_between,
    large_inputs,
    lives,
    refused,
    swapping,
)
from tests.polls import START
from tests.servers import (
    CARD,
    DAY,
    HOUR,
    STEP,
    Moment,
    Process,
    conversations,
    creeping,
    fired,
    healthy,
    leaking,
    one,
    out_of_memory,
    patterns,
    play,
    running_away,
    seconds,
    torch,
    watch,
    working,
)
from vramwatch import assembly
from vramwatch.config import load
from vramwatch.config.detection import DetectionOptions
from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.incidents import Reason, Severity, State
from vramwatch.core.model import GhostKind, Origin, SubjectKind
from vramwatch.core.units import MIB
from vramwatch.core.verdicts import Cause
from vramwatch.sources.simulated import Simulated


def megabytes_an_hour(transition):
    return transition.incident.judgement.rate.median * HOUR / MIB


def hours_until_full(transition):
    """Return by the story's clock when it says that memory runs out: low, middle, high."""
    said = transition.incident.judgement.forecast
    assert isinstance(said, Exhaustion)
    return tuple((each - START) / HOUR for each in (said.low, said.at, said.high))


def causes(transitions):
    return {each.incident.judgement.cause for each in transitions}


# --- what grows -----------------------------------------------------------------------------------


@cache
def story(pattern):
    """Return every transition of the server that shows ``pattern``."""
    return play(GROWING[pattern]())


def test_every_pattern_that_there_is_has_its_story():
    assert GROWING.keys() == SILENT.keys() == DetectionOptions().detectors.on().keys()


@pytest.mark.parametrize("pattern", GROWING)
def test_a_server_that_shows_a_pattern_comes_to_fire_and_the_pattern_is_named(pattern):
    told = story(pattern)
    assert pattern in patterns(fired(told))
    assert told[0].incident.state is State.PENDING
    assert told[0].reason is Reason.SEEN
    assert len({each.incident.id for each in told}) == 1


@pytest.mark.parametrize("pattern", SILENT)
def test_the_same_server_in_health_is_never_spoken_of(pattern):
    assert play(SILENT[pattern]()) == []


# --- budgets --------------------------------------------------------------------------------------


def within(budget, moments, *siblings):
    """The same, under a budget of so many MiB that their owner has; beside them its ``siblings``."""
    for each in moments:
        own = tuple(replace(process, budget=budget) for process in each.processes)
        beside = tuple(Process(held(each.time), 4200 + i, budget=budget) for i, held in enumerate(siblings))
        yield replace(each, processes=(*own, *beside))


def test_growth_is_told_by_when_it_exhausts_its_owners_budget():
    told = fired(play(within(14_000.0, creeping(begins=0, each=10.0, count=300))))
    judgement = told[0].incident.judgement
    assert judgement.evidence.numbers["budget_bytes"] == 14_000 * MIB
    _, middle, _ = hours_until_full(told[0])
    assert middle == pytest.approx((14_000 - 9000) / 600.0, rel=0.1)


def test_what_the_other_processes_of_the_owner_keep_is_no_room_in_its_budget():
    def sibling(time):
        return 2000.0 + 1500.0 * (time // STEP % 10 == 0)  # of which 1500 come and go

    told = fired(play(within(16_000.0, creeping(begins=0, each=10.0, count=300), sibling)))
    _, middle, _ = hours_until_full(told[0])
    assert middle == pytest.approx((16_000 - 2000 - 9000) / 600.0, rel=0.1)


def test_a_budget_larger_than_what_the_gpu_has_left_changes_nothing():
    moments = tuple(creeping(begins=0, each=25.0, count=320))
    assert play(within(40_000.0, moments)) == play(moments)


def test_next_to_nothing_left_of_a_budget_is_near_full():
    moments = tuple(idle_between(300, 30.0, 11_000.0))
    assert "near_full" not in patterns(play(moments))
    assert "near_full" in patterns(fired(play(within(12_100.0, moments))))


def test_a_spike_that_would_not_fit_the_budget_again_is_told():
    moments = tuple(large_inputs(5000.0, 3000.0, count=640))
    assert "spike" not in patterns(play(moments))
    assert "spike" in patterns(fired(play(within(15_000.0, moments))))


def test_memory_that_runs_towards_its_budget_is_urgent():
    moments = tuple(running_away(each=30.0))[:180]
    assert fired(play(moments)) == []
    told = fired(play(within(12_000.0, moments)))
    assert patterns(told) == {"fast_path"}
    assert told[0].incident.judgement.severity is Severity.CRITICAL


def test_a_process_that_stands_still_beyond_its_budget_is_not_spoken_of():
    assert play(within(8000.0, healthy(400, where=""))) == []


# --- load -----------------------------------------------------------------------------------------


def surge(falls=True, is_quiet=True):
    """An hour of little, minutes in which more and more is asked, half an hour of much, and an hour after."""
    for i in range(360 + 60 + 180 + 360):
        risen = min(max(0, i - 360), 60) * 120.0
        is_after = i >= 600
        held = 9000.0 + (0.0 if is_after and falls else risen)
        duty = 0.9 if i >= 360 and not (is_after and is_quiet) else 0.2
        yield one(i * 10.0, held, duty)


def sessions(evening):
    """Ever longer sessions under a load that stays; in the evening they end, or stay, and little is asked."""
    for minute in range(600):
        is_evening = minute >= 480
        held = 7000.0 + 10.0 * max(0, minute - 60)
        if is_evening:
            held = {"end": 7000.0, "stay": 7000.0 + 4200.0}[evening]
        yield one(minute * STEP, held, 0.05 if is_evening else 0.6)


def test_memory_that_came_with_a_surge_of_load_and_went_with_it_was_load():
    told = play(surge())
    assert patterns(told) == {"fast_path"}
    last = told[-1]
    assert (last.incident.state, last.reason) == (State.RESOLVED, Reason.EXPLAINED)
    assert last.incident.judgement.cause is Cause.LOAD
    assert "went with it" in last.incident.judgement.evidence.sentence
    assert seconds(last) < 6000.0 + 20 * STEP


def test_a_sample_a_minute_is_enough_to_see_an_end_that_is_half_an_hour_away():
    def filling(each):  # quiet for an hour, then ever fuller; nobody tells what is asked
        for minute in range(180):
            yield one(minute * 60.0, min(9000.0 + each * max(0, minute - 60), CARD - 800.0))

    told = fired(play(filling(each=250.0)))
    assert patterns(told[:1]) == {"fast_path"}
    assert seconds(told[0]) < (60 + 0.6 * (CARD - 9000.0) / 250.0) * 60.0
    assert fired(play(filling(each=0.0))) == []


def test_sessions_that_end_in_the_evening_were_load():
    told = play(sessions("end"))
    assert told[0].incident.judgement.pattern == "staircase"
    assert [each.reason for each in told if each.incident.state is State.RESOLVED] == [Reason.EXPLAINED]
    assert told[-1].incident.judgement.cause is Cause.LOAD


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(lambda: surge(falls=False), id="it stays though less is asked"),
        pytest.param(lambda: surge(is_quiet=False), id="it goes though as much is asked"),
        pytest.param(lambda: sessions("stay"), id="sessions that stay"),
    ],
)
def test_what_stays_or_goes_by_itself_was_not_load(moments):
    told = play(moments())
    assert told
    assert Cause.LOAD not in causes(told)


# --- rates and ends -------------------------------------------------------------------------------


def test_a_leak_of_twenty_five_megabytes_a_minute_is_told_with_its_rate_and_its_end():
    told = fired(play(creeping(begins=0, each=25.0)))
    assert megabytes_an_hour(told[0]) == pytest.approx(1500.0, rel=0.1)
    low, middle, high = hours_until_full(told[0])
    # 24,000 less 400 reserved and 300 hidden, 9000 at first: 14,300 MiB
    assert middle == pytest.approx(14_300 / 1500.0, rel=0.1)
    assert low <= middle <= high


def test_a_creep_that_begins_after_hours_of_rest_is_told_with_the_rate_since_it_began():
    seen, *_ = play(creeping(begins=240, each=5.0))
    assert seen.incident.judgement.pattern == "idle_creep"
    assert megabytes_an_hour(seen) == pytest.approx(300.0, rel=0.1)
    assert 0 <= seen.incident.judgement.evidence.since - START - 240 * STEP <= 10 * STEP


@pytest.mark.parametrize("each", [40.0, 90.0])
def test_a_cache_that_fills_by_the_clock_while_nothing_is_asked_never_fires(each):
    told = play(
        one(minute * STEP, 9000.0 + 5000.0 * (1 - exp(-minute / each)), 0.0) for minute in range(16 * 60)
    )
    assert fired(told) == []


def test_a_leak_under_swapped_models_is_told_with_the_rate_at_which_the_work_loses_it():
    moments = list(swapping(420, 1200.0))
    busy_share = sum(each.duty for each in moments) / len(moments)
    told = fired(story("level_return"))
    assert megabytes_an_hour(told[0]) == pytest.approx(1200.0 * busy_share, rel=0.25)


def test_days_of_growth_under_load_are_told_by_the_day():
    told = fired(story("daily_floor"))
    assert megabytes_an_hour(told[0]) * 24 == pytest.approx(900.0, rel=0.15)


def test_memory_that_runs_away_is_critical_within_minutes_and_long_before_it_is_full():
    moments = list(running_away())
    told = fired(play(moments))
    assert told[0].incident.judgement.severity is Severity.CRITICAL
    assert seconds(told[0]) - 1200.0 < 300.0  # it began in the twentieth minute
    assert moments[-1].time - seconds(told[0]) > 900.0
    assert hours_until_full(told[0])[1] * HOUR == pytest.approx(moments[-1].time, abs=600.0)


def test_growth_whose_end_is_weeks_away_is_pending_and_never_fires():
    told = play(creeping(700, each=1.0, total=80_000.0))
    assert told
    assert {each.incident.state for each in told} == {State.PENDING}
    assert any(hours_until_full(each)[1] > 7 * 24 for each in told)


def test_a_growth_that_went_as_was_forecast_has_its_later_intervals_from_the_forecasts_before():
    judge = watch()
    told = fired(play(creeping(1400, each=10.0), judge))
    first, last = (each.incident.judgement.evidence for each in (told[0], told[-1]))
    assert "past_forecasts" not in first.numbers
    assert last.numbers["past_forecasts"] >= 9
    assert f"interval from {last.numbers['past_forecasts']} past forecasts here" in last.sentence
    assert last.numbers["interval_factor"] in judge.checkpoint()["scores"]


def test_a_growth_that_ends_early_has_the_intervals_after_it_widened():
    judge = watch()
    stopped = [
        one(each.time, min(each.processes[0].held, 12_000.0), 0.0) for each in creeping(2400, each=10.0)
    ]
    play(stopped, judge)
    assert max(judge.checkpoint()["scores"]) > 1.0


# --- causes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "cause"),
    [
        ("live", Cause.LEAK),
        ("kv", Cause.KV_CACHE),
        ("reserved", Cause.FRAGMENTATION),
        ("outside", Cause.NON_TORCH),
    ],
)
def test_the_layer_that_grows_names_the_cause_and_the_others_are_ruled_out(where, cause):
    told = fired(play(leaking(560, where=where)))
    assert causes(told) == {cause}
    ruled_out = {each.cause for each in told[0].incident.judgement.ruled_out}
    layers = {Cause.LEAK, Cause.KV_CACHE, Cause.FRAGMENTATION, Cause.NON_TORCH}
    assert layers - {cause} <= ruled_out
    assert cause not in ruled_out
    assert told[0].incident.judgement.alternatives == ()


def test_without_its_layers_a_leak_is_named_with_the_causes_that_cannot_be_told_from_it():
    judgement = fired(story("same_state"))[0].incident.judgement
    assert judgement.cause is Cause.LEAK
    assert {Cause.KV_CACHE, Cause.FRAGMENTATION, Cause.NON_TORCH} <= set(judgement.alternatives)


def test_a_hundred_megabytes_of_tensors_a_request_are_a_graph_that_is_kept():
    assert causes(fired(play(running_away(each=140.0, requests=1)))) == {Cause.AUTOGRAD}


def test_ten_megabytes_of_tensors_a_request_are_a_leak():
    assert causes(fired(play(running_away(each=90.0, requests=9)))) == {Cause.LEAK}


@pytest.mark.parametrize("each", [70.0, 80.0, 140.0])
def test_a_graph_that_is_kept_is_told_as_one_from_the_first_word_on(each):
    told = play(running_away(each=each, requests=1, begins=200, count=600))
    assert told
    assert causes(told) == {Cause.AUTOGRAD}


def test_bytes_that_stay_when_their_process_is_gone_are_a_ghost_and_no_owners():
    told = fired(story("unattributed"))
    assert causes(told) == {Cause.GHOST}
    assert {each.incident.subject.kind for each in told} == {SubjectKind.UNATTRIBUTED}


def test_a_process_that_is_over_and_still_listed_is_a_ghost():
    ghost = Process(2000.0, 4101, ghost=GhostKind.ZOMBIE)
    beside = replace(ghost, ghost=None)
    told = play(
        Moment(minute * STEP, (Process(6000.0), ghost if minute > 10 else beside), 0.5)
        for minute in range(60)
    )
    assert causes(fired(told)) == {Cause.GHOST}
    assert seconds(told[0]) >= 11 * STEP + 900.0


@pytest.mark.parametrize(
    ("pattern", "cause"),
    [
        ("process_count", Cause.PROCESS_COUNT),
        ("spike", Cause.SPIKE),
        ("restart_growth", Cause.UNKNOWN),
        ("spilled", Cause.UNKNOWN),
        ("pool_pressure", Cause.KV_CACHE),
    ],
)
def test_a_pattern_that_says_its_cause_by_itself_has_it_told(pattern, cause):
    assert causes(fired(story(pattern))) == {cause}


def test_a_cache_that_comes_to_rest_in_time_is_a_warm_up_once_its_curve_shows():
    told = play(filling(6000.0, 7200.0, tells=False))
    assert fired(told) == []
    judgement = told[-1].incident.judgement
    assert judgement.cause is Cause.WARMUP
    assert Cause.WARMUP not in {*judgement.alternatives, *(each.cause for each in judgement.ruled_out)}
    assert isinstance(judgement.forecast, Abstention)


def test_a_kv_cache_that_fits_is_called_a_kv_cache_and_does_not_fire():
    told = play(filling(6000.0, 7200.0))
    assert fired(told) == []
    assert causes(told) == {Cause.KV_CACHE}


def test_a_cache_that_will_not_fit_is_told_with_when_memory_ends():
    told = fired(play(filling(30_000.0, 40_000.0, count=900)))
    assert causes(told) == {Cause.KV_CACHE}
    judgement = told[-1].incident.judgement
    assert isinstance(judgement.forecast, Exhaustion)


def test_a_spike_that_would_not_fit_again_is_a_warning_that_says_what_is_left_and_what_it_took():
    judgement = fired(story("spike"))[0].incident.judgement
    assert judgement.severity is Severity.WARNING
    assert re.match(
        r"headroom [\d.]+ [GM]iB, largest spike of 7 days [\d.]+ GiB, ", judgement.evidence.sentence
    )
    assert judgement.evidence.numbers["spike_bytes"] > judgement.evidence.numbers["headroom_bytes"]


# --- growth beside its like -----------------------------------------------------------------------


def in_image(image, moments, **changes):
    return [
        replace(each, processes=tuple(replace(own, image=image, **changes) for own in each.processes))
        for each in moments
    ]


def rolled_out(before, after):
    """Three hours of one image that keeps everything in order, then one that creeps."""
    old = in_image(before, creeping(180, each=0.0))
    end = old[-1].time + STEP
    gap = [Moment(end + i * STEP, (Process(500.0, 99, "other"),), 0.0) for i in range(3)]
    begins = end + 3 * STEP
    new = in_image(after, creeping(400, each=10.0), pid=4101, begins=begins)
    return [*old, *gap, *(replace(each, time=begins + each.time) for each in new)]


def test_growth_since_a_new_image_is_told_beside_what_the_one_before_lost():
    judgement = fired(play(rolled_out("serve:0.32", "serve:0.33")))[0].incident.judgement
    assert "; since serve:0.33: +14.1 GiB a day (serve:0.32 lost 0 B a day)" in judgement.evidence.sentence
    assert judgement.evidence.numbers["since_version_bytes_per_day"] == pytest.approx(
        10 * 1440 * MIB, rel=0.05
    )


def test_of_the_same_image_rolled_out_again_no_version_is_blamed():
    judgement = fired(play(rolled_out("serve:0.33", "serve:0.33")))[0].incident.judgement
    assert "since" not in judgement.evidence.sentence


@pytest.mark.parametrize(("each", "growing"), [(0.0, 0), (6.0, 1)])
def test_of_a_rank_that_grows_it_is_told_how_many_of_the_others_grow_with_it(each, growing):
    beside = (own for moment in creeping(320, each=each) for own in moment.processes)
    told = fired(
        play(
            replace(
                moment,
                processes=(
                    replace(moment.processes[0], rank=1, held=moment.processes[0].held - 3000.0),
                    replace(other, rank=0, pid=4099, held=other.held - 3000.0),
                ),
            )
            for moment, other in zip(creeping(320, each=10.0), beside, strict=True)
        )
    )
    judgement = told[-1].incident.judgement
    assert f"; rank 1 grows, and {growing} of the 1 other ranks with it" in judgement.evidence.sentence
    assert judgement.evidence.numbers["ranks_growing"] == growing + 1


# --- what looks like growth -----------------------------------------------------------------------


def warming_up():
    shares = working(640, 12)
    for minute, (share, talk) in enumerate(zip(shares, conversations(shares, 1200.0, 12), strict=True)):
        yield one(minute * STEP, 7000.0 + 2000.0 * (1 - exp(-minute * STEP / 400.0)) + talk, share)


def bounded_kv():
    shares = working(640, 13, 0.6)
    for minute, (share, kv) in enumerate(zip(shares, conversations(shares, 12_000.0, 13), strict=True)):
        yield one(minute * STEP, 9000.0 + kv, share, told=torch(8500.0 + kv, kv=kv))


def evening_residency():
    """By day models are swapped; in the evening the last one stays, and the floor falls with the load."""
    chance, level = Random(14), 3500.0
    for minute in range(2880):
        load = max(0.0, 0.35 - 0.4 * cos(2 * pi * minute * STEP / DAY) + chance.gauss(0, 0.05))
        if chance.random() < 0.25 * load:
            level = chance.choice([3500.0, 6800.0, 9500.0, 13_000.0])
        yield one(minute * STEP, 4000.0 + level + 300.0 * load, min(1.0, load))


def plan_cache():
    """2,000 MiB of plans that hours of varied shapes fill."""
    shares, plans = working(1300, 15, 0.6), 0.0
    for minute, (share, talk) in enumerate(zip(shares, conversations(shares, 900.0, 15), strict=True)):
        plans += share * 12.0 * (1 - plans / 2000.0)
        yield one(minute * STEP, 7000.0 + plans + talk, share)


def levelling_ratchet():
    """The longest input so far sets the mark, and inputs have a longest length."""
    chance, mark = Random(16), 0.0
    for minute, share in enumerate(working(900, 16)):
        mark = max(mark, 8000.0 * chance.betavariate(1.2, 8.0) * (share > 0))
        yield one(minute * STEP, 9000.0 + mark // 20 * 20, share)


def preallocated():
    return (one(minute * STEP, 0.95 * CARD, 0.5 + 0.4 * cos(minute / 90)) for minute in range(900))


def model_cycles():
    for minute in range(900):
        is_loaded = minute % 25 < 15
        yield one(minute * STEP, 1400.0 + 11_000.0 * is_loaded, 0.6 * is_loaded)


LOOK_ALIKES = {
    "a warm-up": warming_up,
    "a bounded KV cache": bounded_kv,
    "days of load": lambda: days_of_load(2, 0.0, step=120.0, most=15_000.0),
    "the last model of the evening": evening_residency,
    "a cache that fits": lambda: filling(6000.0, 7200.0),
    "a cache that fits, and is not told": lambda: filling(6000.0, 7200.0, tells=False),
    "a slow cache that fits": lambda: filling(5000.0, 14_400.0, count=1300),
    "a plan cache": plan_cache,
    "a ratchet that levels": levelling_ratchet,
    "an engine at 95 % from its start": preallocated,
    "roll-outs that grow a little": lambda: lives(8.0, count=10),
    "a model that is loaded and unloaded": model_cycles,
    "one more model": lambda: large_inputs(9000.0, 0.0, count=900),
}


@pytest.mark.parametrize("what", LOOK_ALIKES)
def test_what_only_looks_like_growth_never_fires(what):
    assert fired(play(LOOK_ALIKES[what]())) == []


# --- bad input ------------------------------------------------------------------------------------


def with_gaps(moments, every=90, missing=12):
    return [each for minute, each in enumerate(moments) if minute % every > missing]


def with_clock_back(moments, at=300, back=2 * HOUR):
    return [replace(each, back=back if i > at else 0.0) for i, each in enumerate(moments)]


def withheld():
    return (one(minute * STEP, None, share) for minute, share in enumerate(working(640, 3)))


def one_pid_many_lives():
    """The system gives the same pid to every life of the service, each of which warms up."""
    for minute, share in enumerate(working(720, 10)):
        life, age = divmod(minute, 120)
        held = 8000.0 + 600.0 * (1 - exp(-age / 5)) + 900.0 * share
        yield one(minute * STEP, held, share, begins=life * 120 * STEP)


def another_total():
    """The card is divided anew every three hours, and the service made larger with it."""
    for minute, share in enumerate(working(900, 11)):
        number = minute // 180
        yield one(
            minute * STEP, 3000.0 + 700.0 * number + 500.0 * share, share, total=12_000.0 + 3000.0 * number
        )


def unseen_tenant():
    """Somebody whom the list does not show uses the card as well, with a load of twelve hours."""
    for minute, share in enumerate(working(900, 9)):
        load = 0.5 - 0.45 * cos(2 * pi * minute * STEP / (12 * HOUR))
        duty = min(1.0, share + 0.5 * load)
        yield one(minute * STEP, 9000.0 + 1500.0 * share, duty, hidden=300.0 + 7000.0 * load)


def no_list_now_and_then():
    for minute, each in enumerate(healthy()):
        yield replace(each, processes=None) if minute % 50 < 3 else each


BADLY_READ = {
    "gaps": lambda: with_gaps(healthy()),
    "one long gap in which it grew": lambda: [
        *healthy(300),
        *(replace(each, time=each.time + 30 * HOUR) for each in healthy(300, weights=12_000.0)),
    ],
    "claims that are withheld": withheld,
    "a pid that is used again": one_pid_many_lives,
    "a total that changes": another_total,
    "a tenant who is not seen": unseen_tenant,
    "a clock set back by two hours": lambda: with_clock_back(healthy()),
    "a clock set back again and again": lambda: [
        replace(each, back=i // 60 * HOUR / 2) for i, each in enumerate(healthy())
    ],
    "a clock set forward by a day": lambda: with_clock_back(healthy(), back=-DAY),
    "a list that is missing now and then": no_list_now_and_then,
}


@pytest.mark.parametrize("what", BADLY_READ)
def test_a_healthy_server_that_is_badly_read_is_never_told_of_as_a_leak(what):
    assert fired(play(BADLY_READ[what]())) == []


def test_a_leak_is_seen_through_gaps():
    told = fired(play(with_gaps(leaking())))
    assert told
    assert megabytes_an_hour(told[0]) == pytest.approx(16.0 * 60 * 0.8, rel=0.2)


def test_setting_the_clock_back_changes_neither_what_is_told_nor_when_by_the_boot_clock():
    def of(told):
        return [
            (seconds(each), each.reason, each.incident.judgement.pattern, each.incident.judgement.rate)
            for each in told
        ]

    assert of(play(with_clock_back(leaking(560)))) == of(story("same_state"))


def test_a_total_that_changes_ends_what_was_told_of_the_card_as_it_was():
    before = list(creeping(each=25.0))
    after = [one(before[-1].time + i * STEP, 9000.0, 0.0, total=2 * CARD) for i in range(1, 60)]
    told = play([*before, *after])
    assert fired(told)
    assert [each.reason for each in told if each.incident.state is State.RESOLVED] == [Reason.RESTARTED]


# --- how an incident moves ------------------------------------------------------------------------


def test_the_restart_of_the_process_that_grew_closes_its_incident_and_says_so():
    grown = list(creeping())
    end = grown[-1].time
    gap = [Moment(end + i * STEP, (Process(500.0, 99, "other"),), 0.0) for i in range(1, 4)]
    anew = [one(end + i * STEP, 9000.0, 0.0, pid=4101, begins=end + 4 * STEP) for i in range(4, 120)]
    told = play([*grown, *gap, *anew])
    assert told[-1].incident.state is State.RESOLVED
    assert told[-1].reason is Reason.RESTARTED
    assert seconds(told[-1]) == end + STEP


def test_a_pid_that_is_used_again_at_the_very_next_poll_is_another_process():
    grown = list(creeping())
    end = grown[-1].time
    anew = [one(end + i * STEP, 9000.0, 0.0, begins=end + STEP) for i in range(1, 60)]
    told = play([*grown, *anew])
    assert told[-1].reason is Reason.RESTARTED
    assert seconds(told[-1]) == end + STEP


def creeping_twice():
    """Three hours of growth, all of it given back, ten hours of nothing, growth again."""
    for minute in range(1200):
        grown = minute - 60 if 60 <= minute < 240 else minute - 900 if minute >= 900 else 0
        yield one(minute * STEP, 9000.0 + 5.0 * grown, 0.0)


def test_growth_that_is_given_back_is_over_and_when_it_returns_it_is_the_same_incident():
    told = play(creeping_twice())
    reasons = [each.reason for each in told]
    assert Reason.RETURNED in reasons
    over = next(i for i, each in enumerate(told) if each.incident.state is State.RESOLVED)
    again = reasons.index(Reason.RETURNED)
    assert over < again
    assert told[again].incident.state is State.PENDING
    assert {each.incident.id for each in told} == {told[0].incident.id}
    assert fired(told[again:])


@pytest.mark.parametrize("origin", [Origin.LOG, Origin.WORKER, Origin.ENGINE, Origin.RECORDED])
def test_an_out_of_memory_that_is_told_of_is_critical_at_once_whatever_its_cause(origin):
    told = play(refused(out_of_memory(4100, origin=origin, tried_bytes=2.0**31)))
    assert [seconds(each) for each in told] == [500.0, 500.0]
    assert told[1].incident.state is State.FIRING
    assert told[1].reason is Reason.ESTABLISHED
    judgement = told[1].incident.judgement
    assert (judgement.pattern, judgement.severity) == ("out_of_memory", Severity.CRITICAL)
    assert judgement.evidence.sentence == f"out of memory when 2.0 GiB more were asked for ({origin})"


def test_an_out_of_memory_tells_how_many_requests_ran_though_it_ended_them():
    running = [4.0] * 49 + [12.0, 0.0] + [3.0] * 9
    told = play(
        one(
            i * 10.0,
            9000.0,
            0.5,
            told={"requests_running": n},
            events=(out_of_memory(4100),) if i == 50 else (),
        )
        for i, n in enumerate(running)
    )
    evidence = told[1].incident.judgement.evidence
    assert evidence.sentence == "out of memory while 12 requests ran (log)"
    assert evidence.numbers["requests_running"] == 12


def test_an_out_of_memory_in_a_growth_that_is_told_of_makes_that_incident_critical():
    before = list(creeping(300))
    end = before[-1].time
    after = [
        one(end + i * 10.0, 10_200.0, 0.0, events=(out_of_memory(4100),) if i == 3 else ())
        for i in range(1, 30)
    ]
    told = play([*before, *after])
    assert told[-1].incident.judgement.severity is Severity.CRITICAL
    assert told[-1].incident.judgement.pattern == "out_of_memory"
    assert len({each.incident.id for each in told}) == 1


def test_a_process_that_ends_right_after_the_card_was_full_is_an_out_of_memory_and_said_to_be_inferred():
    told = fired(play(ending_when_full(23_290.0)))
    judgement = told[0].incident.judgement
    assert (judgement.pattern, judgement.severity) == ("out_of_memory", Severity.CRITICAL)
    assert "inferred" in judgement.evidence.sentence


def test_what_is_remembered_of_an_inferred_out_of_memory_survives_a_restart():
    before, after = watch(), watch()
    play(ending_when_full(23_290.0), before)
    after.restore(json.loads(json.dumps(before.checkpoint())))
    assert after.checkpoint() == before.checkpoint()


def test_a_process_that_ends_while_there_is_room_has_just_ended():
    assert play(ending_when_full(20_000.0)) == []


def test_a_spike_that_would_not_fit_is_not_explained_away_by_the_step_that_took_its_room():
    told = play(large_inputs(9000.0, 7500.0, count=900))
    assert [each.incident.state for each in told[:2]] == [State.PENDING, State.FIRING]
    assert State.RESOLVED not in {each.incident.state for each in told}
    assert causes(told) == {Cause.SPIKE}


def test_two_services_on_one_card_are_two_subjects_and_only_the_one_that_grows_is_told_of():
    beside = Process(6000.0, 4300, "other")
    told = play(replace(each, processes=(*each.processes, beside)) for each in creeping())
    assert {each.incident.subject.owner for each in told} == {"unit:serve.service"}
    assert {each.incident.judgement.pid for each in told} == {4100}


# --- what make try shows --------------------------------------------------------------------------


def test_six_hours_of_the_simulated_server_come_to_the_present_while_memory_runs_away():
    config = load(None, {}, {})
    feed = Simulated(start=6 * HOUR, speed=inf, duration=6 * HOUR).open(None)
    pipeline, judge = assembly.assemble(config, feed, {}), assembly.watch(config)
    told, last = [], None
    while at := feed.clock.wait(10.0):
        last = at
        told += judge.turn(pipeline.turn(at))
    newest = {each.incident.id: each for each in told}
    (critical,) = (
        each for each in fired(newest.values()) if each.incident.judgement.severity is Severity.CRITICAL
    )
    incident = critical.incident
    assert incident.subject.owner == "unit:finetune.service"
    assert incident.judgement.cause is Cause.AUTOGRAD
    assert last.wall - incident.opened < 15 * 60
    assert 0 < incident.judgement.forecast.at - last.wall < HOUR
