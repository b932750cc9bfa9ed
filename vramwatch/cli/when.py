"""Moments as people write and read them."""

import re
from datetime import date, datetime, time, timedelta, tzinfo

from vramwatch.core.errors import UsageError
from vramwatch.core.units import parse_seconds

ACCEPTED = (
    '7d, 90m or 1h30m (so long ago), 03:12, "yesterday 03:12", "2026-11-23 04:00", '
    "2026-11-23T04:00:00Z, unix seconds, or: now, today, yesterday"
)

ACCEPTED_ENDS = '03:12, "2026-11-23 04:00", 2026-11-23T04:00:00Z, or unix seconds'

LONGEST = 64
"""More characters than any accepted form has."""

EARLIEST_UNIX = 100_000_000
"""A smaller bare number is taken for a forgotten unit ("30"), not for a day in the early seventies."""

LATEST = 253_402_300_799.0
"""The end of the year 9999, after which ``datetime`` has no dates."""

_UNIX = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_ON_A_DAY = re.compile(r"(today|yesterday)(?:[ T]+(\S+))?", re.ASCII)
_DATED = re.compile(r"\d{4}-\d\d-\d\d([ T].+)?", re.ASCII)


def parse_when(text: str, now: float, zone: tzinfo | None) -> float:
    """Return the moment that ``text`` names, in unix seconds.

    ``zone`` is where a time without a zone counts; None: the system's. A bare time of day is its most
    recent occurrence, a bare day its first moment. Of an hour that the clock shows twice, the first
    counts, save for a bare time of day.

    Errors: UsageError with the accepted forms.
    """
    written = text.strip()
    moment = _moment(written, now, zone) if len(written) <= LONGEST else None
    if moment is None or not 0 <= moment <= LATEST:
        raise UsageError(f"{text[:LONGEST]!r} is not a moment; write {ACCEPTED}")
    return moment


def parse_end(text: str, now: float, zone: tzinfo | None) -> float:
    """Return the moment to come that ``text`` names, in unix seconds: a time of day is its next occurrence.

    Otherwise as ``parse_when``. Errors: UsageError with the accepted forms, or where it has passed.
    """
    at = _time_of_day(text.strip())
    if at is not None:
        days = (_day_of(now, zone) + timedelta(days=n) for n in (0, 1))
        return min(moment for day in days if (moment := _unix(day, at, zone)) > now)
    moment = (
        parse_when(text, now, zone)
        if _DATED.fullmatch(text.strip()) or _UNIX.fullmatch(text.strip())
        else 0.0
    )
    if moment <= now:
        raise UsageError(f"{text[:LONGEST]!r} is no moment to come; write {ACCEPTED_ENDS}")
    return moment


def parse_span(since: str, until: str, now: float, zone: tzinfo | None) -> tuple[float, float]:
    """Return the moments of ``--since`` and ``--until``, neither after ``now``. Errors: UsageError."""
    begin, end = parse_when(since, now, zone), min(parse_when(until, now, zone), now)
    if begin >= end:
        raise UsageError(f"nothing lies between --since {since} and --until {until}; --since must be earlier")
    return begin, end


def _moment(written: str, now: float, zone: tzinfo | None) -> float | None:
    """Return the moment in unix seconds, bounds unchecked; None if no form fits."""
    if _UNIX.fullmatch(written):
        return float(written) if float(written) >= EARLIEST_UNIX else None
    if at := _time_of_day(written):
        return _most_recent(at, now, zone)
    if day := _ON_A_DAY.fullmatch(written):
        return _on_a_day(day[1], day[2], now, zone)
    if _DATED.fullmatch(written):
        return _dated(written, zone)
    try:
        return now - (0.0 if written == "now" else parse_seconds(written))
    except ValueError:
        return None


def _time_of_day(written: str) -> time | None:
    match = _TIME_OF_DAY.fullmatch(written)
    return time(int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def _most_recent(at: time, now: float, zone: tzinfo | None) -> float | None:
    today = _day_of(now, zone)
    days = (today, today - timedelta(days=1), today - timedelta(days=2))
    candidates = (_unix(day, at.replace(fold=fold), zone) for day in days for fold in (0, 1))
    return max((moment for moment in candidates if moment <= now), default=None)


def _on_a_day(name: str, written_time: str | None, now: float, zone: tzinfo | None) -> float | None:
    at = _time_of_day(written_time) if written_time else time()
    if at is None:
        return None
    return _unix(_day_of(now, zone) - timedelta(days=name == "yesterday"), at, zone)


def _dated(written: str, zone: tzinfo | None) -> float | None:
    try:
        moment = datetime.fromisoformat(written)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        return None


def _day_of(now: float, zone: tzinfo | None) -> date:
    return datetime.fromtimestamp(now, zone).date()


def _unix(day: date, at: time, zone: tzinfo | None) -> float:
    return datetime.combine(day, at, tzinfo=zone).timestamp()


def show_when(moment: float, now: float, zone: tzinfo | None, seconds: bool = False) -> str:
    """Return ``moment`` (unix seconds) for people: "03:12" today, else "2026-11-22 03:12"."""
    local = datetime.fromtimestamp(moment, zone)
    day = "" if local.date() == _day_of(now, zone) else "%Y-%m-%d "
    return local.strftime(f"{day}%H:%M:%S" if seconds else f"{day}%H:%M")
