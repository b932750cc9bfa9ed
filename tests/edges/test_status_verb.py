"""``vramwatch status`` as it is called: beside a daemon's store, without one, again and again."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC

import pytest

from tests.nvml.gpu import GIB as FAKE_GIB
from tests.nvml.gpu import Process
from tests.polls import gpu, holding, instant, ledger
from tests.verdicts import transition
from vramwatch.cli.looking import Looking
from vramwatch.cli.views.records import status_record
from vramwatch.cli.views.status import Standing, in_order, standing_words, status_lines
from vramwatch.cli.views.text import UNICODE, plain
from vramwatch.clock import MonotonicClock
from vramwatch.core.errors import NoDeviceError, UsageError
from vramwatch.core.incidents import State, Subject
from vramwatch.core.model import Fault, FaultKind, Gpu, Instant, Missing, SeriesKey, SubjectKind
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.series import USED_BYTES
from vramwatch.core.silences import Silence
from vramwatch.core.units import GIB, Bytes, Seconds
from vramwatch.store import Store, location
from vramwatch.store.desk import Desk

NO_DRIVER = Poll(instant(1), missing=(Missing(None, Fault(FaultKind.NO_DRIVER, "libnvidia-ml.so.1: none")),))


def one_poll(at: Instant, held: int = GIB) -> Poll:
    return Poll(at, (ledger(at, holding(10, Bytes(held))),), pace=Pace(Seconds(1.0), Seconds(5.0), 0.0))


def later(at: Instant, seconds: float) -> Instant:
    return replace(at, wall=at.wall + seconds, boottime=at.boottime + seconds)


def never() -> Poll:
    raise AssertionError("the driver must not be touched while a daemon reads it")


@pytest.fixture
def store(path):
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        yield store


# --- what is open ---------------------------------------------------------------------------------


def test_the_incidents_that_are_open_on_the_gpus_that_are_asked_for_are_told(store, path):
    told = (transition(instant(1), "over"), transition(instant(1), "open"), transition(instant(1), "seen"))
    store.write(replace(one_poll(instant(1)), transitions=told))
    moved = (
        transition(instant(2), "over", State.RESOLVED),
        transition(instant(2), "open", State.FIRING),
    )
    store.write(replace(one_poll(instant(2)), transitions=moved))
    status, _ = Looking(path, never, None).look(instant(3))
    assert {each.incident.id: each.incident.state for each in status.incidents} == {
        "open": State.FIRING,
        "seen": State.PENDING,
    }
    status, _ = Looking(path, never, None, ("0",)).look(instant(3))
    assert len(status.incidents) == 2


def test_incidents_of_other_gpus_are_left_out_and_those_of_vramwatch_itself_are_not(store, path):
    one, other = gpu(0), gpu(1)
    at = instant(1)
    own = transition(at, "blind")
    own = replace(own, incident=replace(own.incident, subject=Subject("", SubjectKind.VRAMWATCH, "blind")))
    store.write(Poll(at, (ledger(at, on=one), ledger(at, on=other)), transitions=(transition(at), own)))
    shown = {name: Looking(path, never, None, (name,)).look(instant(2))[0].incidents for name in ("0", "1")}
    assert {each.incident.id for each in shown["0"]} == {"chat", "blind"}
    assert {each.incident.id for each in shown["1"]} == {"blind"}


# --- where the figures come from ------------------------------------------------------------------


def test_a_store_that_is_asked_for_by_name_answers_however_old_it_is(store, path):
    store.write(one_poll(instant(1)))
    status, note = Looking(path, None, None).look(later(instant(1), 90000))
    assert status.poll.at.wall == instant(1).wall
    assert "has written nothing for 1d 1h" in standing_words(status)
    assert note == ""


def test_beside_a_daemon_the_store_answers_and_the_driver_is_left_alone(store, path):
    store.write(one_poll(instant(1)))
    store.write(one_poll(instant(61), 3 * GIB))
    status, note = Looking(path, never, None).look(later(instant(61), 2))
    assert note == ""
    assert status.span == 60.0
    assert status.changes[SeriesKey("GPU-00000000", SubjectKind.GPU, "", USED_BYTES)] == 2 * GIB


def test_the_change_is_that_of_the_last_hour_however_long_the_history(store, path):
    for seq, held in ((1, 1), (5000, 2), (8601, 7)):
        store.write(one_poll(instant(seq), held * GIB))
    status, _ = Looking(path, never, None).look(instant(8601))
    assert status.span == 3600.0
    assert (
        status.changes[SeriesKey("GPU-00000000", SubjectKind.OWNER, "unit:llama.service", USED_BYTES)]
        == 5 * GIB
    )


def test_without_a_daemon_the_driver_is_read_once_and_it_is_said_that_nothing_is_kept(path):
    fresh = one_poll(instant(5))
    status, note = Looking(path, lambda: fresh, None).look(instant(5))
    assert status.poll is fresh
    assert status.span is None
    assert "No daemon is running" in note
    assert "No history is being kept" in note


def test_a_store_that_nobody_writes_any_more_is_not_the_present(store, path):
    store.write(one_poll(instant(1)))
    fresh = one_poll(instant(100))
    status, note = Looking(path, lambda: fresh, None).look(instant(100))
    assert status.poll is fresh
    assert "The daemon has written nothing for 1m 39s; if it has ended, start it with: vramwatch run." in note


def test_a_daemon_that_has_just_stopped_is_not_running(store, path):
    store.write(one_poll(instant(1)))
    store.close()
    fresh = one_poll(instant(3))
    status, note = Looking(path, lambda: fresh, UTC).look(instant(3))
    assert status.poll is fresh
    assert note.startswith("The daemon was stopped at 22:13:21; start it with: vramwatch run. ")
    assert f"vramwatch status --store {path} shows what stood last." in note


def test_a_reading_of_a_moment_ago_is_not_called_old(store, path):
    store.write(one_poll(instant(1)))
    for passed in (1.0, 10.0, 30.0):
        status, note = Looking(path, None, None).look(later(instant(1), passed))
        assert (status.standing, note) == (Standing.PRESENT, "")


# --- after the daemon has ended -------------------------------------------------------------------


def blind(at: Instant, kind: FaultKind, detail: str) -> Poll:
    return Poll(at, missing=(Missing(None, Fault(kind, detail)),), pace=Pace(Seconds(1.0), Seconds(1.0), 0.0))


def test_while_released_an_incident_still_names_its_gpu_and_no_rhythm_of_readings_is_told(store, path):
    store.write(replace(one_poll(instant(1)), transitions=(transition(instant(1), "open", State.FIRING),)))
    store.write(blind(instant(2), FaultKind.RELEASED, "released by alice until 22:28:20"))
    status, _ = Looking(path, never, UTC).look(instant(3))
    text = plain(status_lines(status, 120, UNICODE))
    assert "on GPU 0: " in text
    assert "GPU-0000" not in text
    assert "every" not in text


def test_a_daemon_that_was_stopped_while_released_leaves_what_stood_before_and_no_promise(store, path):
    store.write(one_poll(instant(1)))
    for seq in (2, 3):
        store.write(blind(instant(seq), FaultKind.RELEASED, "released by alice until 22:28:20"))
    store.close()
    status, note = Looking(path, None, UTC).look(later(instant(3), 60))
    assert (status.standing, status.stopped, note) == (Standing.STOPPED, instant(3).wall, "")
    assert [held.gpu.ordinal for held in status.poll.ledgers] == ["0"]
    text = plain(status_lines(status, 120, UNICODE))
    assert text.startswith(
        "The daemon was stopped at 22:13:23; start it with: vramwatch run\nread 1m 2s ago, at 22:13:21\n"
    )
    assert "blind from 22:13 to the end, because an operator let go of the GPUs\n" in text
    assert "until" not in text


def test_a_daemon_that_never_saw_a_gpu_and_was_stopped_leaves_its_reason(store, path):
    store.write(blind(instant(1), FaultKind.NO_DRIVER, "libnvidia-ml.so.1 is missing"))
    store.close()
    status, _ = Looking(path, None, UTC).look(later(instant(1), 60))
    assert status.poll.ledgers == ()
    assert "because no NVIDIA driver answers" in plain(status_lines(status, 120, UNICODE))


def test_a_daemon_that_came_back_without_a_driver_and_was_stopped_leaves_what_the_one_before_saw(path):
    for poll in (one_poll(instant(1)), blind(instant(60), FaultKind.NO_DRIVER, "no driver")):
        with closing(Store.open(path, "nvml", "0.1.0")) as store:
            store.write(poll)
    status, _ = Looking(path, None, UTC).look(instant(90))
    assert status.poll.at.wall == instant(1).wall
    assert len(status.poll.ledgers) == 1
    assert (status.stopped, status.since) == (instant(60).wall, {None: instant(60).wall})


def test_a_daemon_that_was_killed_has_written_nothing_since(store, path):
    store.write(one_poll(instant(1)))
    status, _ = Looking(path, None, UTC).look(instant(100))
    assert status.standing is Standing.SILENT
    assert plain(status_lines(status, 120, UNICODE)).startswith(
        "The daemon has written nothing for 1m 39s; if it has ended, start it with: vramwatch run\n"
    )


def test_a_daemon_that_runs_again_is_not_taken_for_stopped(path):
    for seq in (1, 60):
        with closing(Store.open(path, "nvml", "0.1.0")) as store:
            store.write(one_poll(instant(seq)))
            status, _ = Looking(path, None, None).look(instant(seq + 1))
            assert status.standing is Standing.PRESENT


def test_a_simulation_that_catches_up_is_behind_and_one_that_stands_still_is_silent(store, path):
    simulated = replace(instant(1), boot_id="simulated:7:1699978400.000")
    store.write(one_poll(simulated))
    written = path.stat().st_mtime
    now = replace(instant(2), wall=written)
    assert Looking(path, None, None).look(now)[0].standing is Standing.CATCHING_UP
    for passed in (31.0, 3600.0):
        status, _ = Looking(path, None, None).look(replace(now, wall=written + passed))
        assert status.standing is Standing.SILENT


def test_a_recording_that_was_played_is_no_daemon_that_was_stopped(store, path):
    store.write(one_poll(replace(instant(1), boot_id="replay:night.csv")))
    store.close()
    assert Looking(path, None, None).look(instant(3))[0].standing is Standing.RECORDED


# --- of some GPUs alone ---------------------------------------------------------------------------

DEVICE, INSTANCE, OTHER = gpu(0), Gpu("MIG-1", "0:1", "H100 1g.10gb", parent="GPU-00000000"), gpu(10)


def on_three_gpus(at: Instant) -> Poll:
    lost = Missing(gpu(2), Fault(FaultKind.LOST, "fallen off the bus"))
    return Poll(at, tuple(ledger(at, on=each) for each in (DEVICE, INSTANCE, OTHER)), (lost,))


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ((), ["0", "0:1", "2", "10"]),
        (("10",), ["10"]),
        (("GPU-00000010",), ["10"]),
        (("gpu-0000001",), ["10"]),
        (("0",), ["0", "0:1"]),  # a device with its instances
        (("0:1",), ["0:1"]),
        (("2", "10", "2"), ["2", "10"]),
    ],
)
def test_the_gpus_that_are_asked_for_are_shown_alone(path, written, shown):
    status, _ = Looking(path, lambda: on_three_gpus(instant(1)), None, written).look(instant(1))
    assert [entry.gpu.ordinal for entry, _ in in_order((*status.poll.ledgers, *status.poll.missing))] == shown


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(path):
    with pytest.raises(UsageError, match="GPU-00000010"):
        Looking(path, lambda: on_three_gpus(instant(1)), None, ("7",)).look(instant(1))


def test_a_gpu_that_is_asked_for_while_all_are_blind_is_not_refused(store, path):
    store.write(blind(instant(1), FaultKind.HUNG, "no answer"))
    status, _ = Looking(path, None, None, ("7",)).look(instant(2))
    assert [missing.gpu for missing in status.poll.missing] == [None]


def test_a_gpu_is_told_by_what_other_programs_know_it_by_where_that_is_asked_for(store, path, tmp_path):
    store.write(one_poll(instant(1)))
    brief, verbose = call(tmp_path, path).stdout, call(tmp_path, path, "--verbose").stdout
    known_by = f"  {gpu(0).uuid}"
    assert known_by not in brief.splitlines()
    assert known_by in verbose.splitlines()
    assert [each for each in verbose.splitlines() if each != known_by] == brief.splitlines()


# --- hints ----------------------------------------------------------------------------------------


def test_a_hint_names_the_socket_and_the_configuration_that_it_needs_in_another_shell(tmp_path, path):
    at = MonotonicClock(1).now()
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        store.write(one_poll(at))
        Desk(store).write_silence(Silence("s1", "anna", "why", at.wall - 1, at.wall + 3600))
    here, there = f"{tmp_path}/here.sock", tmp_path / "there.yaml"
    there.write_text("{}")
    listing = f"vramwatch silence list --store {path}"
    assert f"1 silence holds; {listing} shows it." in " ".join(call(tmp_path, path).stdout.split())
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        Desk(store).write_silence(Silence("observe", "vramwatch", "new", at.wall - 1, at.wall + 3600))
    named = "".join(call(tmp_path, path, VRAMWATCH_CONTROL__SOCKET=here).stdout.split())
    assert f"VRAMWATCH_CONTROL__SOCKET={here}vramwatchsilenceexpire" in named  # wherever its lines end
    configured = "".join(call(tmp_path, path, "--config", str(there)).stdout.split())
    assert f"VRAMWATCH_CONFIG={there}vramwatchsilencelist" in configured


# --- where the store is ---------------------------------------------------------------------------


def test_root_without_a_store_is_told_where_its_daemon_would_make_one(monkeypatch, tmp_path):
    monkeypatch.setattr(location, "SYSTEM", tmp_path / "var" / "vramwatch.db")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert location.locate(None, None) == location.SYSTEM
    with pytest.raises(NoDeviceError, match=re.escape(str(location.SYSTEM))):
        Looking(location.locate(None, None), lambda: NO_DRIVER, None).look(instant(1))


# --- again and again ------------------------------------------------------------------------------


def test_a_slow_pace_is_no_old_reading(store, path):
    slow = replace(one_poll(instant(1)), pace=Pace(Seconds(60.0), Seconds(60.0), 0.0, "the budget"))
    store.write(slow)
    assert Looking(path, never, None).look(instant(120))[1] == ""


def test_a_blind_gpu_says_since_when_from_the_store(store, path):
    fault = Missing(None, Fault(FaultKind.HUNG, "no answer"))
    for seq in (1, 2, 3):
        store.write(Poll(instant(seq), missing=(fault,)))
    status, _ = Looking(path, never, None).look(instant(4))
    assert status.since == {None: instant(1).wall}


def test_no_driver_tells_what_to_do(path):
    with pytest.raises(NoDeviceError, match=r"install the driver.*make try") as error:
        Looking(path, lambda: NO_DRIVER, None).look(instant(1))
    assert error.value.exit_code == 69


def test_once_seen_the_latest_stays_when_store_and_driver_vanish(store, path):
    store.write(one_poll(instant(1)))
    looking = Looking(path, lambda: NO_DRIVER, None)
    looking.look(instant(2))
    for each in path.parent.iterdir():
        each.unlink()
    status, note = looking.look(instant(200))
    assert status.poll.at == instant(1)
    assert status.now == instant(200)
    assert "The daemon has written nothing for 3m 19s" in note
    assert "no NVIDIA driver answers" in note


def test_without_a_daemon_the_driver_is_asked_seldom(path):
    asked = []

    def read_once() -> Poll:
        asked.append(1)
        return one_poll(instant(1 + 5 * (len(asked) - 1)))

    looking = Looking(path, read_once, None)
    for seq in range(1, 12):
        looking.look(instant(seq))
    assert len(asked) == 3


def test_a_store_that_comes_later_is_taken_up(path):
    looking = Looking(path, lambda: one_poll(instant(1)), None)
    assert looking.look(instant(1))[1]
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        store.write(one_poll(instant(3)))
        status, note = looking.look(instant(3))
    assert (status.poll.at.seq, note) == (3, "")


# --- as a process -----------------------------------------------------------------------------------


def arguments(path, *more):
    return [sys.executable, "-m", "vramwatch", "status", "--store", str(path), *more]


def environment(tmp_path, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VRAMWATCH_")}
    return kept | {"XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | more


def call(tmp_path, path, *more, **variables):
    known = environment(tmp_path, **variables)
    return subprocess.run(
        arguments(path, *more), capture_output=True, text=True, timeout=60, env=known, check=False
    )


def test_without_a_daemon_the_gpus_of_the_driver_are_shown(driver, tmp_path, path):
    driver.gpus[0].set_processes([Process(os.getpid(), 3 * FAKE_GIB)])
    known = environment(tmp_path, VRAMWATCH_STORE__PATH=str(path), **driver.environment())
    command = [sys.executable, "-m", "vramwatch", "status"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=known, check=False)
    assert result.returncode == 0, result.stderr
    assert re.search(r"GPU 0  NVIDIA H100 80GB HBM3 +3\.0 GiB of 80\.0 GiB", result.stdout)
    assert f"pid {os.getpid()}" in result.stdout
    assert "No history is being kept" in result.stderr
    assert "\x1b" not in result.stdout


def test_json_of_a_living_store_is_one_object(tmp_path, path, store):
    store.write(one_poll(MonotonicClock(1).now()))
    result = call(tmp_path, path, "--format", "json")
    record = json.loads(result.stdout)
    assert record["pace"]["interval_seconds"] == 1.0
    assert [gpu["used_bytes"] for gpu in record["gpus"]] == [GIB + 10 * 2**20]
    assert record["incidents"] == []
    assert result.stderr == ""


def test_a_stopped_daemon_is_told_beside_json_and_within_the_text(tmp_path, path, store):
    store.write(one_poll(MonotonicClock(1).now()))
    store.close()
    result = call(tmp_path, path, "--format", "ndjson", "--gpu", "GPU-0")
    assert [json.loads(each)["ordinal"] for each in result.stdout.splitlines()] == ["0"]
    assert re.fullmatch(
        r"vramwatch: The daemon was stopped at [\d :-]+; start it with: vramwatch run\.\n", result.stderr
    )
    result = call(tmp_path, path)
    assert result.stdout.startswith("The daemon was stopped at ")
    assert result.stderr == ""


def test_watching_ends_with_ctrl_c_and_leaves_the_terminal_as_it_was(tmp_path, path, store):
    store.write(one_poll(MonotonicClock(1).now()))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        arguments(path, "--watch"), stdin=theirs, stdout=theirs, stderr=theirs, env=environment(tmp_path)
    ) as watching:
        os.close(theirs)
        seen = read_until(ours, b"llama")
        watching.send_signal(signal.SIGINT)
        seen += read_until(ours, b"\x1b[?1049l")
        assert watching.wait(20) == 0
    os.close(ours)
    assert b"\x1b[?1049h" in seen  # the other screen was entered
    assert b"\x1b[?25h" in seen  # and the cursor is shown again
    assert b"Traceback" not in seen


def read_until(terminal: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        assert select.select([terminal], [], [], 30)[0], seen
        seen += os.read(terminal, 65536)
    return seen


def test_watching_as_json_is_refused(tmp_path, path):
    result = call(tmp_path, path, "--watch", "--format", "json")
    assert result.returncode == 2
    assert "--format ndjson" in result.stderr


# --- what is held back ----------------------------------------------------------------------------


def test_it_is_told_until_when_a_new_service_observes_and_how_many_silences_hold(store, path):
    at = instant(5)
    store.write(one_poll(at))
    desk, now = Desk(store), at.wall
    for id, until in (("observe", now + 7 * 86400), ("s1", now + 60), ("s2", now + 60), ("s3", now)):
        desk.write_silence(Silence(id, "anna", "x", now - 9, until))
    status, _ = Looking(path, None, UTC).look(at)
    shown = plain(status_lines(status, 160, UNICODE))
    assert "Observing until 2023-11-21 22:13: messages are kept back" in shown
    assert "vramwatch silence expire observe." in shown
    assert "2 silences hold; vramwatch silence list shows them." in shown
    assert [each["id"] for each in status_record(status)["silences"]] == ["observe", "s1", "s2"]


def test_where_nothing_is_held_back_nothing_is_said_of_it(store, path):
    store.write(one_poll(instant(5)))
    status, _ = Looking(path, None, UTC).look(instant(5))
    assert "silence" not in plain(status_lines(status, 160, UNICODE))
