"""The whole chain of one incident, to be read at three in the morning; and the same as data."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

from vramwatch.cli.views.history import readable_width
from vramwatch.cli.views.incidents import MARKS, entry_record, remark_words, tone
from vramwatch.cli.views.text import Line, Tone, broken, line, wrap
from vramwatch.cli.views.words import join_sentences
from vramwatch.core.advice import advice
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Incident, State, Transition
from vramwatch.core.messages import Host, Item, command_lines, full_id, item_of, title, who
from vramwatch.core.policy import Notify, Withheld
from vramwatch.core.records import Json, attempt_record, moment, transition_record
from vramwatch.core.scenes import Scene
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes, show_seconds
from vramwatch.core.verdicts import RuledOut
from vramwatch.core.wording import (
    BY_WORK,
    CAUSES,
    attempt_words,
    because,
    clock,
    forecast_words,
    rate_words,
    what_words,
)
from vramwatch.store import ActionRow, Chain, DeliveryRow, StepRow, WithheldRow


@dataclass(frozen=True, slots=True)
class Course:
    """What the subject held when it was told last, or at first, and at the newest poll.

    Times in unix seconds, bytes; None: it was not there.
    """

    since: float
    then: int | None
    until: float
    now: int | None


_SAID = {
    "z": "so steady a rise is {} standard deviations away from what chance gives (Mann-Kendall)",
    "growth_bytes": "that is {} of growth",
    "late_share": "{} of it came in the second half of that time",
    "votes_falling": "{} pairs say that it fell",
    "minutes_rising": "it rose in {} of those minutes",
    "days": "{} whole days were compared",
    "last_day_bytes": "{} on the newest day",
    "lives": "{} lives of it are known",
    "last_base_bytes": "the newest life settled at {}",
    "floor_then_bytes": "{} were held at rest before that spike",
    "floor_now_bytes": "{} are held at rest now",
    "between_seconds": "one more came every {}",
    "accidents": "accidents of late: {}",
    "held_bytes": "it held {} last",
    "peak_bytes": "{} used on the GPU at most before",
    "interval_factor": "by which the interval is {} times as wide",
    "ranks": "{} ranks in all",
    "ranks_growing": "{} of them grow",
}
"""Numbers that their names and units do not explain, as they are said."""

_TOLD_ELSEWHERE = frozenset({*BY_WORK, "rate_bytes_per_second", "load_share"})
"""Numbers that the sentence or the one on the rate has told, though not to the same digits."""

Part = tuple[str, Sequence[str]]
"""A heading, and the sentences below it; may be empty."""


def last_told(chain: Chain) -> float | None:
    """Return when the newest message about the incident was decided, unix seconds; None: none was."""
    told = [row.wall for row in chain.steps if isinstance(row.step, Notify)]
    return told[-1] if told else None


def why_lines(chain: Chain, course: Course | None, host: Host, width: int, zone: tzinfo | None) -> list[Line]:
    """Return all that is known of an incident; parts of which nothing is known are left out."""
    width, item = readable_width(width), item_of(chain.entry.case)
    item = replace(item, told_at=course.until) if course else item  # the time left is told of the newest poll
    lines = [
        *wrap(title(item), width, 0, tone(item.incident)),
        *wrap(_standing(item, host, zone), width, 0),
    ]
    for heading, told in _parts(chain, item, course, host, zone):
        if told:
            lines += [Line(), line(heading, Tone.STRONG)]
            lines += [each for words in told for each in _hung(words, width)]
    lines += [Line(), line(f"Next, on {clean(host.name)}", Tone.STRONG)]
    return lines + [line(f"  {each}") for each in _next(chain, item, host)]


def _hung(words: str, width: int) -> list[Line]:
    first, *others = broken(words, width - 4) or [""]
    return [line(f"  {first}"), *(line(f"    {each}") for each in others)]


def _standing(item: Item, host: Host, zone: tzinfo | None) -> str:
    incident = item.incident
    since = f"opened {clock(incident.opened, zone)}"
    if incident.state is State.RESOLVED:
        since += f", over after {show_seconds(max(0.0, item.transition.at.wall - incident.opened))}"
    return f"Incident {full_id(incident, host)}, {incident.state}, {since}"


def _parts(
    chain: Chain, item: Item, course: Course | None, host: Host, zone: tzinfo | None
) -> Iterator[Part]:
    incident, judgement = item.incident, item.incident.judgement
    as_well = [f"{CAUSES[each]}: the worker's own figures would tell" for each in judgement.alternatives]
    can_be_done = advice(incident, host.whereabouts)
    yield "Who", [f"{each}." for each in (who(item), *_amounts(item.transition.scene)) if each]
    yield "Evidence", _evidence(incident, zone)
    yield "What was ruled out", list(map(_ruled_out_words, judgement.ruled_out))
    yield "What else it could be", [join_sentences(each) for each in as_well]
    yield "When memory runs out", _forecast(chain, item, zone)
    yield "Timeline", [_move_words(each, zone) for each in chain.transitions]
    yield "Who was told", [_step_words(each, zone) for each in chain.steps] or ["Nobody, so far."]
    yield "What was done about it", [_action_words(each, zone) for each in chain.actions]
    yield "What people said", [remark_words(each, zone) for each in chain.entry.remarks]
    yield "Memory since it opened", [_course_words(course, chain, zone)] if course else []
    yield "What can be done", [join_sentences(can_be_done)] if can_be_done and not item.is_over else []


def _amounts(scene: Scene | None) -> tuple[str, ...]:
    if scene is None or scene.total_bytes is None:
        return ()
    used = f"{show_bytes(scene.used_bytes)} of {show_bytes(scene.total_bytes)} used on GPU {clean(scene.gpu)}"
    held = "" if scene.held_bytes is None else f"Held {show_bytes(scene.held_bytes)} when it moved last"
    return held, f"{used} ({clean(scene.gpu_name)}) then"


def _evidence(incident: Incident, zone: tzinfo | None) -> list[str]:
    judgement, evidence = incident.judgement, incident.judgement.evidence
    since, until = clock(evidence.since, zone), clock(evidence.until, zone)
    others = f"Seen by {', '.join(judgement.others)} too" if judgement.others else ""
    told = (
        f"{judgement.pattern}: {clean(evidence.sentence)}",
        rate_words(judgement),
        _numbers(_without(evidence.numbers, _TOLD_ELSEWHERE), evidence.sentence),
        f"From {since} to {until}, {evidence.count} observation{'' if evidence.count == 1 else 's'}",
        others,
    )
    return [join_sentences(each) for each in told if each]


def _ruled_out_words(ruled_out: RuledOut) -> str:
    some = {name: each for name, each in ruled_out.numbers.items() if round(each)}  # that it is 0 is said
    numbers = _numbers(some, ruled_out.sentence)
    return join_sentences(f"Not {CAUSES[ruled_out.cause]}: {clean(ruled_out.sentence)}", numbers)


def _numbers(numbers: Mapping[str, float], sentence: str) -> str:
    """Return "Span 1h, 53 % of it came in the second half of that time": what decided, in words.

    What ``sentence`` says already is left out.
    """
    told = ((name, *_number(name, value)) for name, value in numbers.items())
    left = [(name, called, value) for name, called, value in told if not _is_said(value, sentence)]
    words = ", ".join(
        _SAID[name].format(value) if name in _SAID else f"{called} {value}" for name, called, value in left
    )
    return words[:1].upper() + words[1:]


def _without(numbers: Mapping[str, float], names: Collection[str]) -> Mapping[str, float]:
    return {name: value for name, value in numbers.items() if name not in names}


def _is_said(value: str, sentence: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(value)}(?!\w|\.\d)", sentence) is not None


def _number(name: str, value: float) -> tuple[str, str]:
    """Return what a number is called, and the number with its unit."""
    what, is_rate, per = name.partition("_bytes_per_")
    if is_rate:
        return _plain(what), f"{show_bytes(round(value))} per {_plain(per)}"
    what, _, unit = name.rpartition("_")
    match unit:
        case "bytes":
            return _plain(what), show_bytes(round(value))
        case "seconds":
            return _plain(what), show_seconds(value)
        case "ratio" | "share":
            return _plain(what), f"{100 * value:.3g} %"
        case _:
            return _plain(name), f"{value:.0f}" if value == round(value) else f"{value:.3g}"


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _forecast(chain: Chain, item: Item, zone: tzinfo | None) -> list[str]:
    """Return the forecast, and how it has moved since it was first made."""
    told = [join_sentences(forecast_words(item.incident.judgement, item.is_over, zone, item.now))]
    made = [(each.at.wall, each.incident.judgement.forecast) for each in chain.transitions]
    ends = [(wall, forecast.at) for wall, forecast in made if isinstance(forecast, Exhaustion)]
    if len({end for _, end in ends}) > 1:
        (first, end), every = ends[0], [end for _, end in ends]
        earliest, latest = clock(min(every), zone), clock(max(every), zone)
        moved = (
            f"At {clock(first, zone)} it was {clock(end, zone)}; since then between {earliest} and {latest}"
        )
        told.append(join_sentences(moved))
    return told


def _move_words(moved: Transition, zone: tzinfo | None) -> str:
    """Return "2026-11-22 03:12 firing, warning: established; memory runs out at 2026-11-22 06:10"."""
    judgement = moved.incident.judgement
    forecast = judgement.forecast
    ends = isinstance(forecast, Exhaustion) and moved.incident.state is not State.RESOLVED
    end = (
        f"; memory runs out at {clock(forecast.at, zone)}"
        if isinstance(forecast, Exhaustion) and ends
        else ""
    )
    how = f"{moved.incident.state}, {judgement.severity}, {what_words(moved.incident)}"
    return f"{clock(moved.at.wall, zone)} {how}: {because(moved)}{end}."


def _step_words(row: StepRow, zone: tzinfo | None) -> str:
    """Return "2026-11-22 03:12 hook, opened: delivered at 03:12:31 (HTTP 200: ok)", or why it was not."""
    step = row.step
    what = f"{clock(row.wall, zone)} {clean(step.channel)}, {step.notice}"
    if isinstance(step, Withheld):
        return join_sentences(f"{what}: withheld ({_plain(step.reason)}): {clean(step.detail)}")
    if row.delivery is None:
        return join_sentences(f"{what}: leaves at {clock(step.due, zone)} or later, with others")
    return join_sentences(f"{what}: {_delivery_words(row.delivery, zone)}")


def _action_words(row: ActionRow, zone: tzinfo | None) -> str:
    """Return "2026-11-22 03:12 ask pid 4104 to clear: gc: recovered (2.1 GiB came back within 1.2s)"."""
    if isinstance(row, WithheldRow):
        held = row.withheld
        remedy = f"{held.remedy}: " if held.remedy else ""
        return join_sentences(
            f"{clock(row.wall, zone)} {remedy}withheld ({_plain(held.hindrance)}): {clean(held.detail)}"
        )
    return join_sentences(f"{clock(row.at, zone)} {attempt_words(row)}")


def _delivery_words(delivery: DeliveryRow, zone: tzinfo | None) -> str:
    answer = f": {clean(delivery.detail)}" if delivery.detail else ""
    attempts = f"{delivery.attempts} attempt{'' if delivery.attempts == 1 else 's'}"
    if delivery.due is not None:
        state = "under way" if delivery.outcome is None else "not taken yet"
        return f"{state}, {attempts}, again at {clock(delivery.due, zone)}{answer}"
    ended = "" if delivery.ended is None else f" at {clock(delivery.ended, zone)}"
    return f"{delivery.outcome}{ended}, {attempts}{answer}"


def _course_words(course: Course, chain: Chain, zone: tzinfo | None) -> str:
    then = "nothing" if course.then is None else show_bytes(course.then)
    now = "nothing" if course.now is None else show_bytes(course.now)
    when = "when it was to be told last" if last_told(chain) is not None else "when it opened"
    moved = show_bytes((course.now or 0) - (course.then or 0), signed=True)
    at, newest = clock(course.since, zone), clock(course.until, zone)
    return f"Held {then} at {at}, {when}; {now} at {newest} ({moved})."


def _next(chain: Chain, item: Item, host: Host) -> list[str]:
    """Return the commands that go on from here."""
    id, there = item.incident.id, host.whereabouts
    if item.is_over and any(each.kind in MARKS for each in chain.entry.remarks):
        return [there.reading("incidents")]
    if item.is_over:
        return [there.asking(f"incidents mark {id} --false-alarm --note TEXT")]
    _, *told = command_lines(item, host)  # the first explains, which this does
    return [
        *told,
        there.asking(f"incidents ack {id} --by NAME --note TEXT"),
        there.both("status"),
    ]


# --- data ---------------------------------------------------------------------------------------


def why_record(chain: Chain, course: Course | None, host: Host) -> Json:
    """Return one object: the incident as it stands, and all that led there in the order of time."""
    item = item_of(chain.entry.case)
    return {
        **entry_record(chain.entry, host),
        "who": who(item),
        "transitions": [transition_record(each) for each in chain.transitions],
        "steps": [_step_record(each) for each in chain.steps],
        "actions": [_action_record(each) for each in chain.actions],
        "memory": _course_record(course) if course else None,
        "commands": _next(chain, item, host),
    }


def _step_record(row: StepRow) -> Json:
    step = row.step
    is_withheld = isinstance(step, Withheld)
    return {
        **moment("time", row.wall),
        "channel": step.channel,
        "notice": str(step.notice),
        **moment("due", None if isinstance(step, Withheld) else step.due),
        "withheld": {"reason": str(step.reason), "detail": step.detail}
        if isinstance(step, Withheld)
        else None,
        "delivery": None if is_withheld or row.delivery is None else _delivery_record(row.delivery),
    }


def _action_record(row: ActionRow) -> Json:
    if isinstance(row, WithheldRow):
        held = row.withheld
        reason = {"reason": str(held.hindrance), "detail": held.detail}
        return {**moment("time", row.wall), "remedy": held.remedy, "withheld": reason, "attempt": None}
    return {
        **moment("time", row.at),
        "remedy": row.apply.remedy,
        "withheld": None,
        "attempt": attempt_record(row),
    }


def _delivery_record(delivery: DeliveryRow) -> Json:
    return {
        "key": delivery.key,
        **moment("made", delivery.made),
        "attempts": delivery.attempts,
        **moment("due", delivery.due),
        "outcome": delivery.outcome,
        "detail": delivery.detail,
        **moment("ended", delivery.ended),
    }


def _course_record(course: Course) -> Json:
    return {
        **moment("since", course.since),
        "then_bytes": course.then,
        **moment("until", course.until),
        "now_bytes": course.now,
    }
