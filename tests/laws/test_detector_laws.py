"""Laws that every detector found keeps, whatever it is shown; a new file is tested by its being there."""

from dataclasses import replace
from math import isfinite
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers import (
    CARD,
    STEP,
    Moment,
    Process,
    creeping,
    healthy,
    leaking,
    one,
    play,
    poll,
    running_away,
    seconds,
    torch,
    watch,
)
from vramwatch.config.detection import DetectionOptions
from vramwatch.core.folding import GpuWindows
from vramwatch.core.incidents import State
from vramwatch.core.model import SubjectKind
from vramwatch.core.units import MIB
from vramwatch.core.verdicts import Clear, Evidence, Found, Unknown

DETECTORS = DetectionOptions().detectors.on()

UNITS = ("_bytes", "_seconds", "_second", "_share", "_requests", "_restart", "_cycle")
COUNTS = frozenset(
    {
        "accidents",
        "days",
        "departures",
        "lives",
        "minutes_rising",
        "processes",
        "steps",
        "votes",
        "votes_falling",
        "votes_unchanged",
        "z",
    }
)
"""What may stand in evidence without a unit: numbers of things, and what statistics call by a letter."""

slowly = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def folded(moments):
    """Return every window that comes of ``moments``, on one card."""
    windows = GpuWindows()
    for seq, moment in enumerate(moments, 1):
        told = poll(seq, moment)
        windows.fold(told.ledgers[0], told.at.wall)
    return [each.window for each in windows.all()]


def verdicts(moments, name):
    """Return what one detector says of every window that it sees."""
    detector = DETECTORS[name]
    return [detector.examine(window) for window in folded(moments) if window.kind in detector.TRAITS.sees]


@st.composite
def stories(draw):
    """A card on which anything happens: walks, stretches of rest, spikes, holes, lives, layers or none."""
    chance = Random(draw(st.integers(0, 2**32)))
    every = draw(st.sampled_from([1.0, 10.0, 30.0, 60.0, 600.0]))
    tells_load = draw(st.booleans())
    tells_layers = draw(st.booleans())
    drift = draw(st.sampled_from([0.0, 0.0, 2.0, 40.0, -10.0]))
    jitter = draw(st.sampled_from([0.0, 2.0, 500.0]))
    count = draw(st.integers(1, 400))
    time, held, hidden, begins = 0.0, 6000.0, 300.0, 0.0
    moments = []
    for _ in range(count):
        time += every * (chance.randint(2, 3000) if chance.random() < 0.01 else 1)
        held = min(20_000.0, max(500.0, held + drift + chance.uniform(-jitter, jitter)))
        if chance.random() < 0.01:
            begins, held = time, chance.uniform(1000.0, 12_000.0)
        if chance.random() < 0.01:
            hidden = chance.uniform(0.0, 2500.0)
        spike = 3000.0 if chance.random() < 0.02 else 0.0
        duty = chance.choice([0.0, 0.0, 0.5, 1.0]) if tells_load else None
        told = torch(held * 0.9, kv=held * 0.2, requests_total=time, requests_running=duty or 0.0)
        withheld = chance.random() < 0.01
        process = Process(
            None if withheld else min(21_000.0, held + spike),
            begins=begins,
            told=told if tells_layers else {},
        )
        processes = () if chance.random() < 0.02 else (process,)
        moments.append(Moment(time, None if chance.random() < 0.02 else processes, duty, hidden))
    return moments


def test_detectors_are_found():
    assert len(DETECTORS) >= 16
    assert all(frozenset(SubjectKind) >= detector.TRAITS.sees for detector in DETECTORS.values())


def test_each_says_of_itself_what_goes_together_and_no_two_have_the_same_precedence():
    traits = [detector.TRAITS for detector in DETECTORS.values()]
    assert len({each.precedence for each in traits}) == len(traits)
    assert not any(each.under_load and each.at_rest for each in traits)
    assert not any(each.in_pool and each.sees != {SubjectKind.PROCESS} for each in traits)
    assert all(
        each.precedence > next(one.precedence for one in traits if one.is_accident)
        for each in traits
        if not each.is_accident
    )


@slowly
@given(stories())
def test_every_window_is_answered_with_a_verdict_that_can_be_checked(moments):
    for window in folded(moments):
        for detector in DETECTORS.values():
            if window.kind not in detector.TRAITS.sees:
                continue
            verdict = detector.examine(window)
            assert isinstance(verdict, Found | Clear | Unknown)
            if isinstance(verdict, Found):
                can_be_checked(verdict.evidence, window)
                if verdict.rate is not None:
                    assert verdict.rate.low <= verdict.rate.median <= verdict.rate.high
                    assert isfinite(verdict.rate.low)
                    assert isfinite(verdict.rate.high)
            elif isinstance(verdict, Unknown):
                assert verdict.why


def can_be_checked(evidence: Evidence, window):
    assert evidence.sentence
    assert " now" not in evidence.sentence  # it is read for days: it speaks of when it was judged
    assert evidence.count >= 1
    assert evidence.since <= evidence.until <= window.wall + 1.0
    for name, number in evidence.numbers.items():
        assert isfinite(number), name
        assert name in COUNTS or name.endswith(UNITS), name


@pytest.mark.parametrize("story", ["leak", "creep", "run away"])
def test_what_is_found_can_be_checked(story):
    moments = {"leak": leaking(500), "creep": creeping(200), "run away": running_away()}[story]
    found = 0
    for window in folded(moments):
        for detector in DETECTORS.values():
            verdict = detector.examine(window) if window.kind in detector.TRAITS.sees else None
            if isinstance(verdict, Found):
                found += 1
                can_be_checked(verdict.evidence, window)
    assert found


@slowly
@given(
    held=st.integers(0, 11_000),
    hidden=st.integers(0, 1000),
    count=st.integers(1, 600),
    every=st.sampled_from([1.0, 10.0, 60.0, 900.0]),
    duty=st.sampled_from([None, 0.0, 0.5, 1.0]),
)
def test_what_never_moves_is_never_found(held, hidden, count, every, duty):
    moments = [one(i * every, held * 2.0, duty, hidden=float(hidden)) for i in range(count)]
    assert all(not isinstance(verdict, Found) for name in DETECTORS for verdict in verdicts(moments, name))
    assert play(moments) == []


@slowly
@given(st.lists(st.floats(0, 20_000), min_size=1, max_size=5), st.sampled_from([0.0, 0.5, None]))
def test_a_handful_of_samples_is_too_few_for_any_pattern(levels, duty):
    moments = [one(i * STEP, held, duty) for i, held in enumerate(levels)]
    assert all(not isinstance(verdict, Found) for name in DETECTORS for verdict in verdicts(moments, name))


# --- what should change nothing -------------------------------------------------------------------


def kinds(moments):
    return {name: [type(verdict) for verdict in verdicts(moments, name)] for name in DETECTORS}


def scaled(moment, factor):
    """Every byte times ``factor``, those of the card too."""
    processes = tuple(replace(each, held=each.held * factor) for each in moment.processes)
    return replace(
        moment, processes=processes, hidden=moment.hidden * factor, total=(moment.total - 400) * factor + 400
    )


SERVERS = {
    "a leak": lambda: leaking(500),
    "a healthy server": lambda: healthy(500),
    "a creep": lambda: creeping(200),
    "a runaway": running_away,
}


@pytest.mark.parametrize("what", SERVERS)
def test_twice_the_bytes_on_twice_the_card_are_judged_alike(what):
    moments = list(SERVERS[what]())
    assert kinds([scaled(each, 2.0) for each in moments]) == kinds(moments)


@pytest.mark.parametrize("days", [1, 365])
@pytest.mark.parametrize("what", SERVERS)
def test_the_same_some_days_later_is_judged_alike(what, days):
    shift = days * 86_400.0
    moments = list(SERVERS[what]())
    later = [
        replace(
            each,
            time=each.time + shift,
            processes=tuple(replace(one, begins=one.begins + shift) for one in each.processes),
        )
        for each in moments
    ]
    assert kinds(later) == kinds(moments)


# --- through the whole watch ----------------------------------------------------------------------


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stories(), st.floats(0, 1))
def test_the_first_part_of_a_recording_is_judged_as_it_is_in_the_whole(moments, share):
    until = moments[int(share * (len(moments) - 1))].time
    whole = [each for each in play(moments) if seconds(each) <= until]
    assert play([each for each in moments if each.time <= until]) == whole


@pytest.mark.parametrize("what", SERVERS)
def test_no_story_is_judged_by_what_comes_after(what):
    moments = list(SERVERS[what]())
    whole = play(moments)
    for share in (0.3, 0.6, 0.9):
        until = moments[int(share * len(moments))].time
        assert play(each for each in moments if each.time <= until) == [
            each for each in whole if seconds(each) <= until
        ]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stories(), st.integers(0, 400))
def test_a_restart_between_any_two_polls_changes_no_transition(moments, place):
    before, after = moments[:place], moments[place:]
    first, second = watch(), watch()
    told = [each for seq, moment in enumerate(before, 1) for each in first.turn(poll(seq, moment))]
    second.restore(first.checkpoint())
    told += [each for seq, moment in enumerate(after, place + 1) for each in second.turn(poll(seq, moment))]
    assert told == play(moments)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stories())
def test_an_incident_opens_before_it_moves_and_moves_no_more_once_it_is_over(moments):
    states = {}
    for each in play(moments):
        before, now = states.get(each.incident.id), each.incident.state
        allowed = {
            None: {State.PENDING},
            State.PENDING: {State.PENDING, State.FIRING, State.RESOLVED},
            State.FIRING: {State.FIRING, State.RESOLVED},
            State.RESOLVED: {State.PENDING},
        }
        assert now in allowed[before]
        states[each.incident.id] = now


def test_two_cards_are_judged_each_by_itself():
    moments = list(creeping())
    judge, told = watch(), []
    for seq, moment in enumerate(moments, 1):
        one_card = poll(seq, moment)
        (book,) = one_card.ledgers
        other = replace(book, reading=replace(book.reading, gpu=replace(book.gpu, uuid="GPU-1", ordinal="1")))
        told += judge.turn(replace(one_card, ledgers=(book, other)))
    assert [each for each in told if each.incident.subject.gpu != "GPU-1"] == play(moments)
    assert len(told) == 2 * len(play(moments))


def test_what_is_remembered_of_a_long_life_stays_small():
    """Two days at half a minute are remembered in hardly more than one."""
    judge, sizes = watch(), []
    chance = Random(1)
    for seq in range(1, 6001):
        held = min(CARD - 1000.0, 6000.0 + chance.uniform(0, 4000.0))
        judge.turn(poll(seq, one(seq * 30.0, held, chance.choice([0.0, 0.5]))))
        if seq % 3000 == 0:
            sizes.append(len(str(judge.checkpoint())))
    assert sizes[1] < 1.25 * sizes[0]
    assert sizes[1] < 2 * MIB
