"""The generic webhook, as whoever receives it sees it."""

import hashlib
import hmac
import json
import time

import pytest
from pydantic import ValidationError

from tests.notices import HOST, KEY, MADE, digest, item, message, trial
from tests.receivers import answering, receiving
from vramwatch.core.messages import Host
from vramwatch.core.outgoing import Delivered, Rejected
from vramwatch.core.policy import Notice
from vramwatch.couriers.posting import HttpCourier
from vramwatch.notifiers.webhook import Webhook


def send(told, script=None, **options):
    """Return what a receiver is sent, and what came of it."""
    with receiving(script or answering(200, "ok")) as receiver:
        notifier = Webhook(url=f"{receiver.url}/hook?a=1", **options)
        courier = HttpCourier(notifier.reach(), notifier.secrets())
        outcome = notifier.send(told, courier)
        courier.close()
    return receiver.got[0], outcome


def test_the_message_arrives_as_json_of_the_documented_form():
    request, outcome = send(message(item(), item("ffffffffffff", Notice.RESOLVED)))
    told = request.json
    assert outcome == Delivered("HTTP 200: ok")
    assert (request.method, request.path) == ("POST", "/hook?a=1")
    assert request.headers["content-type"] == "application/json"
    assert told["schema"] == "vramwatch.message/1"
    assert (told["key"], told["kind"]) == (KEY, "incidents")
    assert told["host"] == {"name": "gpu7", "labels": {"rack": "b4"}}
    assert (told["time"], told["time_iso"]) == (MADE, "2023-11-15T12:06:40.000Z")
    assert told["headline"].startswith("gpu7: 1 CRITICAL, 1 RESOLVED: ")
    first, second = told["incidents"]
    assert (first["id"], first["notice"], first["state"]) == ("0a1b2c3d4e5f@gpu7", "opened", "firing")
    assert (second["notice"], second["state"], second["reason"]) == ("resolved", "resolved", "restarted")
    assert first["exhaustion"] == {"at": 1_700_090_000.0, "low": 1_700_080_000.5, "high": 1_700_100_000.0}
    assert first["scene"]["held_bytes"] == 40 << 30
    assert first["commands"][0] == "vramwatch why 0a1b2c3d4e5f"
    assert told["text"].splitlines()[-1].startswith("On gpu7 run:  ")


@pytest.mark.parametrize("told", [trial(), digest()])
def test_tests_and_digests_have_the_same_form_without_incidents(told):
    sent = send(told)[0].json
    assert (sent["kind"], sent["incidents"]) == (str(told.kind), [])
    assert told.text in sent["text"]


def test_the_key_is_the_same_each_time_so_that_a_repetition_can_be_dropped():
    requests = [send(message())[0] for _ in range(2)]
    assert {each.headers["idempotency-key"] for each in requests} == {KEY}
    assert {each.json["key"] for each in requests} == {KEY}
    assert requests[0].body == requests[1].body


def verify(request, secret, now):
    """What a receiver does, written from the documentation alone."""
    stamp = request.headers["x-vramwatch-timestamp"]
    version, _, given = request.headers["x-vramwatch-signature"].partition("=")
    expected = hmac.new(secret.encode(), f"{stamp}.".encode() + request.body, hashlib.sha256).hexdigest()
    return version == "v1" and hmac.compare_digest(given, expected) and abs(now - int(stamp)) < 300


def test_a_receiver_can_check_who_wrote_it_and_when():
    request, _ = send(message(host=Host("größe")), signing_secret="hush hush é")
    assert verify(request, "hush hush é", time.time())
    assert not verify(request, "another", time.time())
    assert not verify(request, "hush hush é", time.time() + 3600)
    request.headers["x-vramwatch-timestamp"] = str(int(time.time()) + 1)
    assert not verify(request, "hush hush é", time.time())


def test_without_a_shared_secret_nothing_is_signed():
    assert not {name for name in send(message())[0].headers if name.startswith("x-vramwatch")}


def test_headers_of_ones_own_are_sent_and_take_the_place_of_none_of_ours():
    own = {"Authorization": "Bearer abc", "Idempotency-Key": "mine", "Content-Type": "text/plain"}
    headers = send(message(), headers=own)[0].headers
    assert headers["authorization"] == "Bearer abc"
    assert headers["idempotency-key"] == KEY
    assert headers["content-type"] == "application/json"


def test_a_template_makes_the_body_whatever_the_names_hold():
    evil = '"}, {"x": "$key ${host} \\ \n'
    template = '{"title": $headline, "list": [$host, $severity, $kind], "all": $message, "cost": "$$5"}'
    told = message(item(owner=f"rule:{evil}", scene=None), host=Host(evil))
    sent = send(told, template=template)[0].json
    assert sent["list"] == [evil, "critical", "incidents"]
    assert sent["cost"] == "$5"
    assert sent["all"]["schema"] == "vramwatch.message/1"
    assert set(sent) == {"title", "list", "all", "cost"}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ('{"a": $titel}', "$titel"),
        ('{"a": "costs $5"}', "$$"),
        ('{"a": $headline', "no JSON"),
        ('{"a": "$headline"}', "no JSON"),
        ("", "no JSON"),
    ],
)
def test_a_template_that_could_make_no_body_is_refused_before_it_has_to(template, words):
    with pytest.raises(ValidationError) as raised:
        Webhook(url="http://127.0.0.1/", template=template)
    assert words in raised.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "url", ["hook", "ftp://h/x", "http://", "https://h:99999/", "http://h/a b", "http://[x"]
)
def test_an_address_where_nothing_can_be_posted_is_refused_before_it_has_to(url):
    with pytest.raises(ValidationError) as raised:
        Webhook(url=url)
    (error,) = raised.value.errors()
    assert error["msg"].endswith("url: not an address; write https://host/path")


def test_what_the_receiver_refuses_is_told_in_its_words():
    assert send(message(), answering(422, '{"error": "no such hook"}'))[1] == Rejected(
        'HTTP 422: {"error": "no such hook"}'
    )


def test_it_is_told_of_as_a_repetition_where_it_may_be_one():
    sent = send(message(may_be_repeat=True))[0].json
    assert sent["may_be_repeat"] is True
    assert json.dumps(HOST.name) in json.dumps(sent)
