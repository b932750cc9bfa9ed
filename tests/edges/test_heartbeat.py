"""The dead man's switch: called while polls are completed and kept, and never else."""

import logging
import sqlite3
from contextlib import closing

import pytest
from pydantic import ValidationError

from tests.edges.test_daemon import SEEING, Hand, blind, make
from tests.one_channel import HOST, Office, firing, sent, told
from tests.polls import START
from tests.receivers import receiving
from tests.waiting import wait_until
from vramwatch import assembly
from vramwatch.backlog import Backlog
from vramwatch.config import load
from vramwatch.core.errors import StoreError
from vramwatch.core.messages import MessageKind
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.core.policy import Channel
from vramwatch.couriers.posting import HttpCourier
from vramwatch.notifiers.heartbeat import Heartbeat
from vramwatch.store.desk import Desk
from vramwatch.telling.outbox import Outbox
from vramwatch.telling.sending import Line

SECRET = "/ping/7f3a"


@pytest.fixture
def switch():
    with receiving() as one:
        yield one


def calling(switch, **options):
    return Heartbeat(url=f"{switch.url}{SECRET}", **options)


# --- the call -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "body"), [("GET", b""), ("HEAD", b""), ("POST", b"gpu7: vramwatch completes polls")]
)
def test_the_url_is_called_in_the_way_that_is_configured(switch, method, body):
    outcome = sent(calling(switch, method=method), kind=MessageKind.HEARTBEAT)
    assert outcome == Delivered("HTTP 200")
    assert [(each.method, each.path, each.body) for each in switch.got] == [(method, SECRET, body)]


def test_a_test_calls_it_and_incidents_and_digests_do_not(switch):
    notifier = calling(switch, method="POST")
    assert isinstance(sent(notifier, told(firing(1))), Rejected)
    assert isinstance(sent(notifier, kind=MessageKind.DIGEST), Rejected)
    assert switch.got == []
    assert isinstance(sent(notifier, kind=MessageKind.TEST, text="try"), Delivered)
    assert switch.got[0].body.startswith(b"gpu7: TEST")


def test_a_missing_url_or_an_unknown_method_is_a_fault_of_the_configuration():
    with pytest.raises(ValidationError, match="without url; write url_file"):
        Heartbeat()
    with pytest.raises(ValidationError, match="'GET', 'POST' or 'HEAD'"):
        Heartbeat(url="http://127.0.0.1/", method="PUT")


# --- when ---------------------------------------------------------------------------------------


def test_a_beat_leaves_after_the_first_poll_and_then_once_every_interval(switch, path):
    with closing(Office(path, calling(switch, every="60s"))) as office:
        beats = []
        for seq in range(0, 200, 5):
            office.turn(seq)
            beats.append(len(switch.got))
        changed = [5 * at for at in range(len(beats)) if beats[at] != (beats[at - 1] if at else 0)]
    assert changed == [0, 60, 120, 180]


def test_beats_that_were_missed_are_not_made_up_for(switch, path):
    with closing(Office(path, calling(switch))) as office:
        for seq in (0, 3600, 3601):
            office.turn(seq)
    assert len(switch.got) == 2


def test_a_clock_that_is_set_back_stops_no_beat(switch, path):
    with closing(Office(path, calling(switch))) as office:
        office.turn(7200)
        office.turn(0)
    assert len(switch.got) == 2


def test_a_call_that_fails_is_told_once_and_that_it_works_again(switch, path, caplog):
    caplog.set_level(logging.INFO, "vramwatch.telling.outbox")
    with closing(Office(path, calling(switch))) as office:
        switch.answers(404, "no such check")
        office.turn(0)
        office.turn(60)
        assert office.outbox.failing == {"pager": "HTTP 404: no such check"}
        office.turn(120)
        switch.answers(200)
        office.turn(180)
        office.turn(181)
        assert office.outbox.failing == {}
    said = [each.getMessage() for each in caplog.records]
    assert said == [
        "beat channel=pager outcome=failed detail='HTTP 404: no such check'",
        "beats arrive again channel=pager",
    ]
    assert SECRET not in caplog.text


def test_a_receiver_that_asks_for_time_gets_it(switch, path):
    with closing(Office(path, calling(switch, every="10s"))) as office:
        switch.answers(429, headers="Retry-After: 100\n")
        for seq in (0, 1, 11, 90, 102):
            office.turn(seq)
    assert len(switch.got) == 2


def test_a_beat_that_is_under_way_when_the_configuration_is_read_again_becomes_no_delivery(switch, path):
    with closing(Office(path, calling(switch))) as office:
        office.outbox.turn(START)
        line = Line(office.channel, calling(switch, every="30s"), HttpCourier)
        office.outbox.reconfigure([line], 86400.0)
        office.turn(1)
        office.turn(2)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM delivery").fetchone() == (0,)


def test_a_url_that_cannot_be_reached_is_in_no_reason(path):
    with receiving() as gone:
        notifier = calling(gone)
    outcome = sent(notifier, kind=MessageKind.HEARTBEAT)
    assert isinstance(outcome, Retry)
    assert SECRET not in outcome.reason


# --- what it says of the daemon -----------------------------------------------------------------


def watched(hand, path, switch):
    """A daemon that beats after every poll."""
    daemon = make(hand, path)
    line = Line(Channel("switch"), calling(switch, every="1s"), HttpCourier)
    daemon._outbox = Outbox(Desk(daemon._store), HOST, [line], 86400.0, lambda item: item)
    daemon._backlog = Backlog(daemon._store, daemon._outbox.slate)
    return daemon


def test_a_daemon_that_is_blind_beats_for_of_that_it_tells_itself(switch, path):
    watched(Hand([(0.0, blind())]), path, switch).run()
    wait_until(lambda: switch.got)
    assert len(switch.got) == 1


def test_a_daemon_that_cannot_write_its_store_does_not_beat(switch, path, monkeypatch):
    daemon = watched(Hand([(at, SEEING) for at in (0.0, 5.0, 10.0)]), path, switch)

    def refuse(poll, carried=None):
        raise StoreError("the disk is full")

    monkeypatch.setattr(daemon._store, "write", refuse)
    daemon.run()
    assert switch.got == []


def test_a_heartbeat_is_no_channel_that_incidents_are_decided_for(switch, tmp_path):
    written = tmp_path / "config.yaml"
    written.write_text(
        f"channels:\n  switch:\n    heartbeat: {{url: '{switch.url}'}}\n"
        f"  am:\n    alertmanager: {{urls: ['{switch.url}']}}\n",
        encoding="utf-8",
    )
    config = load(written, {}, {})
    assert [each.name for each in assembly.channels(config)] == ["am"]
    assert [each.channel.name for each in assembly.lines(config)] == ["switch", "am"]
