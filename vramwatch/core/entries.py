"""A message as log entries: one for each incident, with a line and its fields. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from vramwatch.core.incidents import Severity
from vramwatch.core.messages import (
    Host,
    Item,
    Message,
    MessageKind,
    command_lines,
    full_id,
    headline,
    sentences,
    subject_name,
    title,
)
from vramwatch.core.texts import clean


class Level(IntEnum):
    """Severities of syslog, as far as we use them (RFC 5424, 6.2.1)."""

    CRITICAL = 2
    WARNING = 4
    NOTICE = 5
    INFO = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """``name``: which it is within its message. ``fields``: name in lower case -> text on one line."""

    name: str
    level: Level
    line: str
    fields: Mapping[str, str]


def entries(message: Message) -> Iterator[Entry]:
    """Yield what a log is told of ``message``, in its order; never nothing."""
    common = {"host": clean(message.host.name), "key": message.key}
    if message.kind is not MessageKind.INCIDENTS:
        line = f"{headline(message)}: {' '.join(message.text.split())}"
        yield Entry(str(message.kind), Level.INFO, line, common | {"kind": str(message.kind)})
        return
    for item in message.items:
        fields = common | _fields(item, message.host) | {"incident": full_id(item.incident, message.host)}
        repeated = ("may be a repetition",) if message.may_be_repeat else ()
        said = ". ".join(
            (*sentences(item, message.host), *repeated, f"Run: {command_lines(item, message.host)[0]}")
        )
        line = f"{common['host']}: {title(item)}  [{fields['incident']}]  {said}"
        yield Entry(fields["incident"], _level(item), line, fields)


def _level(item: Item) -> Level:
    if item.is_over:
        return Level.NOTICE
    return Level.CRITICAL if item.incident.judgement.severity is Severity.CRITICAL else Level.WARNING


def _fields(item: Item, host: Host) -> dict[str, str]:
    incident, scene = item.incident, item.transition.scene
    fields = {
        "notice": str(item.notice),
        "state": str(incident.state),
        "severity": str(incident.judgement.severity),
        "cause": str(incident.judgement.cause),
        "pattern": incident.judgement.pattern,
        "gpu": incident.subject.gpu,
        "subject": subject_name(incident.subject, scene),
        "owner": incident.subject.owner or "",
        "team": (scene.team if scene else None) or "",
        "command": command_lines(item, host)[0],
    }
    return {name: clean(text) for name, text in fields.items() if text}
