"""Prometheus' Alertmanager: one alert an incident, kept fresh while it stands, and resolved with it.

To Alertmanager an alert is its labels. Those of an incident stay as they were when it was first told,
whatever moves meanwhile, but for ``severity``, by which routes choose: when that changes, the alert with
the old one is resolved in the same request. Annotations hold all that moves.

An alert starts when it was first told, not when the incident opened: Alertmanager holds no group back for
one that is older than its ``group_wait``, and the first of many servers would be a page of its own.

An alert that is not posted again is over at its ``endsAt``, so every beat posts what still stands. That is
also what mends a peer that was away, or that has started anew and knows nothing.
"""

import base64
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, field_validator, model_validator

from vramwatch.core.couriers import Courier, Place, place_of
from vramwatch.core.incidents import Severity, Transition
from vramwatch.core.messages import Host, Item, Message, MessageKind, command_lines, full_id, sentences, title
from vramwatch.core.model import SubjectKind
from vramwatch.core.outgoing import Delivered, Outcome, Rejected, Retry
from vramwatch.core.owners import told_owner
from vramwatch.core.records import iso
from vramwatch.core.texts import clean
from vramwatch.core.units import Seconds
from vramwatch.notifying import HttpReach, Notifier, SecretInFile, WrittenSecret
from vramwatch.options import Text
from vramwatch.quantities import Duration

PATH = "/api/v2/alerts"

INCIDENT, WATCHDOG, TEST = "VramwatchIncident", "VramwatchWatchdog", "VramwatchTest"
"""What an alert may be called (label ``alertname``)."""

HOLDS = 4
"""Beats for which an alert stands unless it is posted again, as Prometheus has it (rules/alerting.go)."""

SCENE_LABELS = {
    **{name: name for name in ("team", "unit", "container", "image", "pod", "namespace", "engine", "model")},
    "job": "slurm_job",  # ``job`` is what Prometheus calls a group of targets
}
"""Field of a scene -> the label that it becomes where it is known."""

Json = dict[str, Any]


class Alertmanager(Notifier):
    """Posts alerts to Prometheus' Alertmanager (API v2) and keeps them alive; no Prometheus is needed.

    Nothing waits for others here, unless group_wait and group_interval are written: Alertmanager groups.
    """

    SECRETS: ClassVar[tuple[str, ...]] = ("password", "token")
    KEYED: ClassVar[bool] = True
    GROUPS: ClassVar[bool] = True
    LAPSES: ClassVar[bool] = True

    urls: tuple[Text, ...] = Field(
        min_length=1,
        max_length=8,
        description="Every peer of the cluster, not a load balancer: each is sent to, and one has to accept.",
        examples=[["http://alertmanager-0:9093", "http://alertmanager-1:9093"]],
    )
    username: Text | None = Field(None, description="For basic authentication, with a password.")
    password: WrittenSecret = Field(None, description="Goes with username.")
    password_file: SecretInFile = Field(None, description="A file with the password.")
    token: WrittenSecret = Field(
        None, description="Sent as a bearer token, instead of username and password."
    )
    token_file: SecretInFile = Field(None, description="A file with the token.")
    refresh: Annotated[Seconds, Duration("1s", "1h")] = Field(
        Seconds(60.0),
        description=(
            f"How often open incidents are posted again. An alert that is not ends after {HOLDS} times this: "
            "when vramwatch stops or cannot write its store."
        ),
    )
    watchdog: bool = Field(
        False,
        description=f"Whether to post {WATCHDOG}, an alert that fires for as long as vramwatch runs.",
    )
    generator_url: Text | None = Field(
        None, description="The target of each alert's link, such as a dashboard; null: none."
    )
    http: HttpReach = Field(HttpReach(), description="How the peers are reached.")

    _failed: set[str] = PrivateAttr(default_factory=set)

    @field_validator("urls")
    @classmethod
    def _are_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_address(url).rstrip("/").removesuffix(PATH) for url in urls)

    @field_validator("generator_url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        return None if url is None else _address(url)

    @model_validator(mode="after")
    def _one_way_to_authenticate(self) -> Self:
        has_password = self.secret("password") is not None
        if (self.username is not None) != has_password:
            raise ValueError("username and password go together; write both, or neither")
        if has_password and self.secret("token") is not None:
            raise ValueError("a username and a token are both written; leave one out")
        return self

    @property
    def beat_every(self) -> float | None:
        return self.refresh

    def secrets(self) -> tuple[str, ...]:
        return (*super().secrets(), *(each.partition(" ")[2] for each in self._authorization().values()))

    @property
    def edits(self) -> bool:
        return True

    def places(self) -> tuple[Place, ...]:
        return tuple(place for url in self.urls if (place := place_of(url)))

    def send(self, message: Message, courier: Courier) -> Outcome:
        if message.kind is MessageKind.DIGEST:
            return Rejected("Alertmanager takes alerts, no digests; send those to another channel")
        alerts = list(self._alerts(message, time.time()))
        return self._tell_peers(alerts, courier)

    # --- the peers --------------------------------------------------------------------------------

    def _tell_peers(self, alerts: list[Json], courier: Courier) -> Outcome:
        """Post ``alerts`` to every peer, those that failed the last time last: a dead one delays no other."""
        came: dict[str, Outcome] = {}
        for url in sorted(self.urls, key=self._failed.__contains__):
            came[url] = courier.outcome(courier.post(f"{url}{PATH}", alerts, self._authorization()))
        self._failed.clear()
        self._failed.update(url for url, outcome in came.items() if not isinstance(outcome, Delivered))
        return _together({url.partition("://")[2]: came[url] for url in self.urls})

    def _authorization(self) -> Mapping[str, str]:
        token, password = self.secret("token"), self.secret("password")
        if token is not None:
            return {"Authorization": f"Bearer {token}"}
        if password is None:
            return {}
        pair = base64.b64encode(f"{self.username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    # --- the alerts -------------------------------------------------------------------------------

    def _alerts(self, message: Message, now: float) -> Iterator[Json]:
        """Yield what is posted at ``now`` (unix seconds)."""
        for item in message.items:
            yield from self._incident(item, message.host, now)
        if message.kind is MessageKind.HEARTBEAT and self.watchdog:
            labels = {"alertname": WATCHDOG, "severity": "none"}
            said = {"summary": f"{clean(message.host.name)}: vramwatch completes polls; this always fires"}
            yield self._standing({**_host_labels(message.host), **labels}, said, now, now)
        if message.kind is MessageKind.TEST:
            labels = {"alertname": TEST, "severity": Severity.WARNING.value}
            said = {
                "summary": f"{clean(message.host.name)}: a test of vramwatch",
                "description": message.text,
            }
            yield self._standing({**_host_labels(message.host), **labels}, said, now, now)

    def _incident(self, item: Item, host: Host, now: float) -> Iterator[Json]:
        """Yield the alert of an incident, after the one that it takes the place of."""
        heard = item.heard
        identity = _identity(heard.first if heard else item.transition, host)
        since, moved = min(heard.since, now) if heard else now, min(item.transition.at.wall, now)
        severity = item.incident.judgement.severity
        stood = heard.newest.incident.judgement.severity if heard else severity
        if item.is_over:
            severity = stood
        labels, said = {**identity, "severity": severity.value}, _annotations(item, host)
        if stood is not severity:
            yield self._ended({**identity, "severity": stood.value}, said, since, moved)
        yield (
            self._ended(labels, said, since, moved)
            if item.is_over
            else self._standing(labels, said, since, now)
        )

    def _standing(self, labels: Json, annotations: Json, since: float, now: float) -> Json:
        return self._alert(labels, annotations, since, now + HOLDS * self.refresh)

    def _ended(self, labels: Json, annotations: Json, since: float, until: float) -> Json:
        """Return an alert that ended when the incident moved, not now: receivers' clocks may be behind."""
        return self._alert(labels, annotations, min(since, until), until)

    def _alert(self, labels: Json, annotations: Json, since: float, until: float) -> Json:
        link = {"generatorURL": self.generator_url} if self.generator_url else {}
        times = {"startsAt": iso(since), "endsAt": iso(until)}
        return {"labels": labels, "annotations": annotations, **times, **link}


def _identity(first: Transition, host: Host) -> Json:
    """Return the labels of an incident, all but ``severity``: of its subject, and of its scene then."""
    incident, scene = first.incident, first.scene
    subject = incident.subject
    is_own = subject.kind is SubjectKind.VRAMWATCH
    known = {
        "alertname": INCIDENT,
        "incident": incident.id,
        "subject": subject.kind.value,
        "owner": _owner(first),
        "gpu": None if is_own or scene is None else scene.gpu,
        "uuid": None if is_own else subject.gpu,
    }
    if scene is not None:
        known |= {label: getattr(scene, field) for field, label in SCENE_LABELS.items()}
    labels = {name: clean(text) for name, text in known.items() if text}
    return {**_host_labels(host), **labels}


def _owner(transition: Transition) -> str | None:
    subject, scene = transition.incident.subject, transition.scene
    if subject.kind is not SubjectKind.OWNER or not subject.owner:
        return None
    if scene and scene.owner:
        return scene.owner
    known = told_owner(subject.owner)
    return known.name if known else subject.owner


def _host_labels(host: Host) -> Json:
    return {**{name: clean(text) for name, text in host.labels.items()}, "instance": clean(host.name)}


def _annotations(item: Item, host: Host) -> Json:
    incident = item.incident
    return {
        "summary": f"{clean(host.name)}: {title(item)}",
        "description": "\n".join(f"{each}." for each in sentences(item, host)),
        "command": "\n".join(command_lines(item, host)),
        "cause": incident.judgement.cause.value,
        "pattern": incident.judgement.pattern,
        "id": full_id(incident, host),
    }


def _together(came: Mapping[str, Outcome]) -> Outcome:
    """Return what came of all peers: one that took it is enough: a beat tells the others."""
    said = {peer: each.detail if isinstance(each, Delivered) else each.reason for peer, each in came.items()}
    took = [f"{said[peer]} from {peer}" for peer, each in came.items() if isinstance(each, Delivered)]
    others = [f"{peer}: {said[peer]}" for peer, each in came.items() if not isinstance(each, Delivered)]
    if took:
        return Delivered("; ".join((", ".join(took), *(f"not told: {each}" for each in others))))
    again = [each for each in came.values() if isinstance(each, Retry)]
    reason = "; ".join(others)
    if not again:
        return Rejected(reason)
    asked = [each.after for each in again]
    after = None if None in asked else min(each for each in asked if each is not None)
    return Retry(reason, after, any(each.is_uncertain for each in again))


def _address(url: str) -> str:
    """Return ``url``. Errors: ValueError where it cannot be called, or holds a password."""
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ValueError("no address; write one like http://alertmanager:9093")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address with a password in it; write username and password_file")
    return url
