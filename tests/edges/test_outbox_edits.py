"""A channel that edits what it said: which notices leave together, and what the receiver shows in the end."""

import threading
import time
from dataclasses import replace

import pytest

from tests.incidents import HOST, SCENE, item
from tests.polls import START, poll
from tests.slack_server import CHANNEL, TOKEN, Slack
from tests.waiting import PATIENCE, wait_until
from vramwatch.core.messages import Host
from vramwatch.core.outgoing import Waiting, deliveries
from vramwatch.core.policy import Channel, Notice, Notify
from vramwatch.couriers.posting import HttpCourier
from vramwatch.notifiers import slack as module
from vramwatch.notifiers.slack import Slack as Notifier
from vramwatch.store import Store
from vramwatch.store.desk import Desk
from vramwatch.telling.outbox import Outbox
from vramwatch.telling.sending import Line


class Played:
    """A store, an outbox and a small Slack; every ``tell`` is a poll a minute after the one before."""

    def __init__(self, path, slack):
        self.path, self.slack, self.seq = path, slack, 0
        notifier = Notifier(token=TOKEN, channel=CHANNEL, api_url=slack.api)
        channel = Channel("ops", edits=notifier.edits, group_wait=0.0, group_interval=0.0)
        self.line = Line(channel, notifier, HttpCourier)
        self.begin()

    def begin(self):
        self.store = Store.open(self.path, "nvml", "0.1.0")
        self.outbox = Outbox(Desk(self.store), HOST, [self.line], 86400.0, lambda item: item)

    def end(self):
        self.outbox.close()
        self.store.close()

    def tell(self, *items):
        """Have ``items`` move, wait until nothing is under way, and return what Slack was asked since."""
        before = len(self.slack.requests)
        self.seq += 1
        at = poll(self.seq, wall=START + 60.0 * self.seq)
        moved = tuple(replace(each.transition, at=at.at) for each in items)
        steps = tuple(Notify("ops", each.incident.id, each.notice, at.at.wall) for each in items)
        self.store.write(replace(at, transitions=moved, steps=steps))
        self.outbox.expect(steps)
        until = time.monotonic() + PATIENCE
        while self._is_under_way(at.at.wall):
            assert time.monotonic() < until, "something is still under way"
            time.sleep(0.005)
        return self.slack.requests[before:]

    def _is_under_way(self, now):
        self.outbox.turn(now)
        desk = Desk(self.store)
        return desk.waiting("ops", 1) or desk.under_way("ops")[0]


@pytest.fixture
def slack(monkeypatch):
    monkeypatch.setattr(module, "chart", lambda item, host, now: None)
    with Slack() as server:
        yield server


@pytest.fixture
def played(tmp_path, slack):
    one = Played(tmp_path / "vramwatch.db", slack)
    yield one
    one.end()


def called(name, notice=Notice.OPENED, **told):
    return item(notice, id=name, owner=f"unit:{name}.service", scene=replace(SCENE, owner=name), **told)


def methods(requests):
    return [method for method, _ in requests]


def test_incidents_that_open_together_are_one_post_that_stays_true(played, slack):
    assert methods(played.tell(called("chat"), called("image"))) == ["chat.postMessage"]
    assert methods(played.tell(called("chat", Notice.RESOLVED))) == ["chat.update", "chat.postMessage"]
    parent = next(iter(slack.messages.values()))
    assert "1 CRITICAL, 1 RESOLVED: chat on GPU 0, image on GPU 0" in parent["text"]
    played.tell(called("image", Notice.RESOLVED))
    assert "2 RESOLVED" in next(iter(slack.messages.values()))["text"]
    assert [each.get("thread_ts") for each in slack.messages.values()] == [
        None,
        *[next(iter(slack.messages))] * 2,
    ]


def test_what_is_new_and_what_was_told_leave_by_themselves(played, slack):
    played.tell(called("chat"))
    requests = played.tell(called("chat", Notice.WORSE), called("image"))
    assert sorted(methods(requests)) == ["chat.postMessage", "chat.postMessage", "chat.update"]
    first, *others = slack.messages.values()
    assert "image" not in first["text"]
    (fresh,) = [each for each in others if "thread_ts" not in each]
    assert "image" in fresh["text"]
    assert "chat" not in fresh["text"]


def test_updates_edit_and_call_nobody(played, slack):
    played.tell(called("chat"))
    assert methods(played.tell(called("chat", Notice.UPDATED))) == ["chat.update"]
    assert len(slack.messages) == 1


def test_after_a_restart_the_same_message_is_gone_on_with(played, slack):
    played.tell(called("chat"))
    played.end()
    played.begin()
    played.tell(called("chat", Notice.RESOLVED))
    first, reply = slack.messages
    assert slack.messages[reply]["thread_ts"] == first
    assert "RESOLVED" in slack.messages[first]["text"]


def test_many_that_were_told_one_by_one_are_all_edited(played, slack):
    names = [f"owner{at}" for at in range(20)]
    for name in names:
        played.tell(called(name))
    requests = played.tell(*(called(name, Notice.RESOLVED) for name in names))
    assert len([each for each in requests if each[0] == "chat.update"]) == len(names)
    assert all("RESOLVED" in each["text"] for each in slack.messages.values())


def test_notices_leave_together_unless_they_belong_to_different_messages():
    waiting = [
        Waiting(at, "ops", each.notice, 0.0, 0.0, each.transition)
        for at, each in enumerate([called("a"), called("b"), called("c"), called("d")], 1)
    ]
    told = deliveries(waiting, "ops", Host("gpu7"), 0.0, {"b": "one", "d": "one", "c": "two"})
    assert [[each.incident for each in one.notices] for one in told] == [["a"], ["b", "d"], ["c"]]
    assert len({each.key for each in told}) == 3
    assert len(deliveries(waiting, "ops", Host("gpu7"), 0.0)) == 1


def test_charts_follow_their_message(played, slack, monkeypatch):
    monkeypatch.setattr(module, "chart", lambda item, host, now: b"\x89PNG")
    played.tell(called("chat"))
    wait_until(lambda: slack.shared)
    (shared,) = slack.shared
    assert shared["thread_ts"] == next(iter(slack.messages))


def test_a_chart_that_takes_long_delays_no_message(played, slack, monkeypatch):
    is_drawn = threading.Event()
    monkeypatch.setattr(module, "chart", lambda *_: is_drawn.wait(PATIENCE) and None)
    played.tell(called("chat"))
    assert len(slack.messages) == 1
    is_drawn.set()
    played.tell(called("image"))
    assert len(slack.messages) == 2
