"""Hours close, age and are let go of; what they are asked stays true."""

import random
import sqlite3
import tempfile
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.polls import BOOT, START, gpu, holding, instant, ledger, owner, poll, tenant
from vramwatch.core.model import Fault, FaultKind, Instant, Missing, SubjectKind
from vramwatch.core.poll import Poll
from vramwatch.core.series import USED_BYTES, samples
from vramwatch.core.units import GIB, MIB, Bytes, Seconds
from vramwatch.store import History, Retention, Store
from vramwatch.store.moments import moment as kept_at
from vramwatch.store.opening import open_for_reading
from vramwatch.store.rebuilding import rebuild

HOUR = 3600.0
DAY = 86400.0
LONG = Seconds(60.0)
MIDNIGHT = 1_700_006_400.0  # a whole hour of the clock


def opened(path, **retention):
    return Store.open(path, "nvml", "0.1.0", Retention(**retention))


def tended(store, at):
    """Have everything done that is due."""
    while store.tend(at, LONG):
        pass


def count(path, table):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def used_bytes(path):
    """What the database holds, without what it keeps free."""
    with closing(sqlite3.connect(path)) as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size


def at(seq, wall, boot_id=BOOT):
    return Instant(seq, wall, wall - START, boot_id)


def hourly_polls(hours, every=60.0, first=1, begin=MIDNIGHT):
    """Polls of one GPU with one process whose bytes rise by 2 MiB a poll."""
    for n in range(int(hours * HOUR / every)):
        moment = at(first + n, begin + n * every)
        yield Poll(moment, (ledger(moment, holding(7, Bytes((first + n) * 2 * MIB)), utilization=n % 7 / 7),))


# --- the law: what was written is what is told, whenever hours close ----------------------------


@st.composite
def pasts(draw):
    """Instants whose clock goes on, leaps by a day and stands; what was read; where the daemon began anew."""
    wall, boottime, moments = MIDNIGHT, 100.0, []
    for seq in range(1, draw(st.integers(2, 30)) + 1):
        step = draw(st.sampled_from([0.25, 1.0, 1.001, 5.0, 59.0, 700.0, 1800.0]))
        leap = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 0, -DAY, DAY, -1800.0]))
        wall, boottime = round(wall + step + leap, 3), round(boottime + step, 3)
        moments.append(Instant(seq * 3, wall, boottime, BOOT))
    restarts = draw(st.sets(st.integers(0, len(moments)), max_size=2))
    tends = draw(st.sets(st.integers(0, len(moments)), max_size=6))
    return moments, random.Random(draw(st.integers(0, 999))), restarts, tends


def polls_at(moments, chance):
    """Two GPUs: processes come and go, lists are read now and then, some polls are blind."""
    lists = {}
    for moment in moments:
        ledgers, missing = [], []
        for on in (gpu(0), gpu(1)):
            if chance.random() < 0.05:
                missing.append(Missing(on, Fault(FaultKind.LOST, "fell off the bus")))
                lists.pop(on, None)
                continue
            if on not in lists or chance.random() < 0.4:
                crowd = [
                    holding(
                        pid, Bytes(chance.choice([1, 2, 3]) * GIB), tenant=tenant(pid, owner(str(pid % 2)))
                    )
                    for pid in (11, 12, 13)
                    if chance.random() < 0.7
                ]
                lists[on] = moment, crowd
            listed, crowd = lists[on]
            slow = {}
            if chance.random() < 0.3:
                slow = {"temperature": chance.choice([40.0, 41.5]), "power": chance.random() * 700}
            used = Bytes(chance.choice([10, 20]) * GIB)
            ledgers.append(ledger(moment, *crowd, on=on, used=used, listed=listed, **slow))
        yield Poll(moment, tuple(ledgers), tuple(missing))


def truth(polls):
    """Every sample that was read: series -> [(wall, value)], walls as they are kept."""
    told = defaultdict(list)
    for each in polls:
        for book in each.ledgers:
            for sample in samples(book):
                told[sample.series].append((round(each.at.wall, 3), sample.value))
    return told


def steps_of(told, since, until, step):
    """What ``History.steps`` should say."""
    expected = {}
    for series, points in told.items():
        found = defaultdict(list)
        for wall, value in points:
            if since <= wall <= until:
                found[int((round(wall * 1000) - round(since * 1000)) // round(step * 1000))].append(value)
        if found:
            expected[series] = {
                since + place * step: (len(v), min(v), pytest.approx(sum(v) / len(v)), max(v), v[-1])
                for place, v in found.items()
            }
    return expected


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pasts())
def test_whatever_was_written_comes_back_across_compaction_restarts_and_clock_steps(past):
    moments, chance, restarts, tends = past
    polls = list(polls_at(moments, chance))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vramwatch.db"
        store = opened(path, raw=Seconds(9 * DAY))
        for place, each in enumerate(polls):
            store.write(each)
            if place in restarts:
                store.close()
                store = opened(path, raw=Seconds(9 * DAY))
            if place in tends:
                tended(store, each.at)
        store.close()
        with closing(History.open(path)) as history:
            told = truth(polls)
            answers_as(history, told, min(m.wall for m in moments), max(m.wall for m in moments))
            newest = history.latest()
            assert newest.at == moments[-1]
            assert list(history.polls(0, 3e9)) == polls
            assert [each.at for each in one_by_one(path, moments)] == moments
            assert {book.gpu: book.memory for book in newest.ledgers} == {
                book.gpu: book.memory for book in polls[-1].ledgers
            }


def one_by_one(path, moments):
    """Every poll of a store, each rebuilt by itself."""
    connection, _ = open_for_reading(path)
    with closing(connection):
        for each in moments:
            yield rebuild(connection, kept_at(connection, each.seq))


def answers_as(history, told, since, until):
    """Readings, steps, peaks and the values at moments are those that follow from the truth."""
    rows = history.series()
    read = defaultdict(list)
    for point in history.readings(rows, since, until):
        read[point.series.key].append((point.wall, point.value))
    assert read == told
    for step in (1.0, 60.0, 3600.0, 7200.0, 5 * DAY):
        begin = since // 3600 * 3600 if step % 3600 == 0 else since
        by_id = {row.id: row.key for row in rows}
        found = {
            by_id[id]: {
                each.start: (each.count, each.minimum, each.mean, each.maximum, each.last) for each in steps
            }
            for id, steps in history.steps(rows, since, until, step).items()
        }
        assert found == steps_of(told, begin, until, step)
    for row in rows:
        best = max(value for _, value in told[row.key])
        point = history.peaks([row], since, until)[row.id]
        assert (point.value, point.wall) in [(v, w) for w, v in told[row.key] if v == best]


# --- one thing at a time ------------------------------------------------------------------------


def test_an_hour_that_has_closed_stands_in_plain_columns_and_its_ticks_are_gone(path):
    with closing(opened(path)) as store:
        for each in hourly_polls(3):
            store.write(each)
        tended(store, each.at)
    assert [count(path, table) for table in ("hour", "axis", "raw")] == [3, 2, 2]
    with closing(sqlite3.connect(path)) as connection:
        asked = "SELECT hour, count, first, last, minimum, mean, maximum FROM readable WHERE pid = 7"
        first, second = connection.execute(asked).fetchall()
    rise = 2 * MIB
    assert first == ("2023-11-15 00:00", 60, rise, 60 * rise, rise, 30.5 * rise, 60 * rise)
    assert second[:4] == ("2023-11-15 01:00", 60, 61 * rise, 120 * rise)


def test_tending_goes_in_slices_and_polls_are_written_between_them(path):
    polls = list(hourly_polls(3, every=15.0))
    slices = 0
    with closing(opened(path)) as store:
        for each in polls:
            store.write(each)
            slices += store.tend(each.at, Seconds(0.0))
        tended(store, polls[-1].at)
    assert slices > 4
    with closing(History.open(path)) as history:
        (row,) = history.series(pid=7)
        walls = [point.wall for point in history.readings([row], 0, 2e9)]
    assert walls == [each.at.wall for each in polls]


def test_old_samples_become_minutes_old_minutes_hours_and_old_hours_nothing(path):
    kept = {"raw": Seconds(2 * HOUR), "minutes": Seconds(5 * HOUR), "hours": Seconds(10 * HOUR)}
    polls = list(hourly_polls(16, every=30.0))
    with closing(opened(path, **kept)) as store:
        for each in polls:
            store.write(each)
        tended(store, each.at)
        with closing(History.open(path)) as history:
            (row,) = history.series(pid=7)
            newest = polls[-1].at.wall
            first = next(history.readings([row], 0, 2e9)).wall
            assert 2 * HOUR <= newest - first <= 5 * HOUR
            (steps,) = history.steps([row], 0, 2e9, 60.0).values()
            by_level = {count: sum(step.count == count for step in steps) for count in (2, 120)}
            assert by_level[2] >= 5 * 60
            assert by_level[120] >= 3
            assert sum(step.count for step in steps) == 120 * count(path, "hour")
            assert 10 <= count(path, "hour") <= 13
            changes = [point.value for point in history.samples([row], 0, 2e9)]
            assert changes == sorted(changes)


def test_a_moment_whose_samples_are_gone_is_the_end_of_the_minute_or_hour_before(path):
    kept = {"raw": Seconds(1 * HOUR), "minutes": Seconds(4 * HOUR)}
    polls = list(hourly_polls(9, every=30.0))
    with closing(opened(path, **kept)) as store:
        for each in polls:
            store.write(each)
        tended(store, each.at)
        with closing(History.open(path)) as history:
            told = list(history.polls(0, 2e9))  # of which minutes or hours alone are left is told no poll
            walls = [each.at.wall for each in told]
            assert {later - wall for wall, later in pairwise(walls)} == {30.0}
            assert told == polls[-len(told) :]
            assert HOUR <= walls[-1] - walls[0] <= 3 * HOUR
            for hours, early in ((8.5, 0), (5.51, 60), (1.5, 3600)):
                wall = MIDNIGHT + hours * HOUR
                found = history.at(wall)
                assert 0 <= wall - found.at.wall <= early + 30
                (book,) = found.ledgers
                (told,) = book.holdings
                assert told.held == (round((found.at.wall - MIDNIGHT) / 30) + 1) * 2 * MIB


def test_the_size_is_kept_by_letting_the_oldest_go_first(path):
    chance = random.Random(1)
    with closing(opened(path)) as store:
        for each in hourly_polls(12, every=20.0):
            crowd = (holding(pid, Bytes(chance.randrange(GIB)), owner(str(pid))) for pid in range(7, 11))
            store.write(replace(each, ledgers=(ledger(each.at, *crowd),)))
        tended(store, each.at)
    limit = used_bytes(path) * 9 // 10
    with closing(opened(path, max_size=Bytes(limit))) as store:
        store.write(replace(each, at=at(9999, each.at.wall + 1), ledgers=()))
        tended(store, each.at)
        assert used_bytes(path) <= limit
    with closing(History.open(path)) as history:
        (row,) = history.series(kind=SubjectKind.PROCESS, pid=7)
        first = next(history.readings([row], 0, 2e9)).wall
        assert first > MIDNIGHT
        assert next(history.samples([row], 0, 2e9)).wall < first


def test_a_clock_that_leaps_ahead_for_a_moment_costs_no_history(path):
    with closing(opened(path)) as store:
        polls = list(hourly_polls(2))
        for each in polls:
            store.write(each)
        far = at(900, MIDNIGHT + 3650 * DAY)
        store.write(Poll(far, (ledger(far, holding(7)),)))
        tended(store, far)
        back = at(901, MIDNIGHT + 2 * HOUR)
        store.write(Poll(back, (ledger(back, holding(7)),)))
        tended(store, replace(back, boottime=back.boottime + 100))
    with closing(History.open(path)) as history:
        assert len(list(history.readings(history.series(pid=7), 0, 2e9))) >= len(polls)


# --- forgetting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [{}, {"raw": Seconds(HOUR)}])
def test_an_owner_that_is_forgotten_is_gone_from_every_level_and_the_others_stay(path, kept):
    secret = tenant(8, owner("secret"), title="secret --model", user="ada")
    with closing(opened(path, **kept)) as store:
        for each in hourly_polls(5):
            crowd = holding(7), holding(8, tenant=secret)
            store.write(replace(each, ledgers=(ledger(each.at, *crowd),)))
        tended(store, each.at)
        forgotten = store.forget(owner="unit:secret.service", user=None)
        assert (forgotten.owners, forgotten.processes, forgotten.series) == (1, 1, 2)
        assert forgotten.samples == 2 * 5 * 60
        assert store.forget(owner=None, user="ada").processes == 0
        with closing(History.open(path)) as history:
            assert history.series(owner="unit:secret.service") == []
            (row,) = history.series(pid=7)
            assert sum(step.count for step in history.steps([row], 0, 2e9, HOUR)[row.id]) == 5 * 60
        store.write(replace(poll(999, holding(7), wall=each.at.wall + 60)))
    assert b"secret --model" not in path.read_bytes()


def test_a_users_processes_are_forgotten_and_what_still_runs_is_met_anew(path):
    crowd = [holding(7), holding(8, tenant=tenant(8, owner("llama"), user="ada"))]
    with closing(opened(path)) as store:
        store.write(poll(1, *crowd))
        forgotten = store.forget(None, "ada")
        assert (forgotten.owners, forgotten.processes) == (0, 1)
        store.write(poll(2, *crowd))
        with closing(History.open(path)) as history:
            held = {each.pid for each in history.latest().ledgers[0].holdings}
            assert held == {7, 8}
            assert [p.wall for p in history.readings(history.series(pid=8), 0, 2e9)] == [START + 2]


# --- what waits ---------------------------------------------------------------------------------


def test_polls_that_wait_outlive_a_write_that_fails(path, monkeypatch):
    with closing(opened(path)) as store:
        for seq in range(1, 6):
            store.write(poll(seq, holding(7)))
        real = store._connection.begin
        monkeypatch.setattr(
            store._connection,
            "begin",
            lambda: (_ for _ in ()).throw(sqlite3.OperationalError("disk I/O error")),
        )
        with pytest.raises(Exception, match="disk I/O error"):
            store.write(poll(6, holding(8)))
        monkeypatch.setattr(store._connection, "begin", real)
        store.write(poll(6, holding(8)))
    with closing(History.open(path)) as history:
        (row,) = history.series(kind=SubjectKind.GPU, quantity=USED_BYTES)
        assert [p.wall - START for p in history.readings([row], 0, 2e9)] == [1, 2, 3, 4, 5, 6]
        assert history.at(START + 4).at == instant(4)


def test_after_an_owner_was_forgotten_new_processes_can_come_and_go(path):
    """What was read together with the forgotten and without them is then the same twice."""
    kept, gone = (owner(name) for name in ("kept", "gone"))
    crowds = [(7,), (7, 8), (7, 9), (7,)]
    with closing(opened(path)) as store:
        for seq, pids in enumerate(crowds, 1):
            moment = at(seq, MIDNIGHT + seq)
            held = [holding(pid, Bytes(pid * GIB), kept if pid == 7 else gone) for pid in pids]
            store.write(Poll(moment, (ledger(moment, *held),)))
        store.forget(gone.key)
        for seq in range(5, 9):
            moment = at(seq, MIDNIGHT + seq)
            store.write(
                Poll(moment, (ledger(moment, *(holding(pid, Bytes(GIB), kept) for pid in (7, 10 + seq))),))
            )
    with closing(History.open(path)) as history:
        last = history.latest()
    assert [each.pid for each in last.ledgers[0].holdings] == [7, 18]
