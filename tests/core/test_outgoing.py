"""What leaves for a channel, and when."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verdicts import transition
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Severity, State
from vramwatch.core.messages import Host
from vramwatch.core.outgoing import (
    LATEST_AGAIN,
    LONGEST_ASKED,
    MOST_ITEMS,
    Delivery,
    Retry,
    Waiting,
    deliveries,
    key_of,
    may_leave,
    message_of,
    newest_of_each,
    next_attempt,
)
from vramwatch.core.policy import Channel, Notice

NOW = 1_700_000_000.0
CHANNEL = Channel("on-call", group_wait=30.0, group_interval=300.0)
HOST = Host("gpu7")


def waiting(step, incident="chat", notice=Notice.OPENED, due=NOW, **told):
    return Waiting(step, "on-call", notice, NOW + step, due, transition(step, incident, State.FIRING, **told))


def test_of_several_notices_of_one_incident_the_newest_leaves():
    opened, worse, other = waiting(1), waiting(2, notice=Notice.WORSE), waiting(3, "draw")
    newest, older = newest_of_each([opened, worse, other])
    assert [each.step for each in newest] == [2, 3]
    assert older == (opened,)


def test_an_update_of_what_nobody_has_heard_of_leaves_as_an_opening():
    newest, _ = newest_of_each([waiting(1), waiting(2, notice=Notice.WORSE)])
    assert newest[0].notice is Notice.OPENED


def test_an_end_of_what_nobody_has_heard_of_leaves_as_an_end():
    newest, _ = newest_of_each([waiting(1), waiting(2, notice=Notice.RESOLVED)])
    assert newest[0].notice is Notice.RESOLVED


def test_nothing_leaves_before_it_is_due():
    later = waiting(1, due=NOW + 1)
    assert not may_leave([later], CHANNEL, None, NOW)
    assert may_leave([later], CHANNEL, None, NOW + 1)


def test_between_two_messages_lies_the_group_interval():
    assert not may_leave([waiting(1)], CHANNEL, NOW - 299, NOW)
    assert may_leave([waiting(1)], CHANNEL, NOW - 300, NOW)


def test_a_clock_that_was_set_back_holds_nothing_up():
    assert may_leave([waiting(1)], CHANNEL, NOW + 86400, NOW)


def urgent(minutes, **told):
    end = NOW + 60 * minutes
    return waiting(1, severity=Severity.CRITICAL, forecast=Exhaustion(end, end, end), **told)


@pytest.mark.parametrize(("minutes", "expected"), [(4, True), (30, False)])
def test_whoever_has_minutes_left_is_not_kept_waiting_for_the_group_interval(minutes, expected):
    assert may_leave([urgent(minutes)], CHANNEL, NOW - 60, NOW) is expected


def test_not_even_what_is_urgent_leaves_more_often_than_the_group_waits():
    assert not may_leave([urgent(4)], CHANNEL, NOW - 29, NOW)


def test_many_incidents_leave_in_parts_and_in_their_order():
    notices = [waiting(step, f"i{step}") for step in range(1, 2 * MOST_ITEMS + 2)]
    sent = deliveries(notices, "on-call", HOST, NOW)
    assert [len(each.notices) for each in sent] == [MOST_ITEMS, MOST_ITEMS, 1]
    assert [each for part in sent for each in part.notices] == notices


def test_what_a_kill_would_part_leaves_apart():
    old, new, unstored = waiting(1, "a"), waiting(5, "b"), replace(waiting(6, "c"), is_stored=False)
    parts = deliveries([old, new, unstored, waiting(2, "d")], "on-call", HOST, NOW, older=2)
    assert [[each.incident for each in part.notices] for part in parts] == [["a", "d"], ["b"], ["c"]]


def test_a_key_names_one_message_and_no_other():
    one = [waiting(1), waiting(2, "draw")]
    assert key_of(HOST, "on-call", one) == key_of(HOST, "on-call", list(one))
    others = [
        key_of(Host("gpu8"), "on-call", one),
        key_of(HOST, "ops", one),
        key_of(HOST, "on-call", one[:1]),
        key_of(HOST, "on-call", [replace(one[0], notice=Notice.WORSE), one[1]]),
    ]
    assert len({key_of(HOST, "on-call", one), *others}) == 5


@given(attempts=st.integers(1, 10_000), chance=st.floats(0, 1), asked=st.none() | st.floats(0, 1e9))
def test_between_two_attempts_lies_a_bounded_time_and_what_the_receiver_asks_for(attempts, chance, asked):
    wait = next_attempt(attempts, Retry("busy", asked), chance)
    assert 1.0 <= wait <= max(LATEST_AGAIN, LONGEST_ASKED)
    assert wait >= min(asked or 0.0, LONGEST_ASKED)


def test_attempts_grow_rarer():
    waits = [next_attempt(attempts, Retry("busy"), 1.0) for attempts in range(1, 10)]
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0]


@pytest.mark.parametrize(("is_keyed", "expected"), [(True, False), (False, True)])
def test_a_receiver_without_keys_is_told_that_it_may_be_a_repetition(is_keyed, expected):
    cut_off = Delivery("on-call", "k", NOW, is_uncertain=True)
    assert message_of(cut_off, HOST, (), is_keyed).may_be_repeat is expected
