"""How incidents move: what is said of a Subject, and why."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.polls import START, instant
from tests.verdicts import transition
from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.forecast import Reason as NoForecast
from vramwatch.core.incidents import (
    Belief,
    Reason,
    Severity,
    Standing,
    State,
    Subject,
    Terms,
    advance,
    close,
    severity,
)
from vramwatch.core.model import SubjectKind
from vramwatch.core.verdicts import Cause

TERMS = Terms()
SUBJECT = Subject("GPU-0", SubjectKind.OWNER, "unit:chat.service")
HOUR, DAY = 3600.0, 86_400.0


def believed(fires=True, hours=50.0, at_once=False, explained=False, cause=Cause.LEAK, level=None):
    """What a look comes to that gives so many ``hours``; inf: nobody can say."""
    left = (hours * HOUR * 0.8, hours * HOUR)
    before = transition(1).incident.judgement
    end = (
        Exhaustion(START + left[1], START + left[0], START + 2 * left[1])
        if hours < inf
        else Abstention(NoForecast.THIN)
    )
    judgement = replace(before, cause=cause, forecast=end, severity=level or severity(left, None, TERMS))
    return Belief(judgement, fires, at_once, left, explained)


NOTHING = Belief(None)


class Subjects:
    """One subject, looked at again and again."""

    def __init__(self):
        self.standing, self.now = Standing(), 0.0
        self.told = []

    def look(self, belief, after=60.0, times=1):
        for _ in range(times):
            self.now += after
            self.standing, moved = advance(
                self.standing, SUBJECT, belief, instant(round(self.now)), self.now, terms=TERMS
            )
            self.told += moved
        return [(each.incident.state.value, each.reason.value) for each in self.told]


@pytest.fixture
def subject():
    return Subjects()


def test_what_is_found_once_is_pending(subject):
    assert subject.look(believed()) == [("pending", "seen")]


def test_what_is_found_twice_a_minute_apart_fires(subject):
    assert subject.look(believed(), times=2) == [("pending", "seen"), ("firing", "established")]


def test_two_looks_within_less_than_a_minute_are_not_enough(subject):
    assert subject.look(believed(), after=20.0, times=3) == [("pending", "seen")]


def test_what_is_found_now_and_then_alone_does_not_fire(subject):
    for _ in range(10):
        subject.look(believed(), after=300.0)
        subject.look(NOTHING, after=300.0)
    assert State.FIRING not in {each.incident.state for each in subject.told}


def test_what_leaves_minutes_fires_at_its_first_look(subject):
    assert subject.look(believed(hours=0.3, at_once=True)) == [("pending", "seen"), ("firing", "established")]
    assert subject.told[1].incident.judgement.severity is Severity.CRITICAL


def test_what_is_not_material_stays_pending(subject):
    assert subject.look(believed(fires=False), times=100) == [("pending", "seen")]


def test_it_fires_once_it_is_material(subject):
    subject.look(believed(fires=False), times=5)
    assert subject.look(believed())[-1] == ("firing", "established")


def test_a_pattern_that_is_gone_for_an_hour_is_over(subject):
    subject.look(believed(hours=5.0), times=2)
    assert subject.look(NOTHING, times=59)[-1] == ("firing", "established")
    assert subject.look(NOTHING)[-1] == ("resolved", "cleared")


def test_who_has_days_to_act_does_not_hear_of_every_hour_without_it(subject):
    subject.look(believed(hours=100.0), times=2)
    subject.look(NOTHING, after=HOUR, times=9)
    assert len(subject.told) == 2
    assert subject.look(NOTHING, after=HOUR)[-1] == ("resolved", "cleared")


def test_the_same_again_within_a_week_is_the_same_incident(subject):
    subject.look(believed(), times=2)
    subject.look(NOTHING, after=HOUR, times=10)
    assert subject.look(believed(), after=6 * DAY)[-1] == ("pending", "returned")
    assert len({each.incident.id for each in subject.told}) == 1


def test_after_more_than_a_week_it_is_another_one(subject):
    subject.look(believed(), times=2)
    subject.look(NOTHING, after=HOUR, times=10)
    assert subject.look(believed(), after=8 * DAY)[-1] == ("pending", "seen")
    assert len({each.incident.id for each in subject.told}) == 2


def test_what_a_harmless_cause_explains_is_over_and_stays_quiet_for_two_hours(subject):
    subject.look(believed(), times=2)
    assert subject.look(believed(explained=True, fires=False))[-1] == ("resolved", "explained")
    subject.look(believed(), times=119)
    assert State.FIRING not in {each.incident.state for each in subject.told[3:]}
    assert subject.look(believed(), times=3)[-1] == ("firing", "established")


def test_the_same_said_again_is_not_told_again(subject):
    subject.look(believed(), times=2)
    count = len(subject.told)
    for minutes in range(100):
        subject.look(believed(hours=50.0 - minutes / 60))
    assert len(subject.told) == count


@pytest.mark.parametrize(
    "moved",
    [
        believed(hours=20.0),
        believed(hours=100.0),
        believed(cause=Cause.FRAGMENTATION),
        believed(hours=inf),
    ],
    ids=["sooner", "later", "another cause", "no end"],
)
def test_what_has_moved_is_told_after_an_hour_and_not_before(subject, moved):
    subject.look(believed(), times=2)
    assert subject.look(moved, after=1200.0)[-1] == ("firing", "established")
    assert subject.look(moved, after=2500.0)[-1] == ("firing", "updated")


def test_another_severity_is_told_at_once(subject):
    subject.look(believed(), times=2)
    assert subject.look(believed(hours=1.0))[-1] == ("firing", "updated")
    assert subject.told[-1].incident.judgement.severity is Severity.CRITICAL


def test_a_restart_closes_what_is_open_and_says_so(subject):
    subject.look(believed(), times=2)
    standing, (moved,) = close(subject.standing, instant(200), 200.0, Reason.RESTARTED)
    assert (moved.incident.state, moved.reason) == (State.RESOLVED, Reason.RESTARTED)
    assert not standing.is_open
    assert close(standing, instant(201), 201.0, Reason.RESTARTED)[1] == ()


def test_an_incident_is_named_by_its_subject_and_by_when_it_opened():
    one, same = Subjects(), Subjects()
    one.look(believed())
    same.look(believed(cause=Cause.KV_CACHE))
    assert one.told[0].incident.id == same.told[0].incident.id
    later = Subjects()
    later.look(NOTHING)
    later.look(believed())
    assert later.told[0].incident.id != one.told[0].incident.id


# --- severity ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "before", "expected"),
    [
        ((50 * HOUR, 60 * HOUR), None, Severity.WARNING),
        ((inf, inf), None, Severity.WARNING),
        ((1.5 * HOUR, 2 * HOUR), None, Severity.CRITICAL),
        ((0.5 * HOUR, 9 * HOUR), None, Severity.CRITICAL),
        ((1.5 * HOUR, 2.5 * HOUR), Severity.WARNING, Severity.WARNING),
        ((1.5 * HOUR, 2.5 * HOUR), Severity.CRITICAL, Severity.CRITICAL),
        ((0.7 * HOUR, 9 * HOUR), Severity.CRITICAL, Severity.CRITICAL),
        ((1.5 * HOUR, 3.1 * HOUR), Severity.CRITICAL, Severity.WARNING),
        ((inf, inf), Severity.CRITICAL, Severity.WARNING),
    ],
)
def test_severity_is_of_the_time_left_and_comes_down_late(left, before, expected):
    assert severity(left, before, TERMS) is expected


@given(st.floats(0, 1e7), st.floats(0, 1e7), st.floats(0, 1e6))
def test_less_time_is_never_less_severe(early, more, less):
    left = (early, early + more)
    nearer = (max(0.0, early - less), max(0.0, early + more - less))
    for before in (None, Severity.CRITICAL):
        if severity(left, before, TERMS) is Severity.CRITICAL:
            assert severity(nearer, before, TERMS) is Severity.CRITICAL


# --- whatever is believed --------------------------------------------------------------------------------

LOOKS = st.lists(
    st.tuples(
        st.one_of(
            st.just(NOTHING),
            st.builds(
                believed,
                fires=st.booleans(),
                hours=st.sampled_from([0.1, 1.0, 2.5, 5.0, 50.0, 500.0, inf]),
                at_once=st.booleans(),
                explained=st.booleans(),
                cause=st.sampled_from([Cause.LEAK, Cause.KV_CACHE]),
            ),
        ),
        st.sampled_from([0.0, 10.0, 60.0, 900.0, 7200.0, 2 * DAY, 8 * DAY]),
    ),
    max_size=40,
)

AFTER = {
    None: {State.PENDING},
    State.PENDING: {State.PENDING, State.FIRING, State.RESOLVED},
    State.FIRING: {State.FIRING, State.RESOLVED},
    State.RESOLVED: {State.PENDING},
}
OPENING = {Reason.SEEN, Reason.RETURNED}
CLOSING = {Reason.CLEARED, Reason.EXPLAINED}


@given(LOOKS)
def test_whatever_is_believed_an_incident_opens_once_moves_and_closes_before_it_opens_again(looks):
    subject, state, is_open = Subjects(), None, False
    for belief, after in looks:
        subject.look(belief, after)
    for each in subject.told:
        assert each.incident.state in AFTER[state]
        assert (each.reason in OPENING) is (not is_open)
        assert (each.reason in CLOSING) is (each.incident.state is State.RESOLVED)
        state = each.incident.state
        is_open = state is not State.RESOLVED
    assert subject.standing.is_open is is_open


@given(LOOKS)
def test_nothing_fires_that_no_look_held_to_be_material(looks):
    subject = Subjects()
    for belief, after in looks:
        subject.look(replace(belief, fires=False), after)
    assert State.FIRING not in {each.incident.state for each in subject.told}
