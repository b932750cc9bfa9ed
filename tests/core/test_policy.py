"""Whom to tell what, and why not."""

from dataclasses import replace
from datetime import time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.polls import instant
from tests.verdicts import transition
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Severity, State
from vramwatch.core.policy import (
    OBSERVE,
    Account,
    Acknowledgement,
    Case,
    Channel,
    Moment,
    Notice,
    Notify,
    Withheld,
    Withholding,
    account_after,
    decide,
)
from vramwatch.core.scenes import Scene
from vramwatch.core.silences import Matcher, QuietHours, Silence

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
HOUR = 3600.0
CHANNEL = Channel("on-call")
SCENE = Scene("0", "H100", 80, 40, 20, owner="chat", unit="chat.service", pod="chat-0", namespace="prod")


def case(state=State.FIRING, at=NOW, scene=SCENE, **told):
    moved = transition(replace(instant(9), wall=at), state=state, **told)
    return Case(replace(moved, scene=scene))


def over(at=NOW, **told):
    return case(State.RESOLVED, at, **told)


class Told:
    """One channel that is asked again and again."""

    def __init__(self, channel=CHANNEL, silences=()):
        self.channel, self.silences = channel, silences
        self.account = Account()

    def hear(self, case, now=NOW):
        step = decide(case, self.channel, self.account, Moment(now, tuple(self.silences)))
        if step is not None:
            self.account = account_after(self.account, step, case, now)
        return step


def test_an_incident_that_fires_is_told_once_after_the_wait_of_its_group():
    told = Told()
    assert told.hear(case()) == Notify("on-call", "chat", Notice.OPENED, NOW + 30.0)
    assert told.hear(case(), NOW + 60) is None


def test_what_is_pending_is_told_to_nobody():
    assert Told().hear(case(State.PENDING)) is None


def test_whoever_heard_of_it_hears_of_its_end_and_once():
    told = Told()
    told.hear(case())
    assert told.hear(over(), NOW + 60).notice is Notice.RESOLVED
    assert told.hear(over(), NOW + 120) is None


def test_whoever_did_not_hear_of_it_does_not_hear_of_its_end():
    assert Told().hear(over()) is None
    assert Told(replace(CHANNEL, sends_resolved=False), ()).hear(over()) is None


def test_what_still_stands_is_told_again_after_the_repeat_interval():
    told = Told()
    told.hear(case())
    assert told.hear(case(), NOW + 4 * HOUR - 1) is None
    assert told.hear(case(), NOW + 4 * HOUR).notice is Notice.REPEATED
    assert told.hear(case(), NOW + 5 * HOUR) is None


def test_a_severity_that_rises_is_told_and_one_that_falls_is_not():
    told = Told()
    told.hear(case())
    worse = case(severity=Severity.CRITICAL)
    assert told.hear(worse, NOW + 60).notice is Notice.WORSE
    assert told.hear(case(), NOW + 120) is None


def test_an_out_of_memory_within_a_growth_that_was_told_is_told_too():
    told = Told()
    told.hear(case(severity=Severity.CRITICAL))
    died = case(at=NOW + 50, severity=Severity.CRITICAL, pattern="out_of_memory")
    assert told.hear(died, NOW + 50).notice is Notice.WORSE


def test_a_server_that_runs_out_of_memory_again_and_again_is_told_once_until_the_repeat_interval():
    told = Told()
    told.hear(case(pattern="out_of_memory"))
    assert told.hear(case(at=NOW + 300, pattern="out_of_memory"), NOW + 300) is None
    assert (
        told.hear(case(at=NOW + 4 * HOUR, pattern="out_of_memory"), NOW + 4 * HOUR).notice is Notice.REPEATED
    )


def test_updates_are_for_channels_that_edit_what_they_said():
    moved = case(at=NOW + 50)
    plain, editing = Told(), Told(replace(CHANNEL, edits=True))
    for told in (plain, editing):
        told.hear(case())
    assert plain.hear(moved, NOW + 50) is None
    assert editing.hear(moved, NOW + 50).notice is Notice.UPDATED


def test_what_reopens_is_told_as_an_opening():
    told = Told()
    told.hear(case())
    told.hear(over(NOW + 60), NOW + 60)
    assert told.hear(case(at=NOW + 120), NOW + 120).notice is Notice.OPENED


@pytest.mark.parametrize(
    ("channel", "why"),
    [
        (replace(CHANNEL, severities=frozenset({Severity.CRITICAL})), "does not take warning"),
        (replace(CHANNEL, only=Matcher({"owner": "train*"})), "owner=train*"),
        (replace(CHANNEL, only=Matcher({"pod": "chat-*", "gpu": "1"})), "gpu=1"),
    ],
)
def test_what_a_channel_does_not_take_is_withheld_once_and_says_why(channel, why):
    told = Told(channel)
    step = told.hear(case())
    assert step == Withheld("on-call", "chat", Notice.OPENED, Withholding.FILTERED, step.detail)
    assert why in step.detail
    assert told.hear(case(), NOW + 60) is None


def test_a_filter_knows_an_incident_by_its_names_and_its_uuid():
    for globs in (
        {"gpu": "0"},
        {"gpu": "GPU-0000*"},
        {"owner": "unit:*"},
        {"owner": "chat"},
        {"cause": "leak"},
    ):
        assert isinstance(Told(replace(CHANNEL, only=Matcher(globs))).hear(case()), Notify)


def test_a_filter_on_what_is_not_known_does_not_match():
    assert isinstance(Told(replace(CHANNEL, only=Matcher({"job": "*"}))).hear(case()), Withheld)


def test_a_field_that_no_filter_may_name_is_refused():
    with pytest.raises(ValueError, match="no field colour"):
        Matcher({"colour": "red"})


def test_a_silence_keeps_back_and_what_still_stands_at_its_end_is_told():
    silence = Silence("ab12", "alice", "moving", NOW - 1, NOW + HOUR, Matcher({"unit": "chat.service"}))
    told = Told(silences=[silence])
    step = told.hear(case())
    assert (step.reason, step.detail) == (Withholding.SILENCED, "silence ab12 by alice: moving")
    assert told.hear(case(), NOW + 600) is None
    assert told.hear(case(), NOW + HOUR).notice is Notice.OPENED


def test_a_silence_of_something_else_keeps_nothing_back():
    silence = Silence("ab12", "alice", "moving", NOW, NOW + HOUR, Matcher({"unit": "other.service"}))
    assert isinstance(Told(silences=[silence]).hear(case()), Notify)


OBSERVING = Silence(OBSERVE, "vramwatch", "new", NOW, NOW + 86400.0)


def test_while_observing_growth_is_withheld_and_says_for_how_long():
    step = Told(silences=[OBSERVING]).hear(case())
    assert (step.reason, step.detail) == (Withholding.OBSERVE, "observing for 1d more")


def test_while_observing_an_out_of_memory_is_told_even_so():
    assert isinstance(Told(silences=[OBSERVING]).hear(case(pattern="out_of_memory")), Notify)


@pytest.mark.parametrize(("held", "expected"), [(20, Notify), (7, Withheld)])
def test_while_observing_a_large_ghost_is_told_and_a_small_one_is_not(held, expected):
    ghost = case(owner=None, scene=replace(SCENE, held_bytes=held))
    assert isinstance(Told(silences=[OBSERVING]).hear(ghost), expected)


BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(time(22, 0), time(7, 0), BERLIN)


def test_in_quiet_hours_a_warning_waits_for_the_morning_and_what_is_critical_does_not():
    channel = replace(CHANNEL, quiet=NIGHT)
    told = Told(channel)
    step = told.hear(case())  # 23:13 in Berlin
    assert (step.reason, step.detail) == (Withholding.QUIET_HOURS, "quiet hours for 7h 46m more")
    assert told.hear(case(), NOW + 7 * HOUR) is None
    assert told.hear(case(), NOW + 8 * HOUR).notice is Notice.OPENED
    assert isinstance(Told(channel).hear(case(severity=Severity.CRITICAL)), Notify)


@given(at=st.integers(0, 3 * 365 * 86400).map(lambda seconds: NOW + seconds))
def test_quiet_hours_end_at_their_end_and_not_before(at):
    end = NIGHT.end(at)
    if end is None:
        return
    assert at < end <= at + 10 * HOUR  # nine hours, and one more in the night when clocks are set back
    assert NIGHT.end(end) is None
    assert NIGHT.end(end - 1) == end


def test_quiet_hours_within_a_day_do_not_reach_past_midnight():
    lunch = QuietHours(time(12, 0), time(13, 0), ZoneInfo("UTC"))
    noon = NOW - NOW % 86400 + 12 * HOUR
    assert lunch.end(noon) == noon + HOUR
    assert lunch.end(noon - 1) is None
    assert lunch.end(noon + HOUR) is None


def acknowledged(case, severity=Severity.WARNING):
    return replace(case, acknowledged=Acknowledgement(NOW, "alice", "", severity))


def test_what_is_acknowledged_is_not_repeated_and_its_end_is_told():
    told = Told()
    told.hear(case())
    step = told.hear(acknowledged(case()), NOW + 4 * HOUR)
    assert (step.reason, step.detail) == (Withholding.ACKNOWLEDGED, "acknowledged by alice")
    assert told.hear(acknowledged(over()), NOW + 5 * HOUR).notice is Notice.RESOLVED


def test_that_remedies_were_given_up_is_told_once_unless_a_person_has_it_in_hand():
    told, in_hand = Told(), Told()
    for each in (told, in_hand):
        each.hear(case())
    given_up = replace(case(), given_up=NOW + 60)
    assert told.hear(given_up, NOW + 61).notice is Notice.REPEATED
    assert told.hear(given_up, NOW + 62) is None
    assert in_hand.hear(acknowledged(given_up), NOW + 61).reason is Withholding.ACKNOWLEDGED


def test_what_is_acknowledged_as_a_warning_is_told_when_it_becomes_critical():
    told = Told()
    told.hear(case())
    worse = case(severity=Severity.CRITICAL)
    assert told.hear(acknowledged(worse), NOW + 60).notice is Notice.WORSE


def test_what_comes_and_goes_is_told_no_more_until_it_has_stood_for_an_hour():
    told = Told()
    opened = tuple(NOW + 600 * n for n in range(4))
    now = opened[-1]
    step = told.hear(replace(case(at=now), openings=opened), now)
    assert (step.reason, step.detail) == (
        Withholding.FLAPPING,
        "opened 4 times in 6h; told once it has stood for 1h",
    )
    assert told.hear(replace(case(at=now), openings=opened), now + HOUR).notice is Notice.OPENED


def test_what_comes_and_goes_is_told_even_so_where_memory_ends_before_it_could_have_stood():
    opened = tuple(NOW + 600 * n for n in range(4))
    now = opened[-1]
    soon = case(at=now, forecast=Exhaustion(now + 1700, now + 1500, now + 2000))
    assert Told().hear(replace(soon, openings=opened), now).notice is Notice.OPENED


def test_a_repeat_interval_over_which_the_clock_was_set_back_is_not_told_at_once():
    told = Told()
    told.hear(case())
    assert told.hear(case(), NOW - HOUR) is None


STATES = st.sampled_from([State.FIRING, State.RESOLVED, State.PENDING])
COURSES = st.lists(st.tuples(STATES, st.sampled_from(Severity), st.integers(0, 20_000)), max_size=30)


@given(course=COURSES, edits=st.booleans())
def test_beginnings_and_ends_alternate_whatever_happens(course, edits):
    told, now, heard = Told(replace(CHANNEL, edits=edits)), NOW, []
    for state, level, after in course:
        now += after
        step = told.hear(case(state, now, severity=level), now)
        heard += [step.notice] if isinstance(step, Notify) else []
    turns = [each for each in heard if each in (Notice.OPENED, Notice.RESOLVED)]
    assert turns == [Notice.OPENED, Notice.RESOLVED] * (len(turns) // 2) + [Notice.OPENED] * (len(turns) % 2)
    assert not heard or heard[0] is Notice.OPENED


@given(course=COURSES)
def test_asked_twice_at_the_same_time_it_answers_once(course):
    told, now = Told(), NOW
    for state, level, after in course:
        now += after
        told.hear(case(state, now, severity=level), now)
        assert told.hear(case(state, now, severity=level), now) is None
