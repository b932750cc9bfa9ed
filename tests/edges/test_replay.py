"""The replay source: recorded files as the readings that were once made."""

import gzip
import os
import re
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from vramwatch import families
from vramwatch.cli import main
from vramwatch.core.errors import UsageError
from vramwatch.core.model import Ask, EventKind, FaultKind, Instant, ProcessState, Reading, Readings
from vramwatch.core.units import GIB, MIB, Seconds
from vramwatch.recording import form
from vramwatch.recording.lines import BLOCK
from vramwatch.recording.long_form import GAUGES
from vramwatch.sources.replay import Replay

TOTAL = 24 * GIB
PLAIN = "time,gpu,pid,used_bytes,total_bytes"
GPU_LOG = "timestamp, index, uuid, memory.used [MiB], memory.total [MiB], utilization.gpu [%]"
APPS_LOG = "timestamp, gpu_uuid, pid, process_name, used_gpu_memory [MiB]"
Played = list[tuple[Instant, Readings]]


def written(folder: Path, *lines: str, name: str = "a.csv") -> Path:
    file = folder / name
    file.write_text("\n".join(lines) + "\n")
    return file


def play(*files: Path, tz: str | None = None) -> Played:
    feed = Replay(files=files, tz=tz).open(None)
    played = []
    while at := feed.clock.wait(Seconds(1)):
        played.append((at, feed.source.read(at, Ask())))
    return played


def refusal(*files: Path) -> str:
    with pytest.raises(UsageError) as refused:
        Replay(files=files).open(None)
    return str(refused.value)


def only(readings: Readings) -> Reading:
    (reading,) = readings.gpus
    return reading


def claims(readings: Readings) -> dict[int, int | None] | None:
    found = only(readings).claims
    return None if found is None else {claim.pid: claim.used for claim in found}


def states(folder: Path, *lines: str, pid: int = 7) -> list[tuple[ProcessState, int]]:
    """(state, start ticks) of ``pid`` at each time that is recorded."""
    feed = Replay(files=(written(folder, *lines),)).open(None)
    found = []
    while at := feed.clock.wait(Seconds(1)):
        facts = feed.people.facts([pid], at)[pid]
        found.append((facts.state, facts.key.start_ticks))
    return found


# --- times --------------------------------------------------------------------------------------


def test_the_source_is_found_by_its_file() -> None:
    assert families.discover("vramwatch.sources")["replay"] is Replay


def test_each_distinct_time_is_one_instant_in_replayed_time(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        PLAIN,
        f"100,a,,1,{TOTAL}",
        f"100,b,,2,{TOTAL}",
        f"160.5,a,,3,{TOTAL}",
        f"160.5,b,,4,{TOTAL}",
    )
    feed = Replay(files=(file,)).open(Instant(4, 90.0, 90.0, "replay:a.csv"))
    first, second, end = (feed.clock.wait(Seconds(1)) for _ in range(3))
    assert first == Instant(seq=5, wall=100, boottime=100, boot_id="replay:a.csv")
    assert second == Instant(seq=6, wall=160.5, boottime=160.5, boot_id="replay:a.csv")
    assert end is None
    assert feed.live is False


def test_files_are_merged_by_time(tmp_path: Path) -> None:
    one = written(tmp_path, PLAIN, f"100,a,,1,{TOTAL}", f"300,a,,3,{TOTAL}", name="one.csv")
    two = written(tmp_path, PLAIN, f"200,b,,2,{TOTAL}", f"300,b,,4,{TOTAL}", name="two.csv")
    assert [
        (at.wall, {each.gpu.uuid: each.memory.used for each in readings.gpus})
        for at, readings in play(one, two)
    ] == [(100, {"a": 1}), (200, {"b": 2}), (300, {"a": 3, "b": 4})]


def test_a_packed_file_is_read_like_a_plain_one(tmp_path: Path) -> None:
    lines = (PLAIN, f"100,a,,1,{TOTAL}", f"160,a,,2,{TOTAL}")
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert [each for _, each in play(packed)] == [each for _, each in play(written(tmp_path, *lines))]


@pytest.mark.parametrize(
    "text",
    ["1700000000", "1.7e9", "2023-11-14T22:13:20Z", "2023-11-14 22:13:20", "2023-11-14T23:13:20+01:00"],
)
def test_a_time_is_unix_seconds_or_iso_8601_and_utc_without_a_zone(tmp_path: Path, text: str) -> None:
    ((at, _),) = play(written(tmp_path, PLAIN, f"{text},a,,1,{TOTAL}"))
    assert at.wall == 1_700_000_000


def test_stop_ends_the_recording(tmp_path: Path) -> None:
    feed = Replay(files=(written(tmp_path, PLAIN, f"100,a,,1,{TOTAL}", f"160,a,,2,{TOTAL}"),)).open(None)
    assert feed.clock.wait(Seconds(1)) is not None
    feed.clock.stop()
    assert feed.clock.wait(Seconds(1)) is None


def test_a_recording_of_nothing_ends_at_once(tmp_path: Path) -> None:
    assert play(written(tmp_path, PLAIN)) == []


# --- figures ------------------------------------------------------------------------------------


def test_a_gpu_has_its_own_figures_and_its_processes_claims(tmp_path: Path) -> None:
    header = "owner,utilization,reserved_bytes,pid,gpu,time,total_bytes,used_bytes,torch_reserved_bytes"
    file = written(
        tmp_path,
        header,
        f",0.5,{MIB},,a,100,{TOTAL},{9 * GIB},",
        f"chat,,,7,a,100,,{8 * GIB},{7 * GIB}",
        ",,,8,a,100,,,",
    )
    feed = Replay(files=(file,)).open(None)
    at = feed.clock.wait(Seconds(1))
    assert at is not None
    reading = only(feed.source.read(at, Ask(lists=frozenset(), slow=False)))
    memory = reading.memory
    assert (memory.total, memory.used, memory.reserved) == (TOTAL, 9 * GIB, MIB)
    assert memory.used + memory.free + memory.reserved == memory.total
    assert reading.utilization == 0.5
    assert {claim.pid: claim.used for claim in reading.claims or ()} == {7: 8 * GIB, 8: None}
    assert [(each.pid, each.quantity, each.value) for each in reading.gauges] == [
        (7, "torch_reserved_bytes", 7 * GIB)
    ]
    container = feed.people.facts([7], at)[7].container
    assert container is not None
    assert container.name == "chat"


def test_every_inner_figure_of_a_process_has_its_column(tmp_path: Path) -> None:
    header = f"{PLAIN},{','.join(GAUGES)}"
    figures = ",".join(str(place) for place in range(len(GAUGES)))
    ((_, readings),) = play(written(tmp_path, header, f"100,a,7,{GIB},{TOTAL},{figures}"))
    assert {each.quantity: each.value for each in only(readings).gauges} == {
        name: place for place, name in enumerate(GAUGES)
    }
    assert {
        "engine_pool_bytes", "engine_evictable_bytes", "preemptions_total", "alloc_retries_total",
        "ooms_total", "model_bytes", "model_gpu_bytes",
    } <= set(GAUGES)  # fmt: skip


def test_an_inner_figure_that_is_not_known_is_none_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    header = f"{PLAIN},model_bytes,model_gpu_bytes"
    ((_, readings),) = play(written(tmp_path, header, f"100,a,7,{GIB},{TOTAL},,{GIB}"))
    assert [each.quantity for each in only(readings).gauges] == ["model_gpu_bytes"]
    bad = written(tmp_path, header, f"100,a,7,{GIB},{TOTAL},much,{GIB}")
    assert refusal(bad).startswith(f"{bad}:2: model_bytes is 'much'")


def test_numbers_as_data_frames_write_them_are_whole_numbers(tmp_path: Path) -> None:
    ((_, readings),) = play(written(tmp_path, PLAIN, f"100.0,a,7.0,{float(GIB)},{float(TOTAL)}"))
    assert claims(readings) == {7: GIB}


def test_a_gpu_of_which_only_processes_are_recorded_uses_the_sum_of_their_claims(tmp_path: Path) -> None:
    ((_, readings),) = play(
        written(tmp_path, PLAIN, f"100,a,7,{GIB},{TOTAL}", f"100,a,8,{2 * GIB},", "100,a,9,,")
    )
    assert only(readings).memory.used == 3 * GIB
    assert claims(readings) == {7: GIB, 8: 2 * GIB, 9: None}


def test_a_gpu_of_which_all_claims_are_withheld_is_missing_rather_than_empty(tmp_path: Path) -> None:
    ((_, readings),) = play(written(tmp_path, PLAIN, f"100,a,7,,{TOTAL}"))
    assert readings.gpus == ()
    assert [missing.fault.kind for missing in readings.missing] == [FaultKind.RECORDED]


def test_without_process_rows_no_list_was_read_until_every_process_has_ended(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        PLAIN,
        f"100,a,,{GIB},{TOTAL}",
        f"101,a,,{GIB},{TOTAL}",
        f"101,a,7,{GIB},",
        f"102,a,,{GIB},{TOTAL}",
        f"161,a,,0,{TOTAL}",
    )
    assert [claims(readings) for _, readings in play(file)] == [None, {7: GIB}, None, {}]


def test_process_rows_between_two_rows_of_their_gpu_stand_beside_its_latest_figures(tmp_path: Path) -> None:
    file = written(tmp_path, PLAIN, f"100,a,,{5 * GIB},{TOTAL}", f"101,a,7,{GIB},", f"200,a,7,{GIB},")
    (_, (_, between), (_, stale)) = play(file)
    assert only(between).memory.used == 5 * GIB
    assert stale.gpus == ()
    assert len(stale.missing) == 1


# --- events and lives ---------------------------------------------------------------------------


def test_a_gap_is_missing_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        PLAIN + ",event",
        f"100,a,,1,{TOTAL},",
        "160,a,,,,gap:driver_hung",
        f"160,b,,1,{TOTAL},",
        "220,,,,,gap:daemon_stopped",
    )
    (_, (_, one), (_, everything)) = play(file)
    assert [(each.gpu and each.gpu.uuid, each.fault.kind, each.fault.detail) for each in one.missing] == [
        ("a", FaultKind.RECORDED, "driver_hung")
    ]
    assert only(one).gpu.uuid == "b"
    assert [(each.gpu, each.fault.detail) for each in everything.missing] == [(None, "daemon_stopped")]


def test_an_oom_is_an_event_on_its_gpu(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        PLAIN + ",event",
        f"100,a,,{GIB},{TOTAL},",
        f"100,a,7,{GIB},,oom",
        f"160,a,,{GIB},{TOTAL},oom",
    )
    events = [event for _, readings in play(file) for event in readings.events]
    assert [(event.kind, event.gpu) for event in events] == [(EventKind.OUT_OF_MEMORY, "a")] * 2
    assert "pid 7" in events[0].detail


def test_a_process_is_gone_after_its_exit(tmp_path: Path) -> None:
    lines = (
        PLAIN + ",event",
        f"100,a,,{GIB},{TOTAL},",
        f"100,a,7,{GIB},,",
        f"160,a,,0,{TOTAL},",
        "160,a,7,,,exit",
    )
    assert [state for state, _ in states(tmp_path, *lines)] == [ProcessState.ALIVE, ProcessState.GONE]
    assert [claims(readings) for _, readings in play(tmp_path / "a.csv")] == [{7: GIB}, {}]


@pytest.mark.parametrize("how", [",restart", "150,"])
def test_a_restart_and_a_new_start_are_another_process_of_the_same_pid(tmp_path: Path, how: str) -> None:
    header = PLAIN + ",process_start,event"
    first, second = states(tmp_path, header, f"100,a,7,{GIB},{TOTAL},90,", f"160,a,7,{GIB},{TOTAL},{how}")
    assert first[0] == second[0] == ProcessState.ALIVE
    assert first[1] == 9000
    assert second[1] > first[1]


def test_a_pid_that_returns_within_a_minute_is_the_same_process(tmp_path: Path) -> None:
    rows = [f"{time},a,,0,{TOTAL}" for time in (100, 130, 159)]
    lines = (PLAIN, rows[0], f"100,a,7,{GIB},", *rows[1:], f"159,a,7,{GIB},")
    assert len(set(states(tmp_path, *lines))) == 1


def test_a_pid_that_was_absent_for_a_minute_has_ended(tmp_path: Path) -> None:
    rows = [f"{time},a,,0,{TOTAL}" for time in (100, 130, 160, 190)]
    lines = (PLAIN, rows[0], f"100,a,7,{GIB},", *rows[1:], f"190,a,7,{GIB},")
    found = states(tmp_path, *lines)
    assert [state.value for state, _ in found] == ["alive", "alive", "gone", "alive"]
    assert found[3][1] != found[0][1]


def test_nobody_is_absent_while_their_gpu_has_no_rows_or_a_gap(tmp_path: Path) -> None:
    lines = (
        PLAIN + ",event",
        f"100,a,7,{GIB},{TOTAL},",
        "5000,b,,0,9999999,",
        "5100,a,,,,gap:gpu_lost",
        f"5130,a,7,{GIB},{TOTAL},",
    )
    assert len(set(states(tmp_path, *lines))) == 1


def test_a_pid_that_was_never_recorded_is_gone(tmp_path: Path) -> None:
    assert states(tmp_path, PLAIN, f"100,a,7,{GIB},{TOTAL}", pid=8) == [(ProcessState.GONE, 0)]


# --- nvidia-smi ---------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["0, GPU-1, 1024 MiB, 24576 MiB, 50 %", "0, GPU-1, 1024, 24576, 50"])
def test_a_gpu_log_of_nvidia_smi_is_read_with_units_and_without(tmp_path: Path, row: str) -> None:
    ((at, readings),) = play(
        written(tmp_path, GPU_LOG, f"2026/03/01 12:00:00.250, {row}"), tz="Europe/Berlin"
    )
    reading = only(readings)
    assert at.wall == datetime(2026, 3, 1, 11, 0, 0, 250_000, UTC).timestamp()
    assert (reading.gpu.uuid, reading.gpu.ordinal) == ("GPU-1", "0")
    assert (reading.memory.used, reading.memory.total, reading.utilization) == (GIB, 24 * GIB, 0.5)


def test_a_log_may_name_the_gpu_by_its_place_on_the_bus(tmp_path: Path) -> None:
    header = "timestamp, name, pci.bus_id, memory.total [MiB], memory.free [MiB], memory.used [MiB]"
    row = "NVIDIA A100, 00000000:1A:00.0, 24576 MiB, 23552 MiB, 1024 MiB"
    ((_, readings),) = play(written(tmp_path, header, f"2026/03/01 12:00:00.000, {row}"), tz="UTC")
    reading = only(readings)
    assert (reading.gpu.uuid, reading.gpu.name) == ("00000000:1A:00.0", "NVIDIA A100")
    assert reading.memory.used == GIB


def test_both_logs_of_nvidia_smi_together_tell_who_holds_what(tmp_path: Path) -> None:
    gpus = written(
        tmp_path,
        GPU_LOG,
        *(f"2026/03/01 12:00:0{s}.002, 0, GPU-1, 9000 MiB, 24576 MiB, [N/A]" for s in range(3)),
        name="gpus.csv",
    )
    apps = written(
        tmp_path,
        APPS_LOG,
        "2026/03/01 12:00:00.001, GPU-1, 7, /usr/bin/python3, 8000 MiB",
        "2026/03/01 12:00:01.003, GPU-1, 7, /usr/bin/python3, [N/A]",
        name="apps.csv",
    )
    feed = Replay(files=(gpus, apps), tz="UTC").open(None)
    found = []
    while at := feed.clock.wait(Seconds(1)):
        readings = feed.source.read(at, Ask())
        found.append(claims(readings) if readings.gpus else readings.missing[0].fault.kind)
    assert found[1:] == [None, None, {7: None}, None]
    assert feed.people.facts([7], feed.clock.now())[7].name == "python3"


def test_a_gpu_that_nvidia_smi_cannot_read_is_a_gap(tmp_path: Path) -> None:
    ((_, readings),) = play(
        written(tmp_path, GPU_LOG, "2026/03/01 12:00:00, 0, GPU-1, [GPU is lost], 24576 MiB, [N/A]")
    )
    assert "[GPU is lost]" in readings.missing[0].fault.detail


def test_the_hour_that_the_end_of_summer_time_repeats_still_ascends(tmp_path: Path) -> None:
    stamps = ("02:30:00", "02:59:00", "02:01:00", "02:30:00", "03:00:00")
    rows = (f"2026/10/25 {stamp}.000, 0, GPU-1, 1 MiB, 24576 MiB, 0 %" for stamp in stamps)
    walls = [at.wall for at, _ in play(written(tmp_path, GPU_LOG, *rows), tz="Europe/Berlin")]
    assert [wall - walls[0] for wall in walls] == [0, 29 * 60, 31 * 60, 3600, 5400]


def test_a_log_that_was_begun_again_has_its_header_twice(tmp_path: Path) -> None:
    rows = [f"2026/03/01 12:00:0{second}.000, 0, GPU-1, 1 MiB, 24576 MiB, 0 %" for second in range(2)]
    assert len(play(written(tmp_path, GPU_LOG, rows[0], GPU_LOG, rows[1]))) == 2


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((), "1: the file is empty"),
        (("time,gpu,used_bytes",), "1: the columns pid, total_bytes are missing"),
        ((PLAIN + ",pid",), "1: the columns pid stand twice"),
        ((f"100,a,,1,{TOTAL}",), "1: the header is missing"),
        (("2026/03/01 12:00:00.000, 0, GPU-1, 1 MiB, 24576 MiB, 0 %",), "1: the header is missing"),
        ((PLAIN, f"100,a,,1,{TOTAL}", "160,a,,1"), "3: 4 fields under a header of 5"),
        ((PLAIN, f"100,a,,1,{TOTAL}", "", f"99,a,,1,{TOTAL}"), "4: its time 99.000 is before"),
        (
            (PLAIN, f"1700000000000,a,,1,{TOTAL}"),
            "2: time is '1700000000000'; write unix seconds (not milliseconds)",
        ),
        ((PLAIN, f"noon,a,,1,{TOTAL}"), "2: time is 'noon'; write unix seconds or ISO 8601"),
        ((PLAIN, f"nan,a,,1,{TOTAL}"), "2: time is 'nan'"),
        ((PLAIN, f"100,a,,much,{TOTAL}"), "2: used_bytes is 'much'; write a number"),
        ((PLAIN, f"100,a,,1.5,{TOTAL}"), "2: used_bytes is '1.5'; write a whole number"),
        ((PLAIN, f"100,a,,-1,{TOTAL}"), "2: used_bytes is '-1'; write a number from 0"),
        ((PLAIN, f"100,a,,{TOTAL + 1},{TOTAL}"), "2: used_bytes and reserved_bytes exceed the total_bytes"),
        (
            (PLAIN, "100,a,,20000,24576"),
            "2: total_bytes is 24576, less than any GPU has; write bytes, not MiB",
        ),
        ((PLAIN, f"100,a,,,{TOTAL}"), "2: the row of a GPU needs used_bytes and total_bytes"),
        ((PLAIN, f"100,,,1,{TOTAL}"), "2: gpu is empty"),
        ((PLAIN, f"100,a,zero,1,{TOTAL}"), "2: pid is 'zero'"),
        ((PLAIN, "100,a,7,1,"), "2: the size of GPU a is told nowhere"),
        ((PLAIN, f"100,a,,1,{TOTAL}", f"100,a,,1,{TOTAL}"), "3: a second row of GPU a at this time"),
        (
            (PLAIN, f"100,a,7,1,{TOTAL}", f"100,a,7,1,{TOTAL}"),
            "3: a second row of pid 7 on GPU a at this time",
        ),
        (
            (PLAIN, f"100,a,,1,{TOTAL}", f"100,a,7,1,{2 * TOTAL}"),
            f"3: total_bytes is {2 * TOTAL}; GPU a has {TOTAL}",
        ),
        (
            (PLAIN + ",utilization", f"100,a,,1,{TOTAL},55"),
            "2: utilization is '55'; write a share from 0 to 1",
        ),
        (
            (PLAIN + ",event", f"100,a,,1,{TOTAL},boom"),
            "2: event is 'boom'; write gap:REASON, exit, restart or oom",
        ),
        ((PLAIN + ",event", f"100,a,,,{TOTAL},gap:"), "2: event is 'gap:'"),
        ((PLAIN + ",event", "100,a,7,,,gap:lost"), "2: a gap belongs to a whole GPU"),
        ((PLAIN, f'100,"a,,1,{TOTAL}'), "2: not CSV"),
        ((PLAIN, "x" * (3 * BLOCK)), "2: a line of more than"),
        (
            ("timestamp, uuid, memory.used [MiB]",),
            "1: the column is missing: memory.total; log with nvidia-smi",
        ),
        (
            ("timestamp, name, memory.used [MiB], memory.total [MiB]",),
            "1: none of uuid, index, pci.bus_id names the GPU; log with nvidia-smi",
        ),
        (
            ("index, memory.used [MiB], memory.total [MiB]",),
            "1: the column is missing: timestamp; log with nvidia-smi",
        ),
        (
            ("timestamp, uuid, memory.used [GiB], memory.total [GiB]",),
            "1: the column 'memory.used [GiB]' counts",
        ),
        (
            (APPS_LOG, "2026/03/01 12:00:00.000, GPU-1, 7, python3, 8000 MiB"),
            "2: the size of GPU GPU-1 is told nowhere",
        ),
        ((GPU_LOG, "Unable to determine the device handle"), "2: 1 fields under a header of 6: 'Unable"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line_and_nothing_of_it_is_played(
    tmp_path: Path, lines: tuple[str, ...], told: str
) -> None:
    file = written(tmp_path, *lines)
    assert refusal(file).startswith(f"{file}:{told}")


def test_what_is_not_utf_8_is_refused_at_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(f"{PLAIN}\n100,a,,1,{TOTAL}\n160,\xff,,1,{TOTAL}\n".encode("latin-1"))
    assert refusal(file).startswith(f"{file}:3: not UTF-8")


def test_a_packed_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(f"{PLAIN}\n100,a,,1,{TOTAL}\n".encode())[:-9])
    assert "cannot be read on" in refusal(file)


def test_a_file_that_is_not_there_is_refused_and_so_is_no_file(tmp_path: Path) -> None:
    assert "nowhere.csv: No such file" in refusal(tmp_path / "nowhere.csv")
    assert "no file is given" in refusal()


def test_a_time_zone_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'Mars/Olympus' is no time zone"):
        Replay(files=(written(tmp_path, PLAIN),), tz="Mars/Olympus").open(None)


def test_columns_that_are_not_known_are_named_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    play(written(tmp_path, PLAIN + ",utilisation", f"100,a,,1,{TOTAL},0.5"))
    assert "ignored_columns=['utilisation']" in caplog.text


def test_a_pipe_is_played_up_to_the_time_before_its_first_bad_line(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    text = f"{PLAIN}\n100,a,,1,{TOTAL}\n160,a,,2,{TOTAL}\n220,a,,x,{TOTAL}\n"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    feed = Replay(files=(pipe,)).open(None)
    assert feed.clock.wait(Seconds(1)) is not None
    with pytest.raises(UsageError, match=r"pipe\.csv:4: used_bytes is 'x'"):
        feed.clock.wait(Seconds(1))
    writer.join()


# --- what says the same is not read again -------------------------------------------------------


def test_what_a_line_says_does_not_depend_on_whether_it_was_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = "time,gpu,pid,used_bytes,total_bytes,event"
    rows = [
        f"{100 + moment},{gpu},{pid},{moment // 4 * MIB},{TOTAL},"
        for moment in range(12)
        for gpu in "ab"
        for pid in ("", 7, 8)
    ]
    file = written(tmp_path, header, *rows)
    played = play(file)
    monkeypatch.setattr(form, "_remember", lambda *_: None)
    assert play(file) == played


def test_a_gpu_that_says_what_it_said_before_is_the_same_reading(tmp_path: Path) -> None:
    moments = [(f"{at},a,,{GIB},{TOTAL}", f"{at},a,7,{MIB},") for at in (100, 101, 102)]
    (_, first), (_, second), (_, third) = play(
        written(tmp_path, PLAIN, *(line for moment in moments for line in moment))
    )
    assert only(first) is only(second) is only(third)


def test_a_time_in_quotes_and_one_that_is_not_the_first_column_are_read_all_the_same(tmp_path: Path) -> None:
    plain = play(written(tmp_path, PLAIN, f"100,a,,1,{TOTAL}", f"160,a,,1,{TOTAL}"))
    quoted = play(written(tmp_path, PLAIN, f'"100",a,,1,{TOTAL}', f'"160",a,,1,{TOTAL}'))
    moved = written(tmp_path, "gpu,time,pid,used_bytes,total_bytes", f"a,100,,1,{TOTAL}", f"a,160,,1,{TOTAL}")
    assert plain == quoted == play(moved)
    crlf = tmp_path / "a.csv"
    crlf.write_bytes(f"{PLAIN}\r\n100,a,,1,{TOTAL}\r\n160,a,,1,{TOTAL}\r\n".encode())
    assert play(crlf) == plain


def test_a_restart_of_the_whole_gpu_begins_new_lives_though_its_list_says_the_same(tmp_path: Path) -> None:
    header = f"{PLAIN},event"
    lists = [(f"{at},a,,{GIB},{TOTAL},", f"{at},a,7,{MIB},,") for at in (100, 101, 102, 103)]
    lists[2] = (*lists[2][:1], "102,a,,,,restart", *lists[2][1:])
    found = states(tmp_path, header, *(line for moment in lists for line in moment))
    assert [ticks for _, ticks in found] == [10000, 10000, 10200, 10200]


# --- laws ---------------------------------------------------------------------------------------

Fields = tuple[int, str, str, str, str]


def _fields(time: int, gpu: str, pid: str, used: str, event: str) -> Fields:
    return time, gpu, pid, used, "gap:why" if event == "restart" and not pid else event


_ROWS = st.lists(
    st.builds(
        _fields,
        st.integers(0, 200),
        st.sampled_from("ab"),
        st.sampled_from(["", "7", "8"]),
        st.sampled_from(["0", str(MIB), str(GIB)]),
        st.sampled_from(["", "", "exit", "restart", "oom"]),
    ),
    max_size=20,
)


def as_lines(rows: list[Fields]) -> list[str]:
    return [f"{time},{gpu},{pid},{used},{TOTAL},{event}" for time, gpu, pid, used, event in sorted(rows)]


def played_or_refused(file: Path) -> Played | str:
    try:
        return play(file)
    except UsageError as refused:
        return str(refused)


@settings(max_examples=200)
@given(_ROWS)
def test_whatever_is_written_is_played_in_balance_or_refused_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Fields]
) -> None:
    file = written(tmp_path_factory.getbasetemp(), PLAIN + ",event", *as_lines(rows), name="law.csv")
    found = played_or_refused(file)
    if isinstance(found, str):
        assert found.startswith(f"{file}:")
        return
    assert [at.wall for at, _ in found] == sorted({float(row[0]) for row in rows})
    for reading in (reading for _, readings in found for reading in readings.gpus):
        memory = reading.memory
        assert memory.used + memory.free + memory.reserved == memory.total
        assert memory.free >= 0


@settings(max_examples=200)
@given(_ROWS, st.integers(0, 20))
def test_the_first_part_of_a_recording_gives_the_same_readings_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Fields], cut: int
) -> None:
    folder, lines = tmp_path_factory.getbasetemp(), (PLAIN + ",event", *as_lines(rows))
    whole = played_or_refused(written(folder, *lines, name="law.csv"))
    part = played_or_refused(written(folder, *lines[: cut + 1], name="law.csv"))
    if not isinstance(whole, str):
        assert not isinstance(part, str)
        assert part[:-1] == whole[: max(len(part) - 1, 0)]


@given(st.binary(max_size=300))
def test_no_bytes_at_all_make_it_fail_in_another_way(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes.csv"
    file.write_bytes(PLAIN.encode() + b"\n" + content)
    found = played_or_refused(file)
    assert not isinstance(found, str) or found.startswith(f"{file}:")


def test_the_help_of_run_names_every_gauge_that_a_recording_may_have_once():
    told = CliRunner().invoke(main, ["run", "--help"]).output
    counts = {name: len(re.findall(rf"\b{name}\b", told)) for name in GAUGES}
    assert counts == dict.fromkeys(GAUGES, 1)
