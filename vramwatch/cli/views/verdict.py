"""What a replay found, for people: each incident as it ended up, or that there was none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from math import inf

from vramwatch.cli.views.history import readable_width
from vramwatch.cli.views.text import Line, Tone, columns, left, line, wrap
from vramwatch.cli.views.words import join_sentences
from vramwatch.core.episodes import Tally
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Incident, Severity, State, Subject, Transition
from vramwatch.core.model import Fault, Gpu
from vramwatch.core.sufficiency import Lack
from vramwatch.core.texts import clean
from vramwatch.core.units import show_seconds
from vramwatch.core.verdicts import OUT_OF_MEMORY
from vramwatch.core.wording import (
    BECAUSE,
    CAUSES,
    LACKS,
    alternatives_words,
    clock,
    forecast_words,
    rate_words,
    subject_words,
    zone_name,
)

LITTLE = 3600.0
"""GPU-seconds below which silence says little: loading a model takes minutes, growth takes hours."""

_GPU_TIME = ((86400.0, "GPU-day"), (3600.0, "GPU-hour"), (60.0, "GPU-minute"))

SUBJECTS_NAMED = 4
"""So many subjects that lack the same are written out; the rest are counted."""

Unread = Mapping[tuple[Gpu | None, Fault], int]
"""How often a Gpu, or all of them (None), could not be read, and why."""

Lacking = Sequence[tuple[Subject, Lack]]
"""Of whom there was too little to judge, and what was missing."""


@dataclass(frozen=True, slots=True)
class Course:
    """How one incident went. Unix seconds; ``fired`` and ``resolved`` None: it did not.

    ``turns``: each transition at which it began to fire, was resolved, or was there again after that.
    ``worst``: the incident as it stood when its growth was told last while firing, or told last at all.
    ``again``: as it stood at the end, pending since it last was resolved; None: it did not return so.
    """

    opened: float
    fired: float | None
    resolved: Transition | None
    worst: Incident
    turns: tuple[Transition, ...] = ()
    accidents: tuple[Transition, ...] = ()  # what was told of out-of-memory while memory grew
    again: Incident | None = None

    @property
    def is_over(self) -> bool:
        """Whether what is told of it at length has ended, be it there again by now."""
        return self.resolved is not None or self.again is not None

    @property
    def firings(self) -> int:
        return sum(each.incident.state is State.FIRING for each in self.turns)


def courses(transitions: Sequence[Transition]) -> tuple[Course, ...]:
    """Return how every incident went, in the order of their openings."""
    by_id: dict[str, list[Transition]] = {}
    for transition in transitions:
        by_id.setdefault(transition.incident.id, []).append(transition)
    return tuple(sorted(map(_course, by_id.values()), key=lambda course: course.opened))


def _course(told: Sequence[Transition]) -> Course:
    firing = [each for each in told if each.incident.state is State.FIRING]
    last = told[-1]
    growing = [each for each in firing if each.incident.judgement.rate is not None]
    standing = (growing or firing or told)[-1].incident
    accidents = [each for each in firing if growing and each.incident.judgement.pattern == OUT_OF_MEMORY]
    return Course(
        standing.opened,
        firing[0].at.wall if firing else None,
        last if last.incident.state is State.RESOLVED else None,
        standing,
        tuple(_turns(told)),
        tuple(accidents),
        last.incident if firing and last.incident.state is State.PENDING else None,
    )


def _turns(told: Sequence[Transition]) -> Iterator[Transition]:
    before = None
    for each in told:
        state = each.incident.state
        if state is not before and (state is not State.PENDING or before is State.RESOLVED):
            yield each
        before = state


def played_line(gpus: int, rows: int | None, span: tuple[float, float] | None, zone: tzinfo | None) -> str:
    """Return "1 GPU, 1,440 rows, 2026-11-20 03:11 .. 2026-11-21 03:11 CET (1d)"."""
    if span is None:
        return "No reading is in it"
    counted = [f"{gpus:,} GPU{'' if gpus == 1 else 's'}"]
    if rows is not None:
        counted.append(f"{rows:,} row{'' if rows == 1 else 's'}")
    since, until = (clock(wall, zone) for wall in span)
    lasts = show_seconds(span[1] - span[0])
    return f"{', '.join(counted)}, {since} .. {until} {zone_name(span[1], zone)} ({lasts})"


def unread_lines(unread: Unread, width: int) -> list[Line]:
    """Return "GPU 1 could not be read 12 times: memory.used is [N/A].", what failed most often first."""
    often = sorted(unread.items(), key=lambda each: -each[1])
    left = len(often) - SUBJECTS_NAMED
    told = [
        f"{_unread_what(gpu)} {count:,} time{'' if count == 1 else 's'}: {clean(fault.detail)}"
        for (gpu, fault), count in often[:SUBJECTS_NAMED]
    ]
    rest = [f"{left} more reasons are left out"] if left > 0 else []
    return [each for words in (*told, *rest) for each in wrap(f"{words}.", readable_width(width), 0)]


def released_lines(released: Mapping[Gpu | None, tuple[int, float]], width: int) -> list[Line]:
    """Return "GPU 1 was released once, for 40s.", the longest first; None: all GPUs at once."""
    longest = sorted(released.items(), key=lambda each: -each[1][1])
    told = [
        f"{f'GPU {clean(gpu.ordinal)} was' if gpu else 'All GPUs were'} released "
        f"{'once' if times == 1 else f'{times:,} times'}, for {show_seconds(seconds)}"
        for gpu, (times, seconds) in longest
    ]
    return [each for words in told for each in wrap(f"{words}.", readable_width(width), 0)]


def _unread_what(gpu: Gpu | None) -> str:
    return f"GPU {clean(gpu.ordinal)} could not be read" if gpu else "Nothing could be read"


def minutes_words(until: float, zone: tzinfo | None) -> str:
    """Return the sentence that says of what no samples were left."""
    return (
        f"Up to {clock(until, zone)} no samples are kept: each minute is judged by its least, most and last."
    )


def verdict_lines(
    transitions: Sequence[Transition],
    gpus: Mapping[str, Gpu],
    watched: float,
    width: int,
    zone: tzinfo | None,
    lacking: Lacking = (),
    until: float | None = None,
) -> list[Line]:
    """Return every incident that fired or was seen; where none fired, a line that says so.

    ``until``: the last reading, unix seconds, from which the time left is told; None: it is not told.
    ``lacking``: of whom there was too little to judge, which is told last and is no all-clear.
    """
    width = readable_width(width)
    found = courses(transitions)
    lines = [each for course in found for each in _course_lines(course, gpus, width, zone, until)]
    if not gpus and not found:
        lines += wrap("No memory was read, so nothing is judged.", width, 0)
    elif not any(course.fired is not None for course in found):
        nothing = "Nothing fired" if found or lacking else "No growth that ends in out-of-memory"
        little = "So short a time says little" if watched < LITTLE else ""
        lines += wrap(join_sentences(f"{nothing} in {gpu_time(watched)}", little), width, 0)
    return lines + [each for words in lack_words(lacking, gpus) for each in wrap(words, width, 0)]


def lack_words(lacking: Lacking, gpus: Mapping[str, Gpu]) -> list[str]:
    """Return "chat on GPU 0, GPU 1: too little to judge: why.", a sentence for each reason."""
    by_reason: dict[Lack, list[str]] = {}
    for subject, reason in lacking:
        by_reason.setdefault(reason, []).append(subject_words(subject, gpus))
    return [f"{_some(names)}: too little to judge: {LACKS[why]}." for why, names in by_reason.items()]


def _some(names: Sequence[str]) -> str:
    left = len(names) - SUBJECTS_NAMED
    return ", ".join(names[:SUBJECTS_NAMED]) + (f" and {left} more" if left > 0 else "")


def _course_lines(
    course: Course, gpus: Mapping[str, Gpu], width: int, zone: tzinfo | None, until: float | None
) -> list[Line]:
    judgement = course.worst.judgement
    grade = str(judgement.severity).upper() if course.fired is not None else "seen"
    what = [f"{grade}  {subject_words(course.worst.subject, gpus)}", CAUSES[judgement.cause]]
    pid = "" if judgement.pid is None else f"pid {judgement.pid}"
    told = [
        ", ".join(filter(None, (rate_words(judgement), pid))),
        _times(course, zone),
        f"{judgement.pattern}: {clean(judgement.evidence.sentence)}",
        _beside_words(judgement.others),
        forecast_words(judgement, course.is_over, zone, _moment(until))
        + _left_words(course.worst, course.is_over, until),
        *(
            f"{clock(each.at.wall, zone)}: {clean(each.incident.judgement.evidence.sentence)}"
            for each in course.accidents
        ),
        *(f"Not {CAUSES[each.cause]}: {clean(each.sentence)}" for each in judgement.ruled_out),
        alternatives_words(judgement.alternatives),
        _again_words(course, zone, until),
    ]
    return [
        *wrap(": ".join(what), width, 0, _tone(course)),
        *(each for words in told if words for each in wrap(join_sentences(words), width, 4)),
    ]


def _again_words(course: Course, zone: tzinfo | None, until: float | None) -> str:
    """Return what is told of a growth that is there again and has not fired yet."""
    if course.again is None:
        return ""
    judgement = course.again.judgement
    ends = forecast_words(judgement, False, zone, _moment(until)) + _left_words(course.again, False, until)
    return join_sentences(f"It is there again, pending: {rate_words(judgement)}".rstrip(": "), ends)


def _moment(until: float | None) -> float:
    """Return from when on an end is still to come: the last reading; without one any is."""
    return -inf if until is None else until


def _left_words(incident: Incident, is_over: bool, until: float | None) -> str:
    """Return ", 19h after the last reading" for memory that was still growing then."""
    forecast = incident.judgement.forecast
    if until is None or is_over or not isinstance(forecast, Exhaustion):
        return ""
    left = forecast.at - until
    return f", {show_seconds(left)} after the last reading" if left > 0 else ""


def _beside_words(others: Sequence[str]) -> str:
    return f"Seen by {', '.join(others)} too" if others else ""


def _tone(course: Course) -> Tone:
    if course.fired is None:
        return Tone.FAINT
    return Tone.GHOST if course.worst.judgement.severity is Severity.CRITICAL else Tone.WARNING


def _times(course: Course, zone: tzinfo | None) -> str:
    parts = [f"Opened {clock(course.opened, zone)}"]
    if course.fired is None:
        parts.append("never fired")
    again = ""
    for each in course.turns:
        at = clock(each.at.wall, zone)
        if each.incident.state is State.FIRING:
            parts.append(f"fired {again}{at}")
            again = "again "
        elif each.incident.state is State.PENDING:
            parts.append(f"seen again {at}")
        else:
            parts.append(f"resolved {at}: {BECAUSE[each.reason]}")
    if course.resolved is None:
        parts.append("not resolved by the end" if course.again is None else "pending at the end")
    return ", ".join(parts)


def gpu_time(seconds: float) -> str:
    """Return "1 GPU-day", "2.5 GPU-hours", "0 GPU-minutes"."""
    unit, name = next(
        ((unit, name) for unit, name in _GPU_TIME if seconds >= unit), (_GPU_TIME[-1][0], _GPU_TIME[-1][1])
    )
    count = f"{seconds / unit:.3g}"
    return f"{count} {name}{'' if count == '1' else 's'}"


def tally_line(name: str, tally: Tally) -> str:
    """Return one line: how often it fired, over how long, and how sure that rate is."""
    fired = f"{tally.warning} warning, {tally.critical} critical"
    counted = f"{clean(name)}: {tally.episodes} episode{'' if tally.episodes == 1 else 's'} ({fired})"
    if tally.rate is None or tally.interval is None:
        return f"{counted} in no time that was watched"
    return (
        f"{counted} in {tally.weeks:.3g} GPU-weeks: {tally.rate:.3g} a GPU-week "
        f"(95 %: {tally.interval.low:.3g} to {tally.interval.high:.3g})"
    )


# --- what was said, beside what this configuration says ------------------------------------------


def compared_lines(
    then: Sequence[Transition],
    now: Sequence[Transition],
    gpus: Mapping[str, Gpu],
    width: int,
    zone: tzinfo | None,
) -> list[Line]:
    """Return a table: each incident, what was said of it then, and what this configuration says of it.

    Incidents of one Subject are put beside each other in the order of their openings: another
    configuration may open them at another time. Narrow terminals get a line for each.
    """
    said, says = (_by_subject(courses(each)) for each in (then, now))
    rows = []
    for subject in dict.fromkeys((*said, *says)):
        old, new = said.get(subject, []), says.get(subject, [])
        for place in range(max(len(old), len(new))):
            was, says_now = (_cell(each[place : place + 1], zone) for each in (old, new))
            rows.append((subject_words(subject, gpus), was, says_now))
    if not rows:
        return []
    return _table(rows) if _table_width(rows) <= readable_width(width) else _list(rows)


Compared = tuple[str, str, str]
"""A subject, what was said of it, and what is said now."""

_TITLES: Compared = ("", "as it was said", "as this configuration says")
_GAP = 2  # columns between two of the table


def _widths(rows: Sequence[Compared]) -> list[int]:
    return [max(map(columns, cells)) for cells in zip(_TITLES, *rows, strict=True)]


def _table_width(rows: Sequence[Compared]) -> int:
    return sum(_widths(rows)) + 2 * _GAP


def _table(rows: Sequence[Compared]) -> list[Line]:
    widths = _widths(rows)
    tones = (Tone.FAINT, *(Tone.PLAIN for _ in rows))
    return [
        line("".join(left(cell, width + _GAP, "") for cell, width in zip(row, widths, strict=True)), tone)
        for row, tone in zip((_TITLES, *rows), tones, strict=True)
    ]


def _list(rows: Sequence[Compared]) -> list[Line]:
    _, was, says = _TITLES
    return [
        line(words, tone)
        for subject, old, new in rows
        for words, tone in (
            (subject, Tone.STRONG),
            (f"  {was}: {old}", Tone.PLAIN),
            (f"  {says}: {new}", Tone.PLAIN),
        )
    ]


def _by_subject(found: Sequence[Course]) -> dict[Subject, list[Course]]:
    by_subject: dict[Subject, list[Course]] = {}
    for course in found:
        by_subject.setdefault(course.worst.subject, []).append(course)
    return by_subject


def _cell(found: Sequence[Course], zone: tzinfo | None) -> str:
    if not found:
        return "nothing"
    (course,) = found
    judgement = course.worst.judgement
    if course.fired is None:
        return f"seen {clock(course.opened, zone)}, {judgement.cause}"
    often = f", {course.firings} times" if course.firings > 1 else ""
    return f"{judgement.severity} {clock(course.fired, zone)}, {judgement.cause}{often}"
