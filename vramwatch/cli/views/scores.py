"""How a configuration does on incidents that people have marked: for people, and as data."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo

from vramwatch.cli.views.history import readable_width
from vramwatch.cli.views.text import Line, Tone, wrap
from vramwatch.core.marks import Mark, Score
from vramwatch.core.model import Gpu
from vramwatch.core.records import Json, moment
from vramwatch.core.units import show_seconds
from vramwatch.core.wording import clock, subject_words

AS_EARLY = 60.0
"""Seconds of difference that matter to nobody who is called."""

_MARKED = {Mark.FALSE_ALARM: "false alarm", Mark.TRUE_ALARM: "true alarm"}


def score_lines(
    scores: Sequence[Score], gpus: Mapping[str, Gpu], width: int, zone: tzinfo | None
) -> list[Line]:
    """Return for each kind of mark how many of them it fires for, and below that what of each."""
    width = readable_width(width)
    lines: list[Line] = []
    for mark in Mark:
        if words := count_words(scores, mark):
            lines += wrap(f"{words}:", width, 0)
        for each in scores:
            if each.mark is mark:
                which = f"{subject_words(each.subject, gpus)}, opened {clock(each.opened, zone)}"
                lines += wrap(f"{which}: {_answer(each, zone)}", width, 4, _tone(each))
    return lines


def count_words(scores: Sequence[Score], mark: Mark) -> str:
    """Return "Of 3 incidents marked as true alarms it fires for 2"; empty where none is marked so."""
    of_it = [each for each in scores if each.mark is mark]
    if not of_it:
        return ""
    one = len(of_it) == 1
    marked = (
        f"{len(of_it)} incident{'' if one else 's'} marked as {'a ' * one}{_MARKED[mark]}{'' if one else 's'}"
    )
    return f"Of {marked} it fires for {sum(each.fires is not None for each in of_it)}"


def score_record(score: Score) -> Json:
    """Return one object; what tells it from a transition is ``marked``."""
    return {
        "incident": score.incident,
        "gpu": score.subject.gpu,
        "subject": {"kind": str(score.subject.kind), "owner": score.subject.owner},
        "marked": str(score.mark),
        **moment("opened", score.opened),
        **moment("fired", score.fired),
        **moment("fires", score.fires),
        "later_seconds": score.later,
    }


def _answer(score: Score, zone: tzinfo | None) -> str:
    if score.fires is None:
        return "does not fire"
    fires = f"fires {clock(score.fires, zone)}"
    if score.later is None:
        return f"{fires}, and did not then"
    if abs(score.later) < AS_EARLY:
        return f"{fires}, as it did"
    return f"{fires}, {show_seconds(abs(score.later))} {'later' if score.later > 0 else 'earlier'}"


def _tone(score: Score) -> Tone:
    is_right = (score.fires is None) == (score.mark is Mark.FALSE_ALARM)
    return Tone.PLAIN if is_right else Tone.WARNING
