"""Silences that a person sets, and the quiet hours of a channel."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo
from fnmatch import fnmatchcase

from vramwatch.core.incidents import Incident
from vramwatch.core.scenes import Scene

FIELDS = (
    *(
        "gpu",
        "owner",
        "team",
        "user",
        "unit",
        "container",
        "image",
        "pod",
        "namespace",
        "job",
        "engine",
        "model",
    ),
    *("cause", "pattern", "incident"),
)
"""What of an incident a filter or a silence may name. ``gpu`` is an ordinal or a UUID."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """Field -> glob, as in ``fnmatch`` and case-sensitive; all must match. Empty: everything matches.

    Errors: ValueError for a field that is not among ``FIELDS``.
    """

    globs: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        unknown = sorted(self.globs.keys() - set(FIELDS))
        if unknown:
            raise ValueError(f"no field {', '.join(unknown)}; accepted: {', '.join(FIELDS)}")

    def matches(self, incident: Incident, scene: Scene | None) -> bool:
        """Return whether every glob matches a text of its field; what is not known matches none."""
        texts = texts_of(incident, scene)
        return all(any(fnmatchcase(text, glob) for text in texts[name]) for name, glob in self.globs.items())

    def __str__(self) -> str:
        return " ".join(f"{name}={glob}" for name, glob in self.globs.items()) or "everything"


EVERYTHING = Matcher()


def texts_of(incident: Incident, scene: Scene | None) -> Mapping[str, tuple[str, ...]]:
    """Return field -> the texts by which an incident is known there; empty where nothing is known."""
    judgement, subject = incident.judgement, incident.subject
    told = scene or Scene("", "")
    names = {
        "gpu": (told.gpu, subject.gpu),
        "owner": (told.owner, subject.owner),
        "cause": (judgement.cause.value,),
        "pattern": (judgement.pattern,),
        "incident": (incident.id,),
    }
    others = {name: (getattr(told, name),) for name in FIELDS if name not in names}
    return {name: tuple(filter(None, texts)) for name, texts in {**names, **others}.items()}


@dataclass(frozen=True, slots=True)
class Silence:
    """An operator's "not now". Unix seconds; it holds from ``since`` until before ``until``."""

    id: str
    author: str
    reason: str
    since: float
    until: float
    matcher: Matcher = EVERYTHING

    def holds(self, now: float) -> bool:
        return self.since <= now < self.until


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one time of day until another, past midnight where ``until`` is the earlier; both local.

    ``zone`` None: that of this machine.
    """

    since: time
    until: time
    zone: tzinfo | None = None

    def end(self, now: float) -> float | None:
        """Return when the quiet hours that hold at ``now`` are over, unix seconds; None: none hold."""
        local = datetime.fromtimestamp(now, self.zone)
        for day in (-1, 0):
            date = local.date() + timedelta(days=day)
            begins = datetime.combine(date, self.since, self.zone)
            ends = datetime.combine(date, self.until, self.zone)
            if self.until <= self.since:
                ends = datetime.combine(date + timedelta(days=1), self.until, self.zone)
            if begins.timestamp() <= now < ends.timestamp():
                return ends.timestamp()
        return None
