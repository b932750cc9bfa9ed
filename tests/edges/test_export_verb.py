"""``vramwatch export``, and what a replay of it says beside the original."""

import csv
import gzip
import io
import stat
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tests.polls import BOOT, START, blind, gpu, holding, instant, ledger, tenant
from tests.verdicts import transition
from vramwatch.cli import main
from vramwatch.core.model import (
    Event,
    EventKind,
    Fault,
    FaultKind,
    Gauge,
    Missing,
    Origin,
    Owner,
    OwnerKind,
    ProcessFacts,
    ProcessKey,
    Tenant,
)
from vramwatch.core.poll import Poll
from vramwatch.core.units import GIB, MIB, Bytes, Seconds, show_bytes
from vramwatch.recording.export import HEADER
from vramwatch.store import History, Retention, Store

CHAT = Owner("workload:prod/chat/server", "prod/chat", OwnerKind.WORKLOAD)
TRAIN = Owner("slurm:alice/train", "alice/train", OwnerKind.SLURM)
RULED = Owner("rule:search", "search", OwnerKind.RULE)
BARE = Owner("program:1000/app.py", "app.py", OwnerKind.PROGRAM)
GONE = Fault(FaultKind.HUNG, "no answer")


pytestmark = pytest.mark.usefixtures("in_utc")


def of(pid, who, started=1_699_000_000.25):
    facts = ProcessFacts(ProcessKey(BOOT, pid, 4242), name="python", title="python", started=started)
    return Tenant(facts, who)


def polls():
    """Two GPUs for 200 s: owners of four kinds, a job that ends, a pid that comes back, gaps, an accident."""
    for seq in range(1, 200):
        at = instant(seq)
        chat = holding(10, Bytes(10 * GIB + seq * MIB), tenant=of(10, CHAT))
        others = [holding(20, Bytes(5 * GIB), tenant=of(20, TRAIN))] if seq < 90 else []
        if seq >= 120:
            again = replace(of(20, RULED), facts=replace(of(20, RULED).facts, key=ProcessKey(BOOT, 20, 9999)))
            others = [holding(20, Bytes(GIB), tenant=again)]
        first = ledger(at, chat, *others, utilization=seq / 200, gauges=(Gauge(10, "engine_kv_bytes", seq),))
        second = ledger(at, holding(30, Bytes(2 * GIB), tenant=of(30, BARE, None)), on=gpu(1))
        events = (Event(EventKind.OUT_OF_MEMORY, "a process ran out", gpu(0).uuid),) if seq == 60 else ()
        if seq == 70:  # which the process's own count tells in a recording: not a second accident
            events = (Event(EventKind.OUT_OF_MEMORY, "ooms=1", gpu(0).uuid, pid=10, origin=Origin.WORKER),)
        if 40 <= seq < 50:
            yield blind(seq, GONE, gpu(1), first)
        elif 150 <= seq < 160:
            yield blind(seq, GONE)
        else:
            yield Poll(at, (first, second), events=events)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "vramwatch.db"
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        for each in polls():
            store.write(each)
    return path


def call(verb, path, *arguments, code=0):
    result = CliRunner().invoke(main, [verb, "--store", str(path), *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def export(path, *arguments):
    return call("export", path, "--since", str(START), *arguments)


def rows(path, *arguments):
    return list(csv.DictReader(io.StringIO(export(path, *arguments).stdout)))


def test_incidents_change_nothing_of_an_export(path, tmp_path):
    judged = tmp_path / "judged.db"
    with closing(Store.open(judged, "nvml", "0.1.0")) as store:
        for each in polls():
            moves = (transition(each.at),) if each.at.seq % 10 == 0 else ()
            store.write(replace(each, transitions=moves))
            if each.at.seq % 50 == 0:
                store.write_checkpoint(each.at, {"polls": each.at.seq})
    assert export(judged).stdout == export(path).stdout


# --- and back -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replayed(path, tmp_path_factory):
    """The history that a replay of the export makes, by way of the verbs."""
    folder = tmp_path_factory.mktemp("replayed")
    export(path, "-o", str(folder / "day.csv.gz"))
    result = CliRunner().invoke(
        main,
        [
            *("run", "--source", "replay", str(folder / "day.csv.gz"), "--store", str(folder / "day.db")),
            *("--set", "http.listen=null", "--set", f"control.socket={folder / 'control.sock'}"),
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    return folder / "day.db"


def books(path, wall):
    """Who held what at ``wall``, GPU by GPU."""
    with closing(History.open(path)) as history:
        poll = history.at(wall)
    return {
        each.gpu.uuid: (
            each.memory,
            each.unattributed,
            each.reading.utilization,
            {(held.pid, held.held, held.tenant.owner.key, held.tenant.owner.name) for held in each.holdings},
            {(gauge.pid, gauge.quantity, gauge.value) for gauge in each.reading.gauges},
        )
        for each in poll.ledgers
    }


@pytest.mark.parametrize("seq", [1, 39, 45, 50, 60, 89, 91, 119, 120, 149, 155, 160, 199])
def test_a_replay_of_an_export_holds_the_same_books_at_any_moment(path, replayed, seq):
    assert books(replayed, START + seq + 0.5) == books(path, START + seq + 0.5)


def test_a_replay_of_an_export_knows_the_same_owners(path, replayed):
    known = []
    for each in (path, replayed):
        with closing(History.open(each)) as history:
            known.append({row.owner for row in history.series() if row.owner})
    assert known[0] == known[1] == {CHAT, TRAIN, RULED, BARE}


def test_a_replay_of_an_export_is_blind_when_the_original_was(path, replayed):
    with closing(History.open(replayed)) as history:
        gaps = [
            (gap.gpu, gap.since - START, gap.until and gap.until - START, gap.detail)
            for gap in history.gaps(0, 2e9)
        ]
    assert gaps[:2] == [(gpu(1).uuid, 40, 50, "driver_hung"), (None, 150, 160, "driver_hung")]


def test_a_replay_of_an_export_tells_the_same_accident(replayed):
    with closing(History.open(replayed)) as history:
        events = history.events(0, 2e9)
    assert [(row.wall, row.event.gpu) for row in events if row.event.kind is EventKind.OUT_OF_MEMORY] == [
        (START + 60, gpu(0).uuid)
    ]


# --- the rows -----------------------------------------------------------------------------------


def test_rows_are_whole_gpus_and_processes_at_the_times_at_which_they_were_read(path):
    told = rows(path)
    assert tuple(told[0]) == HEADER
    at_first = [row for row in told if row["time"] == str(START + 1)]
    assert [(row["gpu"], row["pid"], row["used_bytes"]) for row in at_first] == [
        ("GPU-00000000", "", str(15 * GIB + MIB + 10 * MIB)),
        ("GPU-00000001", "", str(2 * GIB + 10 * MIB)),
        ("GPU-00000000", "10", str(10 * GIB + MIB)),
        ("GPU-00000000", "20", str(5 * GIB)),
        ("GPU-00000001", "30", str(2 * GIB)),
    ]
    assert at_first[2]["owner"] == CHAT.key
    assert at_first[2]["process_start"] == "1699000000.25"
    assert float(at_first[2]["engine_kv_bytes"]) == 1
    times = [float(row["time"]) for row in told]
    assert times == sorted(times)


def test_a_process_that_left_has_an_exit_and_a_new_life_a_claim(path):
    told = [(float(row["time"]) - START, row["event"]) for row in rows(path) if row["pid"] == "20"]
    assert (90, "exit") in told
    assert [event for time, event in told if time == 120] == [""]


def test_a_pid_that_is_another_process_from_one_list_to_the_next_restarted(tmp_path):
    with closing(Store.open(tmp_path / "v.db", "nvml", "0.1.0")) as store:
        for seq in range(1, 6):
            life = tenant(7, start_ticks=100 if seq < 3 else 200)
            store.write(Poll(instant(seq), (ledger(instant(seq), holding(7, Bytes(GIB), tenant=life)),)))
    told = [(float(row["time"]) - START, row["event"]) for row in rows(tmp_path / "v.db") if row["pid"]]
    assert told == [(1, ""), (2, ""), (3, "restart"), (4, ""), (5, "")]


def test_gpus_that_are_lost_together_have_one_row_each_at_a_time(tmp_path):
    with closing(Store.open(tmp_path / "v.db", "nvml", "0.1.0")) as store:
        for seq in range(1, 20):
            at = instant(seq)
            if 5 <= seq < 12:
                lost = (Missing(gpu(0), GONE), Missing(gpu(1), GONE))[: 1 if seq > 8 else 2]
                there = (ledger(at, on=gpu(1)),) if seq > 8 else ()
                store.write(Poll(at, there, lost))
            else:
                store.write(Poll(at, (ledger(at), ledger(at, on=gpu(1)))))
    told = [
        (float(row["time"]) - START, row["gpu"][-1])
        for row in rows(tmp_path / "v.db")
        if "hung" in row["event"]
    ]
    assert told == [(5, "0"), (5, "1"), (9, "0"), (10, "0"), (11, "0")]


def test_one_gpu_and_one_owner_can_be_asked_for(path):
    assert {row["gpu"] for row in rows(path, "--gpu", "1") if row["gpu"]} == {"GPU-00000001"}
    assert {row["pid"] for row in rows(path, "--owner", "alice/*")} == {"", "20"}


def test_a_list_that_was_not_read_is_not_made_up(tmp_path):
    with closing(Store.open(tmp_path / "v.db", "nvml", "0.1.0")) as store:
        listed = instant(1)
        for seq in range(1, 10):
            at = instant(seq)
            store.write(Poll(at, (ledger(at, holding(7, Bytes(GIB)), listed=listed),)))
    told = rows(tmp_path / "v.db")
    assert sum(row["pid"] == "7" for row in told) == 1
    assert sum(row["pid"] == "" and row["used_bytes"] != "" for row in told) == 9


def test_a_clock_that_was_set_back_leaves_no_row_out_of_order(tmp_path):
    with closing(Store.open(tmp_path / "v.db", "nvml", "0.1.0")) as store:
        for seq, wall in enumerate((100, 101, 102, 50, 51, 103, 104), start=1):
            at = instant(seq, START + wall)
            store.write(Poll(at, (ledger(at, holding(7, Bytes(GIB))),)))
    times = [float(row["time"]) for row in rows(tmp_path / "v.db") if row["pid"]]
    assert times == sorted(times)
    assert {START + 102, START + 104} <= set(times)


# --- the file -----------------------------------------------------------------------------------


def test_a_file_is_for_its_owner_alone_and_packed_if_its_name_says_so(path, tmp_path):
    export(path, "-o", str(tmp_path / "day.csv"))
    export(path, "-o", str(tmp_path / "day.csv.gz"))
    plain = (tmp_path / "day.csv").read_bytes()
    assert gzip.decompress((tmp_path / "day.csv.gz").read_bytes()) == plain
    assert plain.decode() == export(path).stdout
    assert stat.S_IMODE((tmp_path / "day.csv").stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["day.csv", "day.csv.gz"]


def test_a_place_that_cannot_be_written_is_named(path, tmp_path):
    result = call("export", path, "--since", str(START), "-o", str(tmp_path / "none" / "day.csv"), code=1)
    assert "day.csv: cannot be written: No such file or directory" in result.stderr


def test_a_span_without_readings_says_so_and_leaves_the_header(path):
    result = call("export", path, "--since", "1h")
    assert result.stdout == ",".join(HEADER) + "\n"
    assert "no sample is kept of that time" in result.stderr


def test_where_samples_are_gone_it_says_from_when_on_there_are_some(tmp_path):
    retention = Retention(raw=Seconds(3600.0))
    with closing(Store.open(tmp_path / "v.db", "nvml", "0.1.0", retention)) as store:
        for seq in range(1, 6 * 60):
            at = instant(seq, START + 60 * seq)
            store.write(Poll(at, (ledger(at, holding(7, Bytes(GIB))),)))
        while store.tend(at, Seconds(1.0)):
            pass
    result = export(tmp_path / "v.db")
    assert "samples are kept from 2023-11-15 0" in result.stderr
    assert 0 < result.stdout.count("\n") < 6 * 60


def test_what_was_written_to_a_file_is_told_with_its_rows_its_span_and_its_size(path, tmp_path):
    file = tmp_path / "day.csv"
    result = call("export", path, "--since", str(START), "-o", str(file))
    rows = len(file.read_text().splitlines()) - 1
    assert rows > 100
    size = show_bytes(file.stat().st_size)
    assert f"{file}: {rows:,} rows, 2023-11-14 22:13 to 2023-11-14 22:16, {size}" in result.stderr
    assert result.stdout == ""
