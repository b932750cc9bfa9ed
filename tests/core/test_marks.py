"""What people said of incidents, against what a replay says of the same time."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.verdicts import transition
from vramwatch.core.incidents import Reason, State, Subject
from vramwatch.core.marks import Mark, Score, scores
from vramwatch.core.model import SubjectKind

STEPS = {
    "opens": (State.PENDING, Reason.SEEN),
    "fires": (State.FIRING, Reason.ESTABLISHED),
    "ends": (State.RESOLVED, Reason.CLEARED),
}


def course(id, *, owner="unit:chat.service", pid=None, **walls):
    """Transitions of one incident; ``walls``: what it does -> unix seconds."""
    opened = min(walls.values())
    moves = []
    for step, wall in walls.items():
        state, reason = STEPS[step]
        made = transition(1, id, state, owner, reason=reason, pid=pid)
        incident = replace(made.incident, opened=opened)
        moves.append(replace(made, at=replace(made.at, wall=wall), incident=incident))
    return moves


def only(mark, then, now):
    (score,) = scores({"then": mark}, then, now)
    return score


def test_a_false_alarm_that_no_longer_fires_is_seen_not_to_fire():
    then = course("then", opens=10.0, fires=20.0, ends=90.0)
    score = only(Mark.FALSE_ALARM, then, course("now", opens=12.0, ends=80.0))
    assert (score.mark, score.fired, score.fires, score.later) == (Mark.FALSE_ALARM, 20.0, None, None)


def test_a_true_alarm_is_found_by_its_subject_and_time_whatever_its_id_and_how_much_later_is_told():
    then = course("then", opens=10.0, fires=20.0, ends=90.0)
    assert only(Mark.TRUE_ALARM, then, course("now", opens=30.0, fires=50.0, ends=90.0)).later == 30.0
    assert only(Mark.TRUE_ALARM, then, course("now", opens=1.0, fires=5.0, ends=30.0)).later == -15.0


def test_what_fires_at_another_time_or_for_another_subject_is_another_growth():
    then = course("then", opens=10.0, fires=20.0, ends=90.0)
    for now in (
        course("now", opens=91.0, fires=95.0),
        course("now", opens=1.0, fires=2.0, ends=9.0),
        course("now", opens=10.0, fires=20.0, owner="unit:web.service"),
    ):
        assert only(Mark.TRUE_ALARM, then, now).fires is None


def test_a_process_that_another_rule_gives_another_owner_is_still_the_same_growth():
    then = course("then", opens=10.0, fires=20.0, pid=7)
    assert only(Mark.TRUE_ALARM, then, course("now", owner="rule:talk", pid=7, fires=20.0)).later == 0.0
    assert only(Mark.TRUE_ALARM, then, course("now", owner="rule:talk", pid=8, fires=20.0)).fires is None
    elsewhere = [
        replace(each, incident=replace(each.incident, subject=Subject("GPU-b", SubjectKind.OWNER, "x")))
        for each in course("now", pid=7, fires=20.0)
    ]
    assert only(Mark.TRUE_ALARM, then, elsewhere).fires is None


def test_the_first_of_several_that_fire_meanwhile_counts():
    then = course("then", opens=10.0, fires=20.0)
    now = [*course("a", fires=40.0, ends=41.0), *course("b", fires=30.0)]
    assert only(Mark.TRUE_ALARM, then, now).fires == 30.0


def test_what_was_marked_without_having_fired_is_neither_earlier_nor_later():
    score = only(Mark.TRUE_ALARM, course("then", opens=10.0), course("now", fires=20.0))
    assert (score.fired, score.fires, score.later) == (None, 20.0, None)


def test_what_nobody_marked_and_what_is_wrong_with_vramwatch_itself_is_not_scored():
    own = [
        replace(each, incident=replace(each.incident, subject=Subject("", SubjectKind.VRAMWATCH, "store")))
        for each in course("own", fires=20.0)
    ]
    then = [*own, *course("unmarked", fires=20.0)]
    assert scores({"own": Mark.FALSE_ALARM}, then, ()) == ()


@given(
    st.lists(st.tuples(*[st.floats(0.0, 1e4)] * 3).map(sorted), max_size=8),
    st.lists(st.sampled_from(Mark), min_size=8, max_size=8),
)
def test_the_configuration_that_was_in_force_fires_for_every_incident_when_it_did(lives, marks):
    courses = [course(str(at), opens=a, fires=b, ends=c) for at, (a, b, c) in enumerate(lives)]
    then = [move for each in courses for move in each]
    found = scores({str(at): mark for at, mark in enumerate(marks)}, then, then)
    assert len(found) == len(lives)
    assert [each.opened for each in found] == sorted(each.opened for each in found)
    assert all(isinstance(each, Score) and each.fires <= each.fired for each in found)
