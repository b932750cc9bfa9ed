"""The chart of an incident: the last hours of its subject, where its GPU is full, and when that will be.

What is drawn is decided here; the drawing itself is ``extras.drawing``'s, in a child, for the extra charts.
"""

import json
from collections.abc import Iterator
from datetime import datetime, tzinfo

from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.messages import COURSE_SPAN, Item, subject_name
from vramwatch.core.records import Json
from vramwatch.core.texts import clean
from vramwatch.core.units import GIB, MIB, show_bytes
from vramwatch.core.wording import BECAUSE
from vramwatch.extras import ExtraError, ask, is_installed

DEADLINE = 30.0
"""Seconds: where matplotlib finds no cache of the system's fonts, it makes one, which takes several."""

HOUR = 3600.0

LOOKS_AHEAD = COURSE_SPAN
"""Seconds after now that are shown at most; an end that lies beyond is told in words."""

LEAST_AHEAD = 1.5 * HOUR

TITLE_MOST = 44
"""Characters of a line of the title that fit at the size in which a phone can show them."""


def chart(item: Item, host: str, now: float, zone: tzinfo | None = None) -> bytes | None:
    """Return the chart of ``item``, made at ``now`` (unix seconds), as PNG.

    None: it has no course, the extra is not installed, or drawing failed or took too long.
    """
    if not any(each is not None for each in item.course) or not is_installed("matplotlib"):
        return None
    try:
        drawn = ask("drawing", json.dumps(picture(item, host, now, zone)).encode(), DEADLINE)
    except ExtraError:
        return None
    return drawn if drawn.startswith(b"\x89PNG") else None


def picture(item: Item, host: str, now: float, zone: tzinfo | None = None) -> Json:
    """Return what is drawn. Times in seconds from ``now``, memory in the unit that is named."""
    known = [each for each in item.course if each is not None]
    full = full_at(item)
    unit, word = (GIB, "GiB") if max(*known, full or 0.0) >= GIB else (MIB, "MiB")
    step = COURSE_SPAN / len(item.course)
    cone = _cone(item, now)
    ahead = _ahead(cone)
    times = [step * (at + 0.5) - COURSE_SPAN for at in range(len(item.course))]
    return {
        "title": _short(f"{subject_name(item.incident.subject, item.transition.scene)} ({clean(host)})"),
        "words": "\n".join(_short(line) for line in _words(item, now, zone)),
        "unit": word,
        "times": times,
        "held": [None if each is None else each / unit for each in item.course],
        "full": None if full is None else full / unit,
        "full_words": "" if full is None else f"GPU full at {show_bytes(round(full))}",
        "cone": list(cone),
        "span": [-COURSE_SPAN, ahead],
        "ticks": [[at - now, word] for at, word in _ticks(now - COURSE_SPAN, now + ahead, zone)],
    }


def full_at(item: Item) -> float | None:
    """Return the bytes at which its subject fills the Gpu while others hold what they do; None: not known."""
    scene = item.transition.scene
    if scene is None or scene.total_bytes is None or scene.used_bytes is None or scene.held_bytes is None:
        return None
    return float(scene.total_bytes - max(0, scene.used_bytes - scene.held_bytes))


def _cone(item: Item, now: float) -> tuple[float, ...]:
    """Return the seconds to the end: early bound, median, late bound; empty: nothing to draw."""
    forecast = item.incident.judgement.forecast
    if item.is_over or not isinstance(forecast, Exhaustion) or forecast.high <= now:
        return ()
    return tuple(max(0.0, each - now) for each in (forecast.low, forecast.at, forecast.high))


def _ahead(cone: tuple[float, ...]) -> float:
    """Return how many seconds after now are shown: up to the late bound, or little where all is far."""
    if not cone:
        return 0.0
    return max(LEAST_AHEAD, min(LOOKS_AHEAD, 1.1 * cone[-1]) if cone[0] < LOOKS_AHEAD else 0.0)


def _words(item: Item, now: float, zone: tzinfo | None) -> tuple[str, ...]:
    """Return what is said of the end, a line each."""
    forecast = item.incident.judgement.forecast
    if item.is_over:
        return (f"over: {BECAUSE[item.transition.reason]}",)
    if isinstance(forecast, Abstention):
        return ("no forecast",)
    at, low, high = (_time(each, now, zone) for each in (forecast.at, forecast.low, forecast.high))
    return f"memory runs out {at}", f"(80% interval: {low} to {high})"


def _time(wall: float, now: float, zone: tzinfo | None) -> str:
    """Return "06:10", with its day where that is not today."""
    moment, today = (datetime.fromtimestamp(each, zone) for each in (wall, now))
    return moment.strftime("%H:%M" if moment.date() == today.date() else "%d %b %H:%M")


def _ticks(since: float, until: float, zone: tzinfo | None) -> Iterator[tuple[float, str]]:
    """Yield whole hours of the clock, two or more apart if the span is long, with their words."""
    apart = HOUR * (2 if until - since > 5 * HOUR else 1)
    offset = datetime.fromtimestamp(since, zone).astimezone(zone).utcoffset()
    shift = offset.total_seconds() if offset else 0.0
    at = -(-(since + shift) // apart) * apart - shift
    while at <= until:
        yield at, datetime.fromtimestamp(at, zone).strftime("%H:%M")
        at += apart


def _short(text: str) -> str:
    return text if len(text) <= TITLE_MOST else f"{text[: TITLE_MOST - 1]}…"
