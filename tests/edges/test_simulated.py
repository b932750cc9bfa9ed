"""The simulated source as the daemon meets it: its feed, its clock and its options."""

import threading
import time
from math import inf
from pathlib import Path

import pytest
from pydantic import ValidationError

from vramwatch import families
from vramwatch.core.errors import UsageError
from vramwatch.core.model import Ask, FaultKind, Instant, Readings
from vramwatch.core.ports import Feed
from vramwatch.core.units import Seconds
from vramwatch.scenario.clock import SimulatedClock
from vramwatch.scenario.server import UPTIME
from vramwatch.sources.simulated import Simulated

HOUR = Seconds(3600.0)


class Real:
    """Real seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def clock(real: Real, **options: float) -> SimulatedClock:
    begin = 1_700_000_000.0 - options.get("start", 0.0)
    given = {name: Seconds(value) for name, value in options.items()}
    return SimulatedClock(begin=begin, boot_id="boot", first_seq=7, monotonic=real, **given)


def memory_by_time(feed: Feed, interval: float) -> dict[int, list[int]]:
    """Simulated second -> the bytes that each claim holds, until the feed ends."""
    found = {}
    while at := feed.clock.wait(Seconds(interval)):
        readings = feed.source.read(at, Ask())
        found[round(at.boottime - UPTIME)] = held(readings)
    return found


def held(readings: Readings) -> list[int]:
    return [claim.used or 0 for reading in readings.gpus for claim in reading.claims or ()]


def test_the_source_is_found_by_its_file() -> None:
    assert families.discover("vramwatch.sources")["simulated"] is Simulated


def test_it_is_no_live_source_so_it_wants_a_store_of_its_own() -> None:
    assert Simulated().open(None).live is False


def test_two_hours_pass_without_waiting_and_end() -> None:
    feed = Simulated(speed=inf, start=2 * HOUR, duration=HOUR).open(None)
    assert list(memory_by_time(feed, 60)) == list(range(0, 3601, 60))
    assert feed.clock.wait(Seconds(1)) is None


def test_runs_at_any_polling_rate_and_speed_agree_on_the_moments_they_share() -> None:
    often = memory_by_time(Simulated(speed=inf, start=2 * HOUR, duration=HOUR).open(None), 20)
    seldom = memory_by_time(Simulated(speed=1e6, start=2 * HOUR, duration=HOUR).open(None), 60)
    assert seldom == {moment: often[moment] for moment in seldom}


def test_the_seed_of_the_options_goes_before_that_of_the_scenario() -> None:
    days = [
        memory_by_time(Simulated(speed=inf, start=3 * HOUR, duration=2 * HOUR, seed=seed).open(None), 120)
        for seed in (None, 1, 2)
    ]
    assert days[0] == days[1] != days[2]


def test_seq_begins_where_it_is_told_and_grows_at_each_instant() -> None:
    feed = Simulated(speed=inf, start=HOUR).open(Instant(40, 1.0, 1.0, "another"))
    first, second, now = feed.clock.wait(Seconds(1)), feed.clock.wait(Seconds(1)), feed.clock.now()
    assert first is not None
    assert second is not None
    assert [first.seq, second.seq, now.seq] == [41, 42, 43]
    assert second.boottime - first.boottime == pytest.approx(1.0)
    assert second.wall - first.wall == pytest.approx(1.0)


def test_a_server_lives_on_after_the_newest_poll_of_the_store_whenever_its_daemon_starts_again() -> None:
    simulated = Simulated(speed=inf, start=2 * HOUR, duration=HOUR)
    first = simulated.open(None)
    polled = [first.clock.wait(Seconds(60)) for _ in range(31)]
    newest = polled[-1]
    assert newest is not None
    second = simulated.open(newest)
    following = second.clock.wait(Seconds(60))
    assert following is not None
    assert (following.seq, following.boot_id) == (newest.seq + 1, newest.boot_id)
    assert following.wall - newest.wall == pytest.approx(60)
    assert following.boottime - newest.boottime == 60
    uninterrupted = first.source.read(following, Ask())
    assert second.source.read(following, Ask()) == uninterrupted
    pids = [claim.pid for gpu in uninterrupted.gpus for claim in gpu.claims or ()]
    assert second.people.facts(pids, following) == first.people.facts(pids, following)


def test_what_was_played_to_its_end_has_no_more_than_what_came_since() -> None:
    simulated = Simulated(speed=inf, start=2 * HOUR, duration=HOUR)
    feed, newest = simulated.open(None), None
    while at := feed.clock.wait(Seconds(600)):
        newest = at
    assert simulated.open(newest).clock.wait(Seconds(600)) is None


def test_a_server_that_nobody_watched_for_a_while_is_older_by_then_and_is_read_from_the_present_on() -> None:
    began = time.time() - 9 * HOUR
    first = Simulated(start=9 * HOUR).open(None).clock.wait(Seconds(1))
    assert first is not None
    at = Simulated().open(first).clock.wait(Seconds(1))
    assert at is not None
    assert at.boot_id == first.boot_id
    assert at.boottime - UPTIME == pytest.approx(time.time() - began, abs=60)


@pytest.mark.parametrize("changed", ["seed", "scenario"])
def test_another_server_begins_after_what_is_stored_of_one_before(changed: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("gpus: [{name: toy, total: 8GiB}]\nprocesses: []")
    newest = Simulated(speed=inf, start=HOUR).open(None).clock.wait(Seconds(1))
    assert newest is not None
    other = Simulated(seed=99) if changed == "seed" else Simulated(scenario=mine)
    at = other.model_copy(update={"start": 2 * HOUR}).open(newest).clock.wait(Seconds(1))
    assert at is not None
    assert at.boot_id != newest.boot_id
    assert at.wall == pytest.approx(newest.wall, abs=0.01)
    assert at.boottime == UPTIME


def test_a_past_polled_slowly_misses_no_moment() -> None:
    real = Real()
    hurried = clock(real, start=HOUR, speed=inf)
    walls = []
    for _ in range(3):
        at = hurried.wait(Seconds(10))
        assert at is not None
        walls.append(at.wall)
        real.seconds += 25
    assert [wall - walls[0] for wall in walls] == [0, 10, 20]


def test_the_newest_reading_is_never_in_the_future() -> None:
    real = Real()
    opened = real.seconds
    hurried = clock(real, start=30, speed=inf)
    for _ in range(100):
        at = hurried.wait(Seconds(10))
        assert at is not None
        assert at.wall <= 1_700_000_000.0 + real.seconds - opened
        if at.wall >= 1_700_000_000.0:
            break
        real.seconds += 0.5
    real.seconds += 10
    late = hurried.wait(Seconds(10))
    assert late is not None
    assert late.wall == pytest.approx(at.wall + 10)


def test_in_the_present_a_missed_moment_is_not_caught_up() -> None:
    real = Real()
    present = clock(real)
    first = present.wait(Seconds(1))
    real.seconds += 0.5
    present.wake()
    woken = present.wait(Seconds(1))
    real.seconds += 60
    late = present.wait(Seconds(1))
    assert first is not None
    assert woken is not None
    assert late is not None
    assert [round(at.wall - first.wall, 3) for at in (woken, late)] == [0.5, 60.5]


def test_waiting_in_the_past_lasts_the_interval_divided_by_the_speed() -> None:
    feed = Simulated(speed=50.0, start=HOUR).open(None)
    feed.clock.wait(Seconds(1))
    began = time.monotonic()
    for _ in range(5):
        feed.clock.wait(Seconds(1))
    assert 0.1 <= time.monotonic() - began < 2


@pytest.mark.parametrize("start", [0.0, 3600.0])
def test_stop_from_another_thread_ends_the_wait_and_every_later_one(start: float) -> None:
    feed = Simulated(start=Seconds(start)).open(None)
    feed.clock.wait(Seconds(600))
    threading.Timer(0.05, feed.clock.stop).start()
    assert feed.clock.wait(Seconds(600)) is None
    assert feed.clock.wait(Seconds(600)) is None


def test_released_gpus_are_missing_until_they_are_resumed() -> None:
    feed = Simulated(speed=inf, start=HOUR).open(None)
    at = feed.clock.wait(Seconds(1))
    assert at is not None
    feed.source.release()
    released = feed.source.read(at, Ask())
    assert released.gpus == ()
    assert [missing.fault.kind for missing in released.missing] == [FaultKind.RELEASED] * 4
    feed.source.resume()
    assert len(feed.source.read(at, Ask()).gpus) == 4


def test_durations_are_read_as_people_write_them() -> None:
    options = Simulated.model_validate({"start": "2h", "duration": "1h30m", "speed": 60})
    assert (options.start, options.duration, options.speed) == (7200, 5400, 60)


@pytest.mark.parametrize("wrong", [{"speed": 0}, {"speed": float("nan")}, {"start": "soon"}, {"sped": 1}])
def test_options_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Simulated.model_validate(wrong)


def test_a_scenario_of_ones_own_is_played(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "gpus: [{name: toy, total: 8GiB}]\nprocesses: [{name: a, argv: [a], gpu: 0, memory: {context: 3MiB}}]"
    )
    feed = Simulated(scenario=mine, speed=inf, start=HOUR, duration=Seconds(0)).open(None)
    assert memory_by_time(feed, 1) == {0: [4 * 1024**2]}


def test_a_scenario_that_is_not_one_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        Simulated(scenario=tmp_path).open(None)
    assert refused.value.exit_code == 2
