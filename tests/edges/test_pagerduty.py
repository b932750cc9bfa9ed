"""Alerts in PagerDuty, over its Events API on loopback: one an incident, ended with it."""

import json

import pytest

from tests.notices import digest, item, message, trial
from tests.receivers import answering, receiving
from vramwatch.core.incidents import Severity
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.core.policy import Notice
from vramwatch.couriers.posting import HttpCourier
from vramwatch.notifiers.pagerduty import Pagerduty

ROUTING = "R0UT1NGK3Y00000000000000000000ff"
TAKEN = answering(202, '{"status":"success","message":"Event processed","dedup_key":"x"}')


class Service:
    """A notifier and the alerts that PagerDuty would have open after what it was sent."""

    def __init__(self, script=TAKEN):
        self.script = script
        self.notifier = Pagerduty(routing_key=ROUTING)
        self.events = []
        self.open = {}

    def send(self, told):
        with receiving(self.script) as server:
            notifier = self.notifier.model_copy(update={"url": server.url})
            courier = HttpCourier(notifier.reach(), notifier.secrets())
            outcome = notifier.send(told, courier)
            courier.close()
        self.paths = [each.path for each in server.got]
        self.events = [each.json for each in server.got]
        for event in self.events:
            if event.get("event_action") == "trigger":
                self.open[event["dedup_key"]] = event["payload"]
            elif event.get("event_action") == "resolve":
                self.open.pop(event["dedup_key"], None)
        return outcome


def many(count, notice=Notice.OPENED, **more):
    return [item(f"{number:012x}", notice, **more) for number in range(count)]


def test_an_incident_opens_an_alert_that_says_what_it_is():
    service = Service()
    outcome = service.send(message())
    assert outcome == Delivered("HTTP 202: 1 event taken")
    (event,) = service.events
    assert service.paths == ["/v2/enqueue"]
    assert event["routing_key"] == ROUTING
    assert (event["event_action"], event["dedup_key"]) == ("trigger", "vramwatch/gpu7/0a1b2c3d4e5f")
    payload = event["payload"]
    assert payload["summary"].startswith("gpu7: CRITICAL  chat on GPU 0: a leak")
    assert (payload["source"], payload["severity"]) == ("gpu7", "critical")
    assert (payload["component"], payload["class"]) == ("chat on GPU 0", "leak")
    assert payload["timestamp"] == "2023-11-15T12:06:40.000Z"
    details = payload["custom_details"]
    assert details["id"] == "0a1b2c3d4e5f@gpu7"
    assert details["who"].startswith("unit chat.service")
    assert details["commands"]


def test_a_warning_is_a_warning():
    service = Service()
    service.send(message(item(severity=Severity.WARNING)))
    assert service.events[0]["payload"]["severity"] == "warning"


def test_its_end_resolves_the_alert():
    service = Service()
    service.send(message())
    service.send(message(item(notice=Notice.RESOLVED), key="f" * 32))
    assert service.events == [
        {"routing_key": ROUTING, "event_action": "resolve", "dedup_key": "vramwatch/gpu7/0a1b2c3d4e5f"}
    ]
    assert service.open == {}


def test_a_few_at_once_get_an_alert_each():
    service = Service()
    outcome = service.send(message(*many(5)))
    assert len(service.open) == 5
    assert outcome.reference is None


def test_many_at_once_share_one_alert_until_the_last_of_them_has_ended():
    service = Service()
    told = message(*many(64))
    outcome = service.send(told)
    assert list(service.open) == [told.key]
    assert service.open[told.key]["summary"].startswith("gpu7: 64 CRITICAL: ")
    assert len(service.open[told.key]["custom_details"]["incidents"]) == 64
    assert outcome.reference == told.key
    service.send(message(item("a", Notice.RESOLVED, outcome.reference, 1), key="b"))
    assert list(service.open) == [told.key]
    service.send(message(item("b", Notice.RESOLVED, outcome.reference, 0), key="c"))
    assert service.open == {}


def test_what_gets_worse_within_a_shared_alert_calls_by_an_alert_of_its_own_that_ends_with_it():
    service = Service()
    shared = service.send(message(*many(6))).reference
    service.send(message(item("000000000003", Notice.WORSE, shared, 5), key="d"))
    assert set(service.open) == {shared, "vramwatch/gpu7/000000000003"}
    service.send(message(item("000000000003", Notice.RESOLVED, shared, 5), key="e"))
    assert set(service.open) == {shared}


def test_what_still_stands_is_told_again_under_the_alert_that_it_has():
    service = Service()
    shared = service.send(message(*many(6))).reference
    service.send(message(*many(6, Notice.REPEATED, reference=shared, siblings=5), key="d"))
    assert [event["dedup_key"] for event in service.events] == [shared]
    assert service.open.keys() == {shared}


def test_an_incident_that_moves_from_one_shared_alert_to_another_leaves_neither_open():
    service = Service()
    first = service.send(message(*many(6), key="first")).reference
    moved = item("moved", Notice.WORSE, first, 0)
    second = service.send(message(*many(6), moved, key="second")).reference
    assert set(service.open) == {"first", "second"}
    service.send(message(item("moved", Notice.RESOLVED, second, 0), key="third"))
    assert service.open == {}


def test_a_test_opens_an_alert_that_needs_no_attention_and_closes_it():
    service = Service()
    service.send(trial())
    assert [event["event_action"] for event in service.events] == ["trigger", "resolve"]
    assert service.events[0]["payload"]["severity"] == "info"
    assert "TEST" in service.events[0]["payload"]["summary"]
    assert service.open == {}


def test_a_digest_is_a_change_event_that_calls_nobody():
    service = Service()
    outcome = service.send(digest())
    assert isinstance(outcome, Delivered)
    assert service.paths == ["/v2/change/enqueue"]
    assert service.events[0]["payload"]["custom_details"] == {"text": "Nothing would have fired."}


def test_an_account_in_the_eu_region_has_an_address_of_its_own():
    assert Pagerduty(routing_key="x").url == "https://events.pagerduty.com"
    assert Pagerduty(routing_key="x", url="https://events.eu.pagerduty.com").url.endswith(".eu.pagerduty.com")


def test_what_pagerduty_refuses_is_told_in_its_words_and_without_the_key():
    errors = ["Length of 'routing_key' is incorrect (should be 32 characters)", f"unknown key {ROUTING}"]
    body = json.dumps({"status": "invalid event", "message": "Event object is invalid", "errors": errors})
    outcome = Service(answering(400, body)).send(message())
    assert outcome == Rejected(f"HTTP 400: Event object is invalid; {errors[0]}; unknown key ***")


def test_an_event_that_is_refused_keeps_back_no_other():
    refusing = answering(400, '{"message": "no"}')
    service = Service(lambda exchange: (refusing if exchange.number == 1 else TAKEN)(exchange))
    assert isinstance(service.send(message(*many(3))), Rejected)
    assert len(service.events) == 3


def test_a_retry_goes_on_where_it_was_refused():
    full = answering(429, "", "Retry-After: 30\n")
    service = Service(lambda exchange: (full if exchange.number == 2 else TAKEN)(exchange))
    told = message(*many(5))
    outcome = service.send(told)
    assert isinstance(outcome, Retry)
    assert outcome.after == 30.0
    first = [event["dedup_key"] for event in service.events]
    service.script = TAKEN
    assert service.send(told) == Delivered("HTTP 202: 5 events taken")
    second = [event["dedup_key"] for event in service.events]
    assert (len(first), len(second)) == (3, 3)
    assert set(first[:2]).isdisjoint(second)


@pytest.mark.parametrize("count", [1, 256])
def test_an_event_stays_below_what_pagerduty_takes(count):
    service = Service()
    long = [item(f"{number:012x}", owner=f"rule:{'é' * 400}", scene=None) for number in range(count)]
    service.send(message(*long))
    for event in service.events:
        assert len(json.dumps(event).encode()) < 512_000
        assert len(event["payload"]["summary"]) <= 1024
        assert len(event["dedup_key"]) <= 255
