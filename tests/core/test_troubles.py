"""Incidents of vramwatch itself."""

from tests.polls import blind, instant, poll
from vramwatch.core.incidents import Reason, Severity, State
from vramwatch.core.model import Fault, FaultKind
from vramwatch.core.troubles import BLIND, CONFIGURATION, Trouble, Troubles, blindness

BLINDNESS = Trouble(BLIND, "no GPU can be read: no driver", Severity.CRITICAL)


class Course:
    def __init__(self):
        self.troubles, self.now, self.seq = Troubles(), 0.0, 0

    def after(self, seconds, *wrong):
        """Turn once a second, and return the states and reasons of what moved."""
        moved = []
        for _ in range(seconds):
            self.now += 1
            self.seq += 1
            moved += self.troubles.turn(wrong, instant(self.seq), self.now)
        return [(each.incident.state, each.reason) for each in moved]


def test_blindness_fires_after_a_minute_and_ends_a_minute_after_sight_is_back():
    course = Course()
    assert course.after(59, BLINDNESS) == [(State.PENDING, Reason.SEEN)]
    assert course.after(5, BLINDNESS) == [(State.FIRING, Reason.ESTABLISHED)]
    assert course.after(59) == []
    assert course.after(5) == [(State.RESOLVED, Reason.CLEARED)]
    assert course.after(100) == []


def test_a_driver_that_restarts_within_a_minute_is_told_to_nobody():
    course = Course()
    course.after(30, BLINDNESS)
    assert (State.FIRING, Reason.ESTABLISHED) not in course.after(300)


def test_a_bad_configuration_is_told_at_once():
    assert (State.FIRING, Reason.ESTABLISHED) in Course().after(1, Trouble(CONFIGURATION, "line 3"))


def test_each_channel_that_fails_is_an_incident_of_its_own():
    told = Troubles()
    moved = told.turn([Trouble("channel a", "refused"), Trouble("channel b", "refused")], instant(1), 1.0)
    assert {each.incident.subject.owner for each in moved} == {"channel a", "channel b"}
    assert {each.incident.judgement.pattern for each in moved} == {"channel"}


def test_what_was_open_when_the_daemon_ended_is_gone_on_with():
    before = Troubles()
    moved = [*before.turn([BLINDNESS], instant(1), 1.0), *before.turn([BLINDNESS], instant(2), 100.0)]
    after = Troubles()
    after.take_up([moved[-1]], 5.0)
    assert after.turn([BLINDNESS], instant(3), 6.0) == ()
    (ended,) = after.turn([], instant(4), 100.0)
    assert (ended.incident.id, ended.incident.state) == (moved[-1].incident.id, State.RESOLVED)


def test_not_to_see_what_was_let_go_of_is_no_blindness():
    assert blindness(blind(1, Fault(FaultKind.NO_DRIVER, "no driver"))) == BLINDNESS
    assert blindness(blind(1, Fault(FaultKind.RELEASED, "by alice"))) is None
    assert blindness(blind(1, Fault(FaultKind.STARTING, "soon"))) is None
    assert blindness(poll(1)) is None
