"""The course of an incident's subject over the last hours, as history has it, for a message about it."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from vramwatch.core.errors import VramwatchError
from vramwatch.core.incidents import Subject
from vramwatch.core.messages import COURSE_SPAN, COURSE_STEPS, Item
from vramwatch.core.model import SubjectKind
from vramwatch.core.series import USED_BYTES
from vramwatch.store import History, SeriesRow, Step
from vramwatch.store.reading import HOUR

STEP = COURSE_SPAN / COURSE_STEPS

WITHIN = 2.0
"""Seconds that reading may take: a message does not wait for its drawing."""

Course = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Sketching:
    """Fills in the course of an Item. Called on the thread of any channel: each call opens the store anew."""

    path: Path
    within: float = WITHIN

    def __call__(self, item: Item) -> Item:
        """Return ``item`` with its course; with none where the store cannot be read, or not in time."""
        subject = item.incident.subject
        if subject.kind is SubjectKind.VRAMWATCH:
            return item
        try:
            with closing(History.open(self.path)) as history:
                return replace(item, course=course(history, subject, time.monotonic() + self.within))
        except VramwatchError:
            return item


def course(history: History, subject: Subject, until: float) -> Course:
    """Return what ``subject`` held on average in each step up to the newest poll, in bytes.

    Empty where nothing is known of it, or it took longer than to ``until`` (of the monotonic clock): the
    newest hour is read first, and between two hours the clock is looked at.
    Errors: StoreError.
    """
    span = history.span()
    rows = _series(history, subject)
    if span is None or not rows:
        return ()
    end = span[1]
    told: list[float | None] = []
    for back in range(round(COURSE_SPAN / HOUR)):
        if time.monotonic() > until:
            return ()
        begin = end - (back + 1) * HOUR
        steps = history.steps(rows, begin, begin + HOUR, STEP)
        told = [*_sums(steps.values(), begin), *told]
    return tuple(told) if any(each is not None for each in told) else ()


def _series(history: History, subject: Subject) -> list[SeriesRow]:
    """Return the series whose sum ``subject`` holds, as ``scenes.scene_of`` counts it."""
    ghosts = (SubjectKind.GHOST,) if subject.kind is SubjectKind.UNATTRIBUTED else ()
    return [
        row
        for kind in (subject.kind, *ghosts)
        for row in history.series(gpu=subject.gpu, kind=kind, owner=subject.owner, quantity=USED_BYTES)
    ]


def _sums(series: Iterable[Iterable[Step]], begin: float) -> Course:
    """Return the means of all ``series`` added up, for each step of the hour from ``begin`` on."""
    sums: Mapping[int, list[float]] = defaultdict(list)
    for steps in series:
        for step in steps:
            sums[round((step.start - begin) / STEP)].append(step.mean)
    return tuple(max(0.0, sum(sums[at])) if at in sums else None for at in range(round(HOUR / STEP)))
