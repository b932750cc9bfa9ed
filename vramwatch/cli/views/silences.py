"""Silences as people see them, and as data."""

from collections.abc import Iterable, Sequence
from datetime import tzinfo

from vramwatch.cli.views.text import Line, Tone, wrap
from vramwatch.cli.when import show_when
from vramwatch.core.policy import OBSERVE
from vramwatch.core.records import Json, moment
from vramwatch.core.silences import Silence
from vramwatch.core.texts import clean
from vramwatch.core.whereabouts import Whereabouts

COLUMNS = ("id", "author", "reason", "since", "since_iso", "until", "until_iso", "matcher")


def silence_lines(silences: Iterable[Silence], now: float, width: int, zone: tzinfo | None) -> list[Line]:
    """Return "s1  owner=train*  until 06:00: the long run (anna, since 22:00)", a line each."""
    return [
        each
        for silence in silences
        for each in wrap(
            _words(silence, now, zone), width, 0, Tone.PLAIN if silence.holds(now) else Tone.FAINT
        )
    ]


def _words(silence: Silence, now: float, zone: tzinfo | None) -> str:
    since, until = (show_when(each, now, zone) for each in (silence.since, silence.until))
    state = "until" if silence.holds(now) else "over since"
    what = clean(str(silence.matcher))
    whose = f"{clean(silence.author)}, since {since}"
    return f"{silence.id}  {what}  {state} {until}: {clean(silence.reason)} ({whose})"


def held_back_words(
    silences: Sequence[Silence], now: float, zone: tzinfo | None, whereabouts: Whereabouts
) -> str:
    """Return what of all that is open is not told now, in a sentence or two; empty: nothing."""
    holding = [each for each in silences if each.holds(now)]
    told = [
        f"Observing until {show_when(each.until, now, zone)}: messages are kept back; "
        f"to end it: {whereabouts.asking('silence expire observe')}."
        for each in holding
        if each.id == OBSERVE
    ]
    others = len(holding) - len(told)
    if others:
        hold = "1 silence holds" if others == 1 else f"{others} silences hold"
        told.append(f"{hold}; {whereabouts.reading('silence list')} shows {'it' if others == 1 else 'them'}.")
    return " ".join(told)


def silence_record(silence: Silence) -> Json:
    return {
        "id": silence.id,
        "author": silence.author,
        "reason": silence.reason,
        **moment("since", silence.since),
        **moment("until", silence.until),
        "matcher": dict(silence.matcher.globs),
    }


def silence_row(silence: Silence) -> tuple[object, ...]:
    """Return one row of COLUMNS."""
    record = silence_record(silence) | {"matcher": clean(str(silence.matcher))}
    texts = {name: clean(record[name]) for name in ("author", "reason")}
    return tuple((record | texts)[name] for name in COLUMNS)
