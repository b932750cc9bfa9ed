"""Push messages through ntfy, to a server on loopback."""

import pytest
from pydantic import ValidationError

from tests.notices import digest, item, message, trial
from tests.receivers import answering, receiving
from vramwatch.core.incidents import Severity
from vramwatch.core.messages import Host
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.core.policy import Notice
from vramwatch.couriers.posting import HttpCourier
from vramwatch.notifiers.ntfy import Ntfy

ACCEPTED = answering(200, '{"id":"hwQ2YpKdmg","event":"message"}')


def send(told, script=ACCEPTED, **options):
    """Return what was pushed for a message, and what came of it."""
    with receiving(script) as server:
        notifier = Ntfy(url=server.url, topic="gpu-alerts", **options)
        courier = HttpCourier(notifier.reach(), notifier.secrets())
        outcome = notifier.send(told, courier)
        courier.close()
    return server.got[0], outcome


def test_a_phone_shows_the_headline_and_the_text_ends_with_the_command():
    request, outcome = send(message())
    pushed = request.json
    assert (request.method, request.path) == ("POST", "/")
    assert pushed["topic"] == "gpu-alerts"
    assert pushed["title"].startswith("gpu7: CRITICAL  chat on GPU 0: a leak, memory runs out ")
    assert pushed["title"] not in pushed["message"]
    assert "unit chat.service" in pushed["message"]
    assert pushed["message"].splitlines()[-1].startswith("On gpu7 run:  ")
    assert "click" not in pushed
    assert isinstance(outcome, Delivered)


@pytest.mark.parametrize(
    ("told", "priority", "emoji"),
    [
        (message(), 5, "rotating_light"),
        (message(item(severity=Severity.WARNING)), 4, "warning"),
        (message(item(notice=Notice.RESOLVED)), 3, "white_check_mark"),
        (message(item(severity=Severity.WARNING), item("b", Notice.RESOLVED)), 4, "warning"),
        (trial(), 3, "information_source"),
        (digest(), 2, "information_source"),
    ],
)
def test_how_loud_it_is_says_how_grave_it_is(told, priority, emoji):
    pushed = send(told, tags=("gpu",))[0].json
    assert pushed["priority"] == priority
    assert pushed["tags"] == [emoji, "gpu7", "gpu"]


def test_a_token_is_sent_to_the_server_and_told_to_nobody():
    request, outcome = send(
        message(), answering(401, "tk_secretsecret at gpu-alerts?"), token="tk_secretsecret"
    )
    assert request.headers["authorization"] == "Bearer tk_secretsecret"
    assert outcome == Rejected("HTTP 401: *** at ***?")


def test_names_in_any_script_arrive_whole():
    pushed = send(message(host=Host("größe-猫")), click="https://grafana.example/d/1")[0].json
    assert pushed["title"].startswith("größe-猫: ")
    assert pushed["click"] == "https://grafana.example/d/1"


def test_a_long_text_stays_a_message_and_keeps_its_last_line():
    names = [item(f"{number:012x}") for number in range(200)]
    pushed = send(message(*names, host=Host("ü" * 60)))[0].json
    assert 3000 < len(pushed["message"].encode()) <= 4096
    assert pushed["message"].splitlines()[-1].endswith("run:  vramwatch incidents --open")
    assert len(pushed["title"]) <= 250


def test_a_server_that_has_had_enough_is_asked_again_later():
    outcome = send(message(), answering(429, '{"code":42901}', "Retry-After: 60\n"))[1]
    assert isinstance(outcome, Retry)
    assert outcome.after == 60.0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"topic": "two words"}, "topic"),
        ({"topic": "../admin"}, "topic"),
        ({"topic": ""}, "secret"),
        ({}, "topic"),
        ({"topic": "a", "url": "ntfy.sh"}, "address"),
        ({"topic": "a", "click": "javascript:alert(1)"}, "address"),
    ],
)
def test_options_that_cannot_work_are_refused(options, word):
    with pytest.raises(ValidationError) as raised:
        Ntfy(**options)
    assert word in raised.value.errors()[0]["msg"]
