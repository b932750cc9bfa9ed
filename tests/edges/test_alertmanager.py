"""What Alertmanager is told, over real sockets: labels that stay, alerts kept fresh, several peers."""

import base64
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime

import pytest
from pydantic import ValidationError

from tests.one_channel import CRITICAL, HOST, SCENE, Office, firing, resolved, sent, told
from tests.polls import START, holding, instant, ledger, owner, tenant
from tests.receivers import receiving
from vramwatch.assembly import channels
from vramwatch.config import load
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Reason, Subject
from vramwatch.core.messages import Heard, MessageKind
from vramwatch.core.model import Container, SubjectKind
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.core.policy import (
    Account,
    Case,
    Channel,
    Moment,
    Notice,
    Notify,
    Told,
    Withheld,
    Withholding,
    decide,
)
from vramwatch.core.records import iso
from vramwatch.core.scenes import scene_of
from vramwatch.core.verdicts import Cause
from vramwatch.notifiers.alertmanager import Alertmanager

SECOND = 1.0
SINCE = START + 7.5


@pytest.fixture
def peer():
    with receiving() as one:
        yield one


def to(*peers, **options):
    return Alertmanager(urls=tuple(getattr(each, "url", each) for each in peers), **options)


def posted(peer, number=-1):
    return peer.got[number].json


def unix(text):
    return datetime.fromisoformat(text).timestamp()


def stands(alert):
    return unix(alert["endsAt"]) > time.time()


def named(alerts):
    """Return "chat warning" for an alert that stands, "chat warning over" for one that has ended."""
    return [
        f"{each['labels']['incident']} {each['labels']['severity']}{'' if stands(each) else ' over'}"
        for each in alerts
    ]


# --- one alert ----------------------------------------------------------------------------------


def test_an_alert_says_who_it_is_in_labels_and_all_that_moves_in_annotations(peer):
    outcome = sent(
        to(peer), told(firing(7, forecast=Exhaustion(START + 90000, START + 80000, START + 100000)))
    )
    assert outcome == Delivered(f"HTTP 200 from {peer.netloc}")
    assert [(each.method, each.path) for each in peer.got] == [("POST", "/api/v2/alerts")]
    (alert,) = posted(peer)
    assert alert["labels"] == {
        "alertname": "VramwatchIncident",
        "instance": "gpu7",
        "rack": "b4",
        "incident": "chat",
        "subject": "owner",
        "owner": "chat",
        "gpu": "0",
        "uuid": "GPU-00000000",
        "team": "search",
        "unit": "chat.service",
        "image": "registry.local/chat:7",
        "severity": "warning",
    }
    assert alert["annotations"]["summary"].startswith("gpu7: WARNING  chat on GPU 0: a leak")
    assert alert["annotations"]["command"] == "vramwatch why chat\nsystemctl restart chat.service"
    assert alert["annotations"]["cause"] == "leak"
    assert alert["annotations"]["id"] == "chat@gpu7"
    assert "Why (floor): grew by 3 MiB in 1 h." in alert["annotations"]["description"].splitlines()


def test_the_image_of_its_container_is_a_label_so_that_a_roll_out_can_be_told(peer):
    container = Container("0" * 64, "docker", "chat-1", "registry.local/chat:7")
    at = instant(7)
    seen = ledger(at, holding(4100, tenant=tenant(4100, container=container)))
    scene = scene_of([seen], seen.gpu.uuid, SubjectKind.OWNER, owner().key, 4100)
    sent(to(peer), told(firing(7, scene=scene)))
    labels = posted(peer)[0]["labels"]
    assert (labels["image"], labels["container"]) == ("registry.local/chat:7", "chat-1")


def test_the_labels_stay_when_cause_pid_forecast_and_scene_have_moved(peer):
    first = firing(7)
    later = firing(
        9,
        cause=Cause.KV_CACHE,
        pid=4711,
        scene=replace(SCENE, gpu="3", unit=None, owner="chat-2", image="new"),
    )
    sent(to(peer), told(first))
    sent(to(peer), told(later, Notice.UPDATED, heard=Heard(first, first, SINCE)))
    assert posted(peer, 0)[0]["labels"] == posted(peer, 1)[0]["labels"]
    assert len(posted(peer, 1)) == 1
    assert posted(peer, 1)[0]["annotations"]["cause"] == "kv_cache"


def test_a_change_of_severity_ends_the_alert_that_stood_in_the_same_request(peer):
    first, worse = firing(7), firing(9, severity=CRITICAL, reason=Reason.UPDATED)
    sent(to(peer), told(worse, Notice.WORSE, heard=Heard(first, first, SINCE)))
    assert named(posted(peer)) == ["chat warning over", "chat critical"]
    before, after = (each["labels"] for each in posted(peer))
    assert {**before, "severity": None} == {**after, "severity": None}


def test_what_is_over_ends_the_alert_that_stands_whatever_its_last_judgement_says(peer):
    first = firing(7, severity=CRITICAL)
    sent(to(peer), told(resolved(9), Notice.RESOLVED, heard=Heard(first, first, SINCE)))
    assert named(posted(peer)) == ["chat critical over"]
    assert unix(posted(peer)[0]["endsAt"]) == START + 9


def test_an_alert_stands_for_four_beats(peer):
    before = time.time()
    sent(to(peer, refresh="20s"), told(firing(7)))
    assert before + 80 - SECOND < unix(posted(peer)[0]["endsAt"]) <= time.time() + 80


def test_an_alert_starts_when_it_was_first_told_so_that_alertmanager_waits_for_others(peer):
    before, first = time.time(), firing(7)
    sent(to(peer), told(first))
    sent(to(peer), told(firing(9), Notice.UPDATED, heard=Heard(first, first, SINCE)))
    assert before - SECOND < unix(posted(peer, 0)[0]["startsAt"]) <= time.time()
    assert unix(posted(peer, 1)[0]["startsAt"]) == SINCE


def test_no_alert_begins_in_the_future_or_ends_before_it_began(peer):
    first, ahead = firing(7), instant(9, wall=4_000_000_000.0)
    heard = Heard(first, first, 4_000_000_000.0)
    never_heard, too_early = resolved(9), Heard(first, first, START + 60)
    sent(
        to(peer),
        told(firing(ahead), heard=heard),
        told(resolved(ahead), Notice.RESOLVED, heard=heard),
        told(never_heard, Notice.RESOLVED),
        told(resolved(9), Notice.RESOLVED, heard=too_early),
    )
    assert len(posted(peer)) == 4
    for alert in posted(peer):
        assert unix(alert["startsAt"]) <= min(unix(alert["endsAt"]), time.time())


def test_labels_that_a_host_is_given_cannot_take_the_place_of_those_of_an_incident(peer):
    host = replace(HOST, labels={"team": "hardware", "owner": "somebody", "severity": "page"})
    sent(to(peer), told(firing(7)), host=host)
    labels = posted(peer)[0]["labels"]
    assert (labels["team"], labels["owner"], labels["severity"]) == ("search", "chat", "warning")
    assert "job" not in labels


def test_an_incident_of_vramwatch_itself_names_no_gpu(peer):
    moved = firing(7)
    own = replace(
        moved, incident=replace(moved.incident, subject=Subject("", SubjectKind.VRAMWATCH)), scene=None
    )
    sent(to(peer), told(own))
    labels = posted(peer)[0]["labels"]
    assert labels["subject"] == "vramwatch"
    assert not {"gpu", "uuid", "owner"} & labels.keys()


def test_the_link_leads_where_it_is_configured(peer):
    sent(to(peer), told(firing(7)))
    sent(to(peer, generator_url="https://wiki.local/vram"), told(firing(7)))
    assert "generatorURL" not in posted(peer, 0)[0]
    assert posted(peer, 1)[0]["generatorURL"] == "https://wiki.local/vram"


def test_a_test_is_an_alert_of_another_name_and_a_digest_is_refused(peer):
    assert isinstance(sent(to(peer), kind=MessageKind.TEST, text="try"), Delivered)
    (alert,) = posted(peer)
    assert (alert["labels"]["alertname"], alert["labels"]["instance"]) == ("VramwatchTest", "gpu7")
    assert isinstance(sent(to(peer), kind=MessageKind.DIGEST, text="…"), Rejected)
    assert len(peer.got) == 1


def test_the_watchdog_beats_where_it_is_asked_for_and_not_else(peer):
    sent(to(peer), kind=MessageKind.HEARTBEAT)
    sent(to(peer, watchdog=True), kind=MessageKind.HEARTBEAT)
    assert posted(peer, 0) == []
    (alert,) = posted(peer, 1)
    assert (alert["labels"]["alertname"], alert["labels"]["severity"]) == ("VramwatchWatchdog", "none")
    assert stands(alert)


# --- peers --------------------------------------------------------------------------------------


def test_every_peer_is_told(peer):
    with receiving() as other:
        outcome = sent(to(peer, other), told(firing(7)))
        assert posted(peer)[0]["labels"] == posted(other)[0]["labels"]
    assert outcome == Delivered(f"HTTP 200 from {peer.netloc}, HTTP 200 from {other.netloc}")


def test_one_peer_that_takes_it_is_enough_and_the_others_are_named(peer):
    with receiving() as gone:
        pass
    with receiving() as broken:
        broken.answers(500, "out of disk")
        outcome = sent(to(gone, broken, peer), told(firing(7)))
    assert isinstance(outcome, Delivered)
    assert outcome.detail.startswith(f"HTTP 200 from {peer.netloc}; not told: {gone.netloc}: ")
    assert outcome.detail.endswith(f"; not told: {broken.netloc}: HTTP 500: out of disk")


def test_a_peer_that_failed_is_told_last_the_next_time(peer):
    with receiving() as broken:
        broken.answers(500)
        notifier = to(broken, peer)
        for _ in range(2):
            sent(notifier, told(firing(7)))
        asked = sorted((each.at, one.url) for one in (broken, peer) for each in one.got)
    assert [url for _, url in asked] == [broken.url, peer.url, peer.url, broken.url]


def test_when_none_takes_it_a_retry_helps_unless_all_refuse_it(peer):
    with receiving() as other:
        peer.answers(429, headers="Retry-After: 7\n")
        other.answers(429, headers="Retry-After: 9\n")
        assert sent(to(peer, other), told(firing(7))).after == 7.0
        other.answers(400, "bad labels")
        mixed = sent(to(peer, other), told(firing(7)))
        assert isinstance(mixed, Retry)
        assert mixed.reason == f"{peer.netloc}: HTTP 429; {other.netloc}: HTTP 400: bad labels"
        peer.answers(400)
        assert isinstance(sent(to(peer, other), told(firing(7))), Rejected)


def test_a_peer_below_a_path_is_found_however_its_address_is_written(peer):
    written = (f"{peer.url}/am", f"{peer.url}/am/", f"{peer.url}/am/api/v2/alerts")
    for url in written:
        sent(to(url), told(firing(7)))
    assert {each.path for each in peer.got} == {"/am/api/v2/alerts"}


# --- secrets and faults -------------------------------------------------------------------------


def test_a_token_or_a_password_goes_with_each_request_and_comes_back_in_no_answer(peer):
    sent(to(peer, token="t0ken"), told(firing(7)))
    assert peer.got[-1].headers["authorization"] == "Bearer t0ken"
    pair = base64.b64encode("ops:påss".encode()).decode()
    peer.answers(401, f"you sent påss, in {pair}")
    outcome = sent(to(peer, username="ops", password="påss"), told(firing(7)))
    assert peer.got[-1].headers["authorization"] == f"Basic {pair}"
    assert outcome == Rejected(f"{peer.netloc}: HTTP 401: you sent ***, in ***")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"urls": []}, "at least 1"),
        ({"urls": ["alertmanager:9093"]}, "no address"),
        ({"urls": ["http://am:port"]}, "no address"),
        ({"urls": ["http://ops:hush@am:9093"]}, "password in it"),
        ({"urls": ["http://am"], "username": "ops"}, "go together"),
        ({"urls": ["http://am"], "password": "hush"}, "go together"),
        ({"urls": ["http://am"], "username": "a", "password": "hush", "token": "b"}, "leave one out"),
        ({"urls": ["http://am"], "token": "a", "token_file": "/nowhere"}, "cannot be read"),
        ({"urls": ["http://am"], "generator_url": "wiki"}, "no address"),
    ],
)
def test_what_cannot_work_is_a_fault_of_the_configuration_that_shows_no_secret(options, word):
    with pytest.raises(ValidationError) as raised:
        Alertmanager(**options)
    said = [each["msg"] for each in raised.value.errors(include_input=False)]
    assert any(word in each for each in said)
    assert not any("hush" in each for each in said)


# --- kept fresh ---------------------------------------------------------------------------------


def test_what_was_told_and_stands_is_posted_again_with_every_beat(peer, path):
    with closing(Office(path, to(peer, refresh="60s"))) as office:
        office.turn(0)  # the first beat, of nothing
        office.poll(1, firing(1), notices=[Notice.OPENED])
        for seq in (1, 30, 59, 61, 100, 121, 122):
            office.turn(seq)
        assert {each["startsAt"] for at in (2, 3) for each in posted(peer, at)} == {iso(START + 30)}
        assert [named(each.json) for each in peer.got] == [
            [],
            ["chat warning"],
            ["chat warning"],
            ["chat warning"],
        ]


def test_what_was_withheld_or_only_seen_is_posted_by_no_beat(peer, path):
    with closing(Office(path, to(peer))) as office:
        withheld = Withheld("pager", "quiet", Notice.OPENED, Withholding.SILENCED, "by nobody")
        office.poll(1, firing(1, "quiet"), firing(1, "other"), notices=[withheld])
        office.turn(1)
        assert posted(peer) == []


def test_what_is_over_is_not_posted_again_not_even_before_its_end_was_told(peer, path):
    with closing(Office(path, to(peer))) as office:
        office.poll(1, firing(1), firing(1, "other"), notices=[Notice.OPENED, Notice.OPENED])
        office.turn(1)
        office.poll(2, resolved(2))
        office.turn(3)
        assert named(posted(peer)) == ["other warning"]
        office.poll(70, resolved(70, "other"), notices=[Notice.RESOLVED])
        office.turn(70)
        assert named(posted(peer)) == ["other warning over"]
        office.turn(140)
        assert posted(peer) == []


def test_a_beat_says_what_was_told_and_not_what_was_kept_back_since(peer, path):
    with closing(Office(path, to(peer))) as office:
        office.poll(1, firing(1), notices=[Notice.OPENED])
        office.turn(1)
        office.poll(2, firing(2, severity=CRITICAL, reason=Reason.UPDATED))
        office.turn(2)
        assert named(posted(peer)) == ["chat warning"]


def test_an_incident_that_returns_is_known_by_how_it_stood_then(peer, path):
    moved = replace(SCENE, image="registry.local/chat:8")
    with closing(Office(path, to(peer))) as office:
        office.poll(1, firing(1), notices=[Notice.OPENED])
        office.turn(1)
        office.poll(2, resolved(2, scene=moved), notices=[Notice.RESOLVED])
        office.turn(2)
        office.poll(3, firing(3, scene=moved), notices=[Notice.OPENED])
        office.turn(3)
        images = [alert["labels"]["image"] for each in peer.got for alert in each.json]
        assert images == [SCENE.image, SCENE.image, moved.image]


def test_severity_is_remembered_over_a_restart_and_beats_go_on(peer, path):
    with closing(Office(path, to(peer))) as office:
        office.poll(1, firing(1), notices=[Notice.OPENED])
        office.turn(1)
        office.turn(2)
    with closing(Office(path, to(peer))) as office:
        office.turn(10)
        assert named(posted(peer)) == ["chat warning"]
        office.poll(11, firing(11, severity=CRITICAL, reason=Reason.UPDATED), notices=[Notice.WORSE])
        office.turn(11)
        assert named(posted(peer)) == ["chat warning over", "chat critical"]


def test_what_alertmanager_groups_waits_nowhere_else_unless_that_is_written(tmp_path):
    written = tmp_path / "config.yaml"
    written.write_text(
        "channels:\n"
        "  plain:\n    alertmanager: {urls: ['http://am:9093']}\n"
        "  own:\n    alertmanager: {urls: ['http://am:9093']}\n    group_wait: 5s\n"
        "  hook:\n    webhook: {url: 'http://hook'}\n",
        encoding="utf-8",
    )
    waits = {each.name: (each.group_wait, each.group_interval) for each in channels(load(written, {}, {}))}
    assert waits == {"plain": (0.0, 0.0), "own": (5.0, 0.0), "hook": (30.0, 300.0)}


def test_a_channel_for_what_is_critical_hears_that_it_is_a_warning_again():
    channel = Channel("pager", frozenset({CRITICAL}), edits=True)
    before = Account(Told(Notice.OPENED, START + 1, CRITICAL, "floor"))
    step = decide(Case(firing(2)), channel, before, Moment(START + 2))
    assert step == Notify("pager", "chat", Notice.UPDATED, START + 2 + channel.group_wait)


def test_beats_are_no_deliveries(peer, path):
    with closing(Office(path, to(peer, refresh="1s"))) as office:
        for seq in range(5):
            office.turn(seq)
        assert len(peer.got) == 5
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM delivery").fetchone() == (0,)
