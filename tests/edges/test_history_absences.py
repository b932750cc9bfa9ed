"""``vramwatch history`` of who comes and goes, and of recordings with holes."""

import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC

import pytest

from tests.histories import ask, whole
from tests.polls import START, gpu, holding, instant, ledger, owner, poll
from vramwatch.cli.finding import Span
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.units import GIB, Bytes
from vramwatch.store import Store

CHAT, OLLAMA = owner("chat"), owner("ollama")
MINUTES = 60
LOADED = frozenset({5, 6, 20, 21, 22, 40})
"""Minutes in which Ollama is there."""


pytestmark = pytest.mark.usefixtures("in_utc")


def record(path, walls, there):
    """A reading at each of ``walls`` (seconds): chat is always there, Ollama where ``there`` says so."""
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        for seq, wall in enumerate(walls, 1):
            ollama = [holding(20, Bytes(6 * GIB), OLLAMA)] if there(wall) else []
            store.write(poll(seq, holding(10, Bytes(10 * GIB), CHAT), *ollama, wall=START + wall))
    return path


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """An hour from 22:13:20 on, a reading each 10 s: Ollama is there in 3 stretches of it."""
    path = tmp_path_factory.mktemp("visits") / "vramwatch.db"
    return record(path, range(0, MINUTES * 60, 10), lambda wall: wall // 60 in LOADED)


# --- who comes and goes -------------------------------------------------------------------------


def test_an_owner_that_comes_and_goes_says_how_often_and_when_it_was_last_there(visits):
    told = "came 3 times, last 22:53; left 3 times, last seen 22:54"
    assert told in whole(visits).stdout
    assert told in whole(visits, "--owner", "ollama").stdout


def test_one_that_is_back_is_said_to_be_present(visits):
    text = ask(visits, "--since", str(START), "--until", str(START + 1230), "--owner", "ollama").stdout
    assert "came 2 times, last 22:33; left 22:20; present at 22:33" in text


def test_one_that_left_as_an_hour_of_the_clock_began_left(tmp_path):
    path = record(tmp_path / "v.db", range(0, 3600, 10), lambda wall: wall // 60 == 3 or 2600 <= wall < 2800)
    assert "came 2 times, last 22:56; left 2 times, last seen 23:00" in whole(path).stdout


def test_one_that_was_always_there_came_and_left_never(visits):
    text = whole(visits, "--owner", "chat").stdout
    assert not re.search("came|left|ended|away|absent", text)


def test_a_step_that_an_owner_left_in_shows_that_it_held_nothing_for_a_part_of_it(visits):
    text = whole(visits, "--owner", "ollama", "--step", "10m").stdout
    rows = re.findall(r"^(22:\d\d) +(\S+ \S+) +(\S+ \S+) +(\S+ \S+) +away ~(\d+)m", text, re.M)
    assert rows == [
        ("22:10", "6.0 GiB", "0 B", "6.0 GiB", "5"),
        ("22:20", "6.0 GiB", "0 B", "6.0 GiB", "10"),
        ("22:30", "6.0 GiB", "0 B", "6.0 GiB", "7"),
        ("22:50", "6.0 GiB", "0 B", "6.0 GiB", "9"),
    ]


def test_steps_in_which_a_returning_owner_was_absent_are_one_line(visits):
    lines = whole(visits, "--owner", "ollama", "--step", "5m").stdout.splitlines()
    assert [line for line in lines if line.endswith("absent")] == [
        "22:25  absent",
        "22:40..22:45  absent",
    ]


def test_a_curve_falls_to_nothing_where_an_owner_is_absent(visits):
    assert re.search(r"^ +0 B ", whole(visits, "--owner", "ollama", "--plot").stdout, re.M)


# --- recordings with holes ------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--owner", "chat"], ["--owner", "chat", "--raw"]])
def test_a_day_without_a_poll_is_said_to_have_no_readings(tmp_path, arguments):
    day = 86400
    walls = [*range(0, 600, 10), *range(day, day + 600, 10)]
    text = whole(record(tmp_path / "v.db", walls, lambda wall: False), *arguments).stdout
    assert re.search(r"^-- 11-14 22:24\S*\.\.11-15 22:13\S* no readings: no poll was made --$", text, re.M)


@pytest.mark.parametrize(("later", "is_stopped"), [(100, False), (300, True)])
def test_a_daemon_that_reads_every_minute_is_not_stopped_before_three_have_passed(
    tmp_path, later, is_stopped
):
    with closing(Store.open(tmp_path / "v.db", "nvml", "0.1.0")) as store:
        store.write(replace(poll(1, holding(10, Bytes(GIB), CHAT)), pace=Pace(60.0, 60.0, 0.0)))
        text = whole(tmp_path / "v.db", "--until", str(START + 1 + later)).stdout
    assert ("the daemon was stopped" in text) is is_stopped


def test_readings_made_seldom_are_no_hole(tmp_path):
    text = whole(record(tmp_path / "v.db", range(0, 86400, 600), lambda wall: False)).stdout
    assert "no poll was made" not in text


@pytest.mark.parametrize("until", [1200, 7200])
def test_a_gpu_whose_readings_end_before_those_of_another_says_when(tmp_path, until):
    with closing(Store.open(tmp_path / "v.db", "nvml", "0.1.0")) as store:
        for seq in range(1, until // 10):
            at = instant(seq, START + seq * 10)
            both = [ledger(at, holding(10, Bytes(GIB), CHAT), on=gpu(number)) for number in (0, 1)]
            store.write(Poll(at, tuple(both if seq < 30 else both[:1])))
    text = whole(tmp_path / "v.db", "--gpu", "1").stdout
    assert re.search(r"^-- 22:18(:\d\d)? ended --$", text, re.M)
    assert "ended" not in whole(tmp_path / "v.db", "--gpu", "0").stdout


# --- what was played ------------------------------------------------------------------------------


def played(path, boot_id, source):
    """A store into which an hour of the past was played, up to 22:20; still open for writing."""
    store = Store.open(path, source, "0.1.0")
    for seq in range(1, 41):
        at = replace(instant(seq, START + seq * 10), boot_id=boot_id)
        store.write(Poll(at, (ledger(at, holding(10, Bytes(GIB), CHAT)),)))
    return store


@pytest.mark.parametrize("boot_id", ["simulated:7:1699978400.000", "replay:night.csv"])
def test_of_what_is_still_being_played_nobody_says_that_a_daemon_was_stopped(tmp_path, boot_id):
    with closing(played(tmp_path / "v.db", boot_id, boot_id.partition(":")[0])):
        assert "no readings" not in ask(tmp_path / "v.db", "--since", str(START)).stdout


def test_a_simulation_that_nobody_plays_any_more_has_no_readings_since(tmp_path):
    played(tmp_path / "v.db", "simulated:7:1699978400.000", "simulated").close()
    text = ask(tmp_path / "v.db", "--since", str(START)).stdout
    assert "..now no readings: the daemon was stopped --" in text


def test_a_recording_that_was_played_to_its_end_ends_there_and_nobody_was_stopped(tmp_path):
    played(tmp_path / "v.db", "replay:night.csv", "replay").close()
    text = ask(tmp_path / "v.db", "--since", str(START)).stdout
    assert "22:20:00..now no readings: the recording ends here --" in text
    later = ask(tmp_path / "v.db", "--at", str(START + 3600)).stdout
    assert "the recording ends here" in later
    assert "stopped" not in text + later


# --- nothing there ------------------------------------------------------------------------------


def test_of_a_span_over_several_days_both_ends_are_told_with_their_day():
    """The second may be of today, whose day is left out where both are."""
    now = START + 2 * 86400.0
    assert str(Span(START, now, now, UTC)) == "2023-11-14 22:13:20 and 2023-11-16 22:13:20"
    assert str(Span(now - 60, now, now, UTC)) == "22:12:20 and 22:13:20"
    assert str(Span(START, START + 60, now, UTC)) == "2023-11-14 22:13:20 and 2023-11-14 22:14:20"


def test_real_readings_after_a_recording_that_was_played_to_its_end_have_one_gap_before_them(tmp_path):
    played(tmp_path / "v.db", "replay:night.csv", "replay").close()
    with closing(Store.open(tmp_path / "v.db", "nvml", "0.1.0")) as store:
        store.write(Poll(instant(99, START + 3600), (ledger(instant(99, START + 3600)),)))
    text = ask(tmp_path / "v.db", "--since", str(START)).stdout
    assert "the recording ends here" in text
    assert "the daemon ended unsaid" not in text
