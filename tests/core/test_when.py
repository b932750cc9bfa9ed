"""Moments as people write and read them: --since, --until, --at."""

from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vramwatch.cli.when import parse_end, parse_when, show_when
from vramwatch.core.errors import UsageError
from vramwatch.core.records import iso

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 4, 51, 29, tzinfo=BERLIN).timestamp()

ZONES = st.sampled_from([UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")])
NOWS = st.floats(min_value=1.2e9, max_value=4e9)


def at(text: str) -> datetime:
    return datetime.fromtimestamp(parse_when(text, NOW, BERLIN), BERLIN)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("now", "2026-11-23 04:51:29"),
        ("90m", "2026-11-23 03:21:29"),
        ("1h30m", "2026-11-23 03:21:29"),
        ("7d", "2026-11-16 04:51:29"),
        ("03:12", "2026-11-23 03:12"),
        ("3:12", "2026-11-23 03:12"),
        ("03:12:07", "2026-11-23 03:12:07"),
        ("today", "2026-11-23 00:00"),
        ("yesterday", "2026-11-22 00:00"),
        ("yesterday 03:12", "2026-11-22 03:12"),
        ("today 03:12", "2026-11-23 03:12"),
        ("2026-11-23 04:00", "2026-11-23 04:00"),
        ("2026-11-23T04:00", "2026-11-23 04:00"),
        ("2026-11-23", "2026-11-23 00:00"),
        ("2026-11-23T03:00:00Z", "2026-11-23 04:00"),
        ("2026-11-22 22:00:00-05:00", "2026-11-23 04:00"),
        (" 03:12 ", "2026-11-23 03:12"),
    ],
)
def test_a_moment_is_taken_as_people_write_it(written: str, meant: str) -> None:
    assert at(written) == datetime.fromisoformat(meant).replace(tzinfo=BERLIN)


def test_a_bare_time_of_day_later_than_now_was_yesterday() -> None:
    assert at("23:00") == datetime(2026, 11, 22, 23, 0, tzinfo=BERLIN)


def test_unix_seconds_are_taken_as_they_are() -> None:
    assert parse_when("1795406400.5", NOW, BERLIN) == 1795406400.5


def test_of_an_hour_shown_twice_a_bare_time_is_the_later_once_it_has_passed() -> None:
    second_half_past_two = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
    later = datetime(2026, 10, 25, 3, 0, tzinfo=BERLIN).timestamp()
    assert parse_when("02:30", later, BERLIN) == second_half_past_two.timestamp()


@pytest.mark.parametrize(
    "written",
    ["", "soon", "25:00", "03:60", "30", "-5m", "7 days ago", "2026-13-01", "yesterday noon", "9" * 30,
     "9" * 14, "999999w", "1" * 400 + "d", "٣:١٢", "0001-01-01T00:00:00+14:00", "nan", "inf"],
)  # fmt: skip
def test_what_is_no_moment_is_refused_with_the_accepted_forms(written: str) -> None:
    with pytest.raises(UsageError, match="yesterday 03:12") as refusal:
        parse_when(written, NOW, BERLIN)
    assert refusal.value.exit_code == 2
    assert len(str(refusal.value)) < 400


@given(now=NOWS, zone=ZONES, hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_a_bare_time_of_day_has_just_passed(now: float, zone: ZoneInfo, hour: int, minute: int) -> None:
    moment = parse_when(f"{hour:02}:{minute:02}", now, zone)
    assert now - 26 * 3600 < moment <= now


@given(moment=NOWS, now=NOWS, zone=ZONES)
def test_an_iso_string_comes_back_as_the_same_moment(moment: float, now: float, zone: ZoneInfo) -> None:
    assert parse_when(iso(moment), now, zone) == pytest.approx(moment, abs=0.001)


@given(seconds=st.integers(0, 10**9), now=NOWS, zone=ZONES)
def test_a_duration_is_so_long_ago_in_every_zone(seconds: int, now: float, zone: ZoneInfo) -> None:
    assert parse_when(f"{seconds}s", now, zone) == now - seconds


@given(moment=NOWS, zone=ZONES)
def test_what_is_shown_can_be_written_back(moment: float, zone: ZoneInfo) -> None:
    minute = moment - moment % 60
    assume(not datetime.fromtimestamp(minute, zone).fold)  # the clock showed this minute once before
    assert parse_when(show_when(minute, minute + 3 * 86400, zone), minute, zone) == minute


@given(text=st.text(max_size=80), now=NOWS, zone=ZONES)
def test_any_text_is_a_moment_or_refused(text: str, now: float, zone: ZoneInfo) -> None:
    with suppress(UsageError):
        assert 0 <= parse_when(text, now, zone) <= 253_402_300_799


# --- ends, which lie ahead ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("05:00", "2026-11-23 05:00"),
        ("04:51", "2026-11-24 04:51"),
        ("2026-12-01", "2026-12-01 00:00"),
        ("2026-11-23T04:00:00Z", "2026-11-23 05:00"),
        (str(NOW + 60), "2026-11-23 04:52:29"),
    ],
)
def test_an_end_is_the_moment_to_come_that_is_named(written: str, meant: str):
    assert parse_end(written, NOW, BERLIN) == datetime.fromisoformat(meant).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize("written", ["now", "2h", "yesterday", "2026-11-22", "1700000000", "soon", ""])
def test_what_has_passed_or_is_no_moment_is_no_end(written: str):
    with pytest.raises(UsageError, match="no moment to come"):
        parse_end(written, NOW, BERLIN)


@given(now=NOWS, zone=ZONES, hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_a_time_of_day_ends_within_the_next_day(now, zone, hour, minute):
    end = parse_end(f"{hour:02}:{minute:02}", now, zone)
    assert now < end <= now + 26 * 3600  # a day that the clock is set back is longer
