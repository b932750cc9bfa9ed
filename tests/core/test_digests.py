"""When a digest is due, and what it says."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.telling import move
from vramwatch.core.digests import MOST, Digest, Headroom, Holder, Noted, Period, digest_text, due
from vramwatch.core.messages import Host, Item
from vramwatch.core.policy import Notice
from vramwatch.core.units import GIB

EIGHT = time(8)
HOST = Host("gpu7")
ZONES = st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")])


def wall(text, zone=UTC):
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def span(last, now, period=Period.DAILY):
    found = due(wall(last), wall(now), period, EIGHT, UTC)
    return found and tuple(datetime.fromtimestamp(each, UTC).strftime("%a %d %H:%M") for each in found)


@pytest.mark.parametrize(
    ("last", "now", "told"),
    [
        ("2026-11-24 08:00:30", "2026-11-25 07:59", None),
        ("2026-11-24 08:00:30", "2026-11-25 08:00", ("Tue 24 08:00", "Wed 25 08:00")),
        ("2026-11-25 08:00:30", "2026-11-25 23:00", None),
        ("2026-11-20 08:00:30", "2026-11-25 07:00", ("Mon 23 08:00", "Tue 24 08:00")),  # it was down
        ("2026-11-25 09:00", "2026-11-25 12:00", None),  # a service that began today
    ],
)
def test_a_daily_digest_is_due_once_a_day_at_its_time(last, now, told):
    assert span(last, now) == told


@pytest.mark.parametrize(
    ("last", "now", "told"),
    [
        ("2026-11-16 08:01", "2026-11-23 07:59", None),  # a Monday
        ("2026-11-16 08:01", "2026-11-23 08:00", ("Mon 16 08:00", "Mon 23 08:00")),
        ("2026-11-16 08:01", "2026-11-26 12:00", ("Mon 16 08:00", "Mon 23 08:00")),
        ("2026-11-23 08:01", "2026-11-29 12:00", None),
    ],
)
def test_a_weekly_digest_is_due_on_mondays(last, now, told):
    assert span(last, now, Period.WEEKLY) == told


@given(now=st.floats(1.2e9, 4e9), zone=ZONES, period=st.sampled_from(Period), hour=st.integers(0, 23))
def test_what_was_just_told_is_not_due_again_and_a_span_is_as_long_as_its_period(now, zone, period, hour):
    found = due(0.0, now, period, time(hour, 30), zone)
    assert found is not None
    since, until = found
    length = timedelta(days=7 if period is Period.WEEKLY else 1).total_seconds()
    assert until <= now < until + length + 3600
    assert abs(until - since - length) <= 3600  # the clock may be set on or back between
    assert due(now, now, period, time(hour, 30), zone) is None


def noted(**more):
    return Noted(Item(Notice.OPENED, move()), **more)


def test_it_says_what_fired_what_was_told_to_nobody_who_grows_who_idles_and_what_room_is_left():
    digest = Digest(
        wall("2026-11-24 08:00"),
        wall("2026-11-25 08:00"),
        (noted(told=("hook", "ops")),),
        (noted(withheld="withheld (observe): observing for 6d more"),),
        (),
        (Holder("chat", "0", 17 * GIB, 2 * GIB),),
        (Holder("train", "1", 40 * GIB, idle=6 * 3600.0),),
        (Headroom("0", "NVIDIA H100", 80 * GIB, 70 * GIB),),
    )
    assert digest_text(digest, HOST, UTC).splitlines() == [
        "From 2026-11-24 08:00 to 2026-11-25 08:00.",
        "",
        "Fired",
        "  WARNING  chat on GPU 0: a leak  [c0ffee00beef], told to hook, ops",
        "",
        "Fired, and was told to nobody",
        "  WARNING  chat on GPU 0: a leak  [c0ffee00beef], withheld (observe): observing for 6d more",
        "",
        "Slower growth, noted",
        "  nothing",
        "",
        "Has grown most",
        "  chat on GPU 0: +2.0 GiB, holds 17.0 GiB",
        "",
        "Memory that is held without work",
        "  train on GPU 1: 40.0 GiB, no work on it for 6h",
        "",
        "Room",
        "  GPU 0 (NVIDIA H100): 10.0 GiB of 80.0 GiB were never used",
        "",
        "On gpu7 run:  vramwatch incidents",
    ]


def test_a_long_list_is_counted_and_a_foreign_name_writes_no_line_of_its_own():
    many = tuple(Holder(f"job{n}\n\x1b[31mFired", "0", GIB, GIB) for n in range(MOST + 3))
    lines = digest_text(Digest(0.0, 1.0, growers=many), HOST, UTC).splitlines()
    assert "  and 3 more" in lines
    assert lines.count("Fired") == 1
    assert not any("\x1b" in each for each in lines)
