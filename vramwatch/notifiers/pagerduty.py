"""PagerDuty: alerts over its Events API v2, one an incident, resolved when the incident is.

Source: developer.pagerduty.com/docs/events-api-v2 (trigger events, change events).
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from vramwatch.core.couriers import Answer, Courier, Place, place_of
from vramwatch.core.messages import (
    Host,
    Item,
    Message,
    MessageKind,
    full_id,
    headline,
    plain,
    record,
    subject_name,
    title,
)
from vramwatch.core.outgoing import Delivered, Outcome, Rejected, Retry
from vramwatch.core.policy import Notice
from vramwatch.core.records import iso
from vramwatch.core.texts import clean
from vramwatch.notifying import Address, HttpReach, Notifier, Progress, SecretInFile, WrittenSecret

SINGLY = 5
"""Incidents that are new in one message and still get an alert each; more of them share one."""

SUMMARY_MOST = 1024
"""Characters of a summary (PD-CEF)."""

EVENT_MOST = 400_000
"""Bytes of an event; PagerDuty takes 512 KB."""

KEY_MOST = 255
"""Characters of a dedup_key."""

LINEAGE_MOST = 16
"""Shared alerts that one message can stand for."""

Event = dict[str, Any]


class Pagerduty(Notifier):
    """Opens a PagerDuty alert for each incident (Events API v2) and resolves it when the incident ends."""

    SECRETS: ClassVar[tuple[str, ...]] = ("routing_key",)
    NEEDED: ClassVar[tuple[str, ...]] = ("routing_key",)
    KEYED: ClassVar[bool] = True

    routing_key: WrittenSecret = Field(None, description="Integration key of the service or ruleset.")
    routing_key_file: SecretInFile = Field(None, description="A file that holds it.")
    url: Address = Field(
        "https://events.pagerduty.com",
        description="The Events API; https://events.eu.pagerduty.com for accounts in the EU region.",
    )
    http: HttpReach = Field(HttpReach(), description="How PagerDuty is reached.")

    _progress: Progress = PrivateAttr(default_factory=Progress)

    def places(self) -> tuple[Place, ...]:
        place = place_of(self.url)
        return (place,) if place else ()

    def send(self, message: Message, courier: Courier) -> Outcome:
        if message.kind is MessageKind.DIGEST:
            return self._post("/v2/change/enqueue", _change(message), courier)
        outcomes: list[Outcome] = []
        taken = self._progress.of(message.key)
        for event in _events(message):
            name = f"{event['event_action']} {event['dedup_key']}"
            if name in taken:
                continue
            outcome = self._post("/v2/enqueue", event, courier)
            if isinstance(outcome, Retry):
                return outcome
            outcomes.append(outcome)
            taken.add(name)
        refused = [each for each in outcomes if isinstance(each, Rejected)]
        if refused:
            return refused[0]
        return Delivered(_counted(len(taken)), _reference(message))

    def _post(self, path: str, event: Event, courier: Courier) -> Outcome:
        sent = {"routing_key": self.secret("routing_key"), **event}
        answer = courier.post(self.url.rstrip("/") + path, sent)
        return courier.outcome(_explained(answer) if isinstance(answer, Answer) else answer)


def _explained(answer: Answer) -> Answer:
    """Return the answer with PagerDuty's own words about what it refuses in place of its JSON."""
    told = answer.json()
    if answer.status < 400 or not isinstance(told, dict):
        return answer
    errors = told.get("errors")
    words = [told.get("message"), *(errors if isinstance(errors, list) else [errors])]
    return replace(answer, body="; ".join(str(each) for each in words if each).encode())


def _events(message: Message) -> Iterator[Event]:
    """Yield what PagerDuty is to do for a message: trigger and resolve, each by a key that it knows."""
    host = message.host
    if message.kind is not MessageKind.INCIDENTS:
        key = _key(host, f"{message.kind}/{message.key}")
        yield _trigger(key, headline(message), message, {"text": plain(message)}, severity="info")
        yield _resolve(key)  # nobody shall have to close a test
        return
    if _is_shared(message):
        told = {"text": plain(message), "incidents": [_line(each, host) for each in message.items]}
        yield _trigger(message.key, headline(message), message, told)
    details = record(message)["incidents"]
    ended: dict[str, None] = {}
    again: dict[str, Item] = {}
    for item, detail in zip(message.items, details, strict=True):
        shared = (item.reference or "").split()
        if item.is_over:
            ended |= dict.fromkeys([_own_key(item, host), *([] if item.siblings else shared)])
        elif item.notice is Notice.REPEATED and shared:
            again.setdefault(shared[0], item)
        elif not _is_shared(message):
            yield _trigger(_own_key(item, host), headline(_alone(message, item)), message, detail, item=item)
    for key, item in again.items():
        yield _trigger(key, headline(message), message, {"text": plain(message)}, item=item)
    yield from (_resolve(key) for key in ended)


def _is_shared(message: Message) -> bool:
    """Whether so much in it is new that one alert stands for all of it."""
    return sum(each.notice is Notice.OPENED for each in message.items) > SINGLY


def _reference(message: Message) -> str | None:
    """Return the keys of the shared alerts that the incidents of a message are told under, its own first.

    None: no shared alert was opened, and what the store knows from before stands. An incident that was told
    under one before takes its key along, so that whoever ends last ends that one too.
    """
    if not _is_shared(message):
        return None
    before = (key for each in message.items if not each.is_over for key in (each.reference or "").split())
    return " ".join([message.key, *dict.fromkeys(before)][:LINEAGE_MOST])


def _alone(message: Message, item: Item) -> Message:
    return replace(message, items=(item,))


def _own_key(item: Item, host: Host) -> str:
    return _key(host, item.incident.id)


def _key(host: Host, name: str) -> str:
    return f"vramwatch/{clean(host.name)}/{name}"[:KEY_MOST]


def _line(item: Item, host: Host) -> str:
    return f"{title(item)}  [{full_id(item.incident, host)}]"


def _trigger(
    key: str, summary: str, message: Message, details: Event, *, item: Item | None = None, severity: str = ""
) -> Event:
    """Return an event that opens the alert ``key``; of PagerDuty's severities two are ours by name."""
    payload: Event = {
        "summary": summary[:SUMMARY_MOST],
        "source": clean(message.host.name),
        "severity": severity or str(item.incident.judgement.severity if item else message.severity),
        "timestamp": iso(message.made),
        "custom_details": details,
    }
    if item is not None:
        payload["component"] = subject_name(item.incident.subject, item.transition.scene)
        payload["class"] = str(item.incident.judgement.cause)
    if group := message.host.labels.get("cluster"):
        payload["group"] = group
    event = {"event_action": "trigger", "dedup_key": key, "client": "vramwatch", "payload": payload}
    if len(json.dumps(event)) > EVENT_MOST:
        payload["custom_details"] = {"text": plain(message)[: EVENT_MOST // 8]}
    return event


def _resolve(key: str) -> Event:
    return {"event_action": "resolve", "dedup_key": key}


def _change(message: Message) -> Event:
    """Return a digest as a change event: it is shown beside the alerts, and calls nobody."""
    return {
        "payload": {
            "summary": headline(message)[:SUMMARY_MOST],
            "source": clean(message.host.name),
            "timestamp": iso(message.made),
            "custom_details": {"text": message.text[: EVENT_MOST // 8]},
        }
    }


def _counted(events: int) -> str:
    return f"HTTP 202: {events} event{'' if events == 1 else 's'} taken"
