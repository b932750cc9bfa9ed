"""What is decided at a poll goes on from what stands in the store, as soon as that can be read."""

from contextlib import closing
from dataclasses import replace

import pytest

from tests.one_channel import CRITICAL, firing, resolved
from tests.polls import instant, poll
from vramwatch.core.errors import StoreError
from vramwatch.core.policy import OBSERVE, Channel, Notice
from vramwatch.store import Store
from vramwatch.store.desk import Desk
from vramwatch.telling.alerting import ASKED_FOR, Alerting

CHANNEL = Channel("pager", group_wait=0.0)


class Locked(Desk):
    """A desk at which nothing can be read, or written, for a time."""

    reads = writes = True

    def told(self, since, now):
        self._refuse(self.reads)
        return super().told(since, now)

    def write_silence(self, silence):
        self._refuse(self.writes)
        super().write_silence(silence)

    def _refuse(self, is_allowed):
        if not is_allowed:
            raise StoreError("the disk does not answer")


@pytest.fixture
def store(tmp_path):
    with closing(Store.open(tmp_path / "history.db", "simulated", "1")) as store:
        yield store


def turn(alerting, store, seq, *moved):
    """Take the poll ``seq`` and store it; return the notices that are decided at it."""
    decided = alerting.turn(
        replace(poll(seq), transitions=tuple(replace(each, at=instant(seq)) for each in moved))
    )
    store.write(decided)
    return [(each.incident, each.notice) for each in decided.steps]


def told_before(store):
    """Have the channel be told of the incident "chat", and the daemon end."""
    assert turn(Alerting(Desk(store), [CHANNEL], None), store, 1, firing(1)) == [("chat", Notice.OPENED)]


def test_while_it_cannot_be_read_what_was_told_nobody_is_told_again_and_the_news_follow(store):
    told_before(store)
    desk = Locked(store)
    desk.reads = False
    alerting = Alerting(desk, [CHANNEL], None)
    assert turn(alerting, store, 2) == []
    assert turn(alerting, store, 3, firing(3), firing(3, "draw")) == []
    desk.reads = True
    assert turn(alerting, store, 4) == [("draw", Notice.OPENED)]
    assert turn(alerting, store, 5, resolved(5)) == [("chat", Notice.RESOLVED)]


def test_what_rose_while_it_could_not_be_read_is_told_as_worse(store):
    told_before(store)
    desk = Locked(store)
    desk.reads = False
    alerting = Alerting(desk, [CHANNEL], None)
    assert turn(alerting, store, 2, firing(2, severity=CRITICAL)) == []
    desk.reads = True
    assert turn(alerting, store, 3) == [("chat", Notice.WORSE)]


def test_a_store_that_does_not_answer_for_long_keeps_nobody_from_being_told(store):
    desk = Locked(store)
    desk.reads = False
    alerting = Alerting(desk, [CHANNEL], None)
    assert turn(alerting, store, 1, firing(1)) == []
    assert turn(alerting, store, 1 + int(ASKED_FOR)) == [("chat", Notice.OPENED)]
    desk.reads = True
    assert turn(alerting, store, 2 + int(ASKED_FOR)) == []
    assert turn(alerting, store, 90, resolved(90)) == [("chat", Notice.RESOLVED)]


def test_a_new_service_observes_though_that_cannot_be_kept_yet(store):
    desk = Locked(store)
    desk.writes = False
    alerting = Alerting(desk, [CHANNEL], 3600.0)
    turn(alerting, store, 1, firing(1))
    assert OBSERVE in alerting.silences
    assert desk.silences() == []
    desk.writes = True
    turn(alerting, store, 2)
    assert [each.id for each in desk.silences()] == [OBSERVE]
    assert desk.silences()[0].since == instant(1).wall
