"""The text of a message, and the same as data. Pure; notifiers choose the form.

A message begins with the host and ends with the command to run there. It is written to be read at three in
the morning: who, how much, since when, how fast, when memory runs out, the evidence, what can be done.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import tzinfo
from enum import StrEnum

from vramwatch.core.advice import advice, commands
from vramwatch.core.attempts import Attempt
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Incident, Severity, State, Subject, Transition
from vramwatch.core.model import SubjectKind
from vramwatch.core.policy import Case, Notice
from vramwatch.core.records import Json, attempt_record, moment, transition_record
from vramwatch.core.scenes import Scene
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes, show_seconds
from vramwatch.core.whereabouts import FOUND, Whereabouts
from vramwatch.core.wording import (
    alternatives_words,
    attempt_words,
    because,
    clock,
    forecast_words,
    rate_words,
    subject_text,
    what_words,
    zone_name,
)

SCHEMA = "vramwatch.message/1"
"""Name and version of what ``record`` returns; the number rises when a reader would have to change."""

OLD_AFTER = 120.0
"""Seconds after which figures are told with their time."""

DETAILED = 5
"""Incidents of one message that are told in full; of the others a line each."""

LISTED = 40
"""Incidents of one message that have a line; the rest is counted."""

COURSE_SPAN, COURSE_STEPS = 6 * 3600.0, 48
"""Seconds that the course of an Item covers, and its values: steps of seven and a half minutes."""

_BLOCKS = "▁▂▃▄▅▆▇█"


class MessageKind(StrEnum):
    INCIDENTS = "incidents"
    TEST = "test"
    DIGEST = "digest"
    HEARTBEAT = "heartbeat"


@dataclass(frozen=True, slots=True)
class Host:
    """Who speaks: the name that people know the machine by, and labels of their choice.

    ``whereabouts``: how commands there come to its daemon and its store.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    whereabouts: Whereabouts = FOUND


@dataclass(frozen=True, slots=True)
class Heard:
    """What a receiver has of an incident: how it stood when the channel first told it, and when it last did.

    ``since``: when it took the first, unix seconds. Counted anew once it has taken that it is over.
    """

    first: Transition
    newest: Transition
    since: float


@dataclass(frozen=True, slots=True)
class Item:
    """One incident within a message.

    ``reference``: what the receiver called the message in which this channel told of the incident before;
    ``siblings``: how many other incidents, still open, were told in that same message. ``course``: bytes
    that its subject held in each step of ``COURSE_SPAN`` up to when the message was made, oldest first; None
    where nobody knows, may be empty. ``heard``: for channels whose notifier ``LAPSES``, where the receiver
    has taken anything of it before. ``told_at``: when it is told, unix seconds; None: when it moved.
    ``attempts``: what was done about it, oldest first.
    """

    notice: Notice
    transition: Transition
    reference: str | None = None
    siblings: int = 0
    course: tuple[float | None, ...] = ()
    heard: Heard | None = None
    told_at: float | None = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def incident(self) -> Incident:
        return self.transition.incident

    @property
    def now(self) -> float:
        """When it is told, or moved: unix seconds."""
        return self.transition.at.wall if self.told_at is None else self.told_at

    @property
    def is_over(self) -> bool:
        return self.incident.state is State.RESOLVED


@dataclass(frozen=True, slots=True)
class Message:
    """What one channel is told at once. ``items`` are empty unless it is about incidents.

    ``key``: the same whenever this very message is sent again, so that a receiver can drop a repetition.
    ``may_be_repeat``: an earlier attempt may have arrived. ``text``: of a test or a digest, for people.
    ``beside``: where the receiver's message is edited, the other incidents that it tells of, as they stand.
    """

    key: str
    host: Host
    made: float  # unix seconds
    kind: MessageKind = MessageKind.INCIDENTS
    items: tuple[Item, ...] = ()
    text: str = ""
    may_be_repeat: bool = False
    beside: tuple[Transition, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether every incident in it is resolved."""
        return bool(self.items) and all(item.is_over for item in self.items)

    @property
    def severity(self) -> Severity:
        """The worst of what is open in it; of what is over, where nothing is open."""
        counted = [item for item in self.items if not item.is_over] or list(self.items)
        worst = any(item.incident.judgement.severity is Severity.CRITICAL for item in counted)
        return Severity.CRITICAL if worst else Severity.WARNING


def headline(message: Message) -> str:
    """Return one line that begins with the host: what a phone shows of the message."""
    host = clean(message.host.name)
    if message.kind is MessageKind.TEST:
        return f"{host}: TEST  vramwatch can reach this channel"
    if message.kind is not MessageKind.INCIDENTS:
        return f"{host}: vramwatch {message.kind}"
    if len(message.items) == 1:
        return f"{host}: {title(message.items[0])}"
    return f"{host}: {_counted(message.items)}"


def title(item: Item) -> str:
    """Return "CRITICAL  chat on GPU 0: a leak, memory runs out in 2h 57m", "RESOLVED  chat on GPU 0: …"."""
    incident = item.incident
    about = f"{subject_name(incident.subject, item.transition.scene)}: {what_words(incident)}"
    if item.is_over and incident.subject.kind is SubjectKind.VRAMWATCH:  # a sentence, that may be long
        return f"RESOLVED  vramwatch: {because(item.transition)}: {what_words(incident)}"
    if item.is_over:
        return f"RESOLVED  {about}, {because(item.transition)}"
    again = "STILL " if item.notice is Notice.REPEATED else ""
    return f"{again}{incident.judgement.severity.upper()}  {about}{_ends(item)}"


def _ends(item: Item) -> str:
    judgement = item.incident.judgement
    forecast = judgement.forecast
    if not isinstance(forecast, Exhaustion):
        return ""
    what = "its budget" if "budget_bytes" in judgement.evidence.numbers else "memory"
    left = forecast.at - item.now
    return f", {what} runs out in {show_seconds(left)}" if left > 0 else f", {what} was to run out by now"


def item_of(case: Case) -> Item:
    """Return an incident as a message has it that tells of it anew."""
    is_over = case.incident.state is State.RESOLVED
    return Item(Notice.RESOLVED if is_over else Notice.OPENED, case.newest)


def subject_name(subject: Subject, scene: Scene | None) -> str:
    """Return "chat on GPU 0", as ``scene`` names both."""
    return subject_text(subject, scene.gpu if scene else subject.gpu, scene.owner if scene else None)


def who(item: Item) -> str:
    """Return who it is, as far as known: "unit llama.service, pid 4100 (python3), user alice, team chat"."""
    scene = item.transition.scene
    if scene is None:
        return ""
    pod = scene.pod and (f"{scene.namespace}/{scene.pod}" if scene.namespace else scene.pod)
    engine = scene.engine and (f"{scene.engine} serving {scene.model}" if scene.model else scene.engine)
    process = scene.pid and (f"{scene.pid} ({scene.program})" if scene.program else str(scene.pid))
    parts = (
        ("unit", scene.unit),
        ("pod", pod),
        ("container", scene.container),
        ("job", scene.job),
        ("", engine),
        ("pid", process),
        ("user", scene.user),
        ("team", scene.team),
    )
    named = ", ".join(f"{name} {clean(text)}".strip() for name, text in parts if text)
    is_left = named and item.incident.subject.kind is SubjectKind.UNATTRIBUTED
    return f"left behind by {named}" if is_left else named


def sentences(item: Item, host: Host, zone: tzinfo | None = None) -> tuple[str, ...]:
    """Return what is to be said of an incident, a sentence or two each; never empty.

    Who, how much, since when and how fast, when it ends, why, what was done, what can be done.
    """
    incident, judgement = item.incident, item.incident.judgement
    told = (
        who(item),
        _amount(item.transition.scene),
        _pace(item, zone),
        _forecast(item, zone),
        f"Why ({judgement.pattern}): {clean(judgement.evidence.sentence)}",
        _done(item),
        _as_of(item, zone),
        "" if item.is_over else alternatives_words(incident.judgement.alternatives),
        "" if item.is_over else advice(incident, host.whereabouts),
    )
    return tuple(each for each in told if each)


def _done(item: Item) -> str:
    """Return what was done about it last, and what the driver says of it; empty: nothing was."""
    return f"What was done: {attempt_words(item.attempts[-1])}" if item.attempts else ""


def _as_of(item: Item, zone: tzinfo | None) -> str:
    """Return of when the figures are, where that is not now: an incident is judged when it moves."""
    moved = item.transition.at.wall
    is_old = item.told_at is not None and item.told_at - moved > OLD_AFTER
    return f"The figures are of {clock(moved, zone)}, when it moved last" if is_old else ""


def _forecast(item: Item, zone: tzinfo | None) -> str:
    """Return when memory runs out, with the time zone; empty where there is nothing that could end."""
    judgement = item.incident.judgement
    forecast = judgement.forecast
    if isinstance(forecast, Exhaustion):
        return f"{forecast_words(judgement, item.is_over, zone, item.now)} {zone_name(forecast.at, zone)}"
    is_growth = judgement.rate is not None
    return forecast_words(judgement, item.is_over, zone, item.now) if is_growth else ""


def _amount(scene: Scene | None) -> str:
    if scene is None or scene.total_bytes is None:
        return ""
    gpu = f"GPU {clean(scene.gpu)} ({clean(scene.gpu_name)})" if scene.gpu_name else f"GPU {clean(scene.gpu)}"
    used = f"{show_bytes(scene.used_bytes)} of {show_bytes(scene.total_bytes)} used on {gpu}"
    return used if scene.held_bytes is None else f"Holds {show_bytes(scene.held_bytes)}; {used}"


def _pace(item: Item, zone: tzinfo | None) -> str:
    incident = item.incident
    rate = rate_words(incident.judgement)
    since = f"since {clock(incident.opened, zone)}"
    if item.is_over:
        lasted = show_seconds(max(0.0, item.transition.at.wall - incident.opened))
        since = f"{since}, for {lasted}, {because(item.transition)}"
    return f"{rate}, {since}" if rate else f"Seen {since}"


def command_lines(item: Item, host: Host) -> tuple[str, ...]:
    """Return the commands to run on the host, the one that explains first; never empty."""
    told = commands(item.incident, item.transition.scene, host.whereabouts)
    return told[:1] if item.is_over else told


def full_id(incident: Incident, host: Host) -> str:
    """Return the incident's id with its host, as receivers that hear of many hosts know it."""
    return f"{incident.id}@{clean(host.name)}"


def plain(message: Message, zone: tzinfo | None = None) -> str:
    """Return the whole message as lines of text, without markup; ends with the command to run and where."""
    lines = [headline(message), *_warnings(message)]
    if message.kind is not MessageKind.INCIDENTS:
        return "\n".join([*lines, message.text]).rstrip()
    is_single = len(message.items) == 1
    for item in message.items[:DETAILED]:
        lines += [""] if is_single else ["", title(item)]
        lines += [f"{each}." for each in sentences(item, message.host, zone)]
        lines += [sparkline(item.course)] if item.course else []
        lines += [f"Incident {full_id(item.incident, message.host)}"]
        lines += [f"On {clean(message.host.name)} run:  {each}" for each in command_lines(item, message.host)]
    rest = message.items[DETAILED:]
    lines += ["", *(f"{title(item)}  [{item.incident.id}]" for item in rest[: LISTED - DETAILED])]
    if len(message.items) > LISTED:
        lines.append(f"and {len(message.items) - LISTED} more")
    if rest:
        lines.append(
            f"On {clean(message.host.name)} run:  {message.host.whereabouts.reading('incidents --open')}"
        )
    return "\n".join(lines).rstrip()


def _warnings(message: Message) -> list[str]:
    return ["(may be a repetition: vramwatch was cut off while sending)"] if message.may_be_repeat else []


def _counted(items: Sequence[Item]) -> str:
    open_ones = [item for item in items if not item.is_over]
    critical = sum(item.incident.judgement.severity is Severity.CRITICAL for item in open_ones)
    parts = []
    if critical:
        parts.append(f"{critical} CRITICAL")
    if len(open_ones) > critical:
        parts.append(f"{len(open_ones) - critical} WARNING")
    if len(items) > len(open_ones):
        parts.append(f"{len(items) - len(open_ones)} RESOLVED")
    names = dict.fromkeys(subject_name(item.incident.subject, item.transition.scene) for item in items)
    return f"{', '.join(parts)}: {_some(names)}"


def _some(names: Iterable[str], most: int = 3) -> str:
    named = list(names)
    more = f" and {len(named) - most} more" if len(named) > most else ""
    return ", ".join(named[:most]) + more


def sparkline(course: Sequence[float | None]) -> str:
    """Return one block a value, low to high, from the least to the most of ``course``; a space: not known."""
    known = [each for each in course if each is not None]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    steps = len(_BLOCKS) - 1
    drawn = (
        " " if each is None else _BLOCKS[round((each - low) / span * steps) if span else 0] for each in course
    )
    return f"{''.join(drawn)}  {show_bytes(round(low))} to {show_bytes(round(max(known)))}"


def record(message: Message) -> Json:
    """Return the message as data, of the form ``SCHEMA``; times in unix seconds and ISO 8601."""
    return {
        "schema": SCHEMA,
        "key": message.key,
        "kind": str(message.kind),
        "host": {"name": message.host.name, "labels": dict(message.host.labels)},
        **moment("time", message.made),
        "may_be_repeat": message.may_be_repeat,
        "headline": headline(message),
        "text": plain(message),
        "incidents": [_item_record(item, message.host) for item in message.items],
    }


def _item_record(item: Item, host: Host) -> Json:
    incident = item.incident
    return {
        **transition_record(item.transition),
        "id": full_id(incident, host),
        "notice": str(item.notice),
        **moment("opened", incident.opened),
        "title": title(item),
        "who": who(item),
        "sentences": list(sentences(item, host)),
        "commands": list(command_lines(item, host)),
        "attempts": [attempt_record(each) for each in item.attempts],
        "scene": asdict(item.transition.scene) if item.transition.scene else None,
    }
