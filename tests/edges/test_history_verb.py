"""``vramwatch history`` over real stores, as it is called from a shell."""

import csv
import io
import json
import os
import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.histories import ask, whole
from tests.polls import START, blind, gpu, holding, owner, poll
from vramwatch.cli import main
from vramwatch.cli.views.text import columns
from vramwatch.cli.views.tracks import MOST_LINES, grid
from vramwatch.core.model import (
    Event,
    EventKind,
    Fault,
    FaultKind,
)
from vramwatch.core.units import GIB, Bytes
from vramwatch.store import Store

CHAT, TRAIN = owner("chat"), owner("train")
SECONDS = 600
NOBODY = 65534


pytestmark = pytest.mark.usefixtures("in_utc")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Ten minutes of one GPU: chat grows from 10 to 20 GiB, train leaves half way, 60 s are blind."""
    path = tmp_path_factory.mktemp("history") / "vramwatch.db"
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        for seq in range(1, SECONDS, 10):
            if 205 < seq < 265:
                store.write(blind(seq, Fault(FaultKind.HUNG, "no answer"), gpu()))
                continue
            chat = holding(10, Bytes(10 * GIB + GIB * seq // 60), CHAT)
            train = [holding(20, Bytes(5 * GIB), TRAIN)] if seq < 300 else []
            store.write(poll(seq, chat, *train))
    return path


# --- for people ---------------------------------------------------------------------------------


def test_without_a_selection_each_gpu_shows_what_its_owners_held_first_last_and_at_most(path):
    text = whole(path).stdout
    assert re.search(r"^GPU 0  NVIDIA H100 80GB HBM3$", text, re.M)
    assert re.search(r"^  chat +10\.0 GiB +19\.8 GiB +\+9\.8 GiB +19\.8 GiB at 22:23:11$", text, re.M)
    assert re.search(r"^  train +5\.0 GiB +5\.0 GiB +0 B +5\.0 GiB at 22:13:21$", text, re.M)
    assert "\n    ended 22:18:21\n" in text


def test_one_owner_is_a_table_of_steps_with_its_gaps(path):
    text = whole(path, "--owner", "chat").stdout
    steps = re.findall(r"^22:\d\d:\d\d +\S+ GiB +\S+ GiB +\S+ GiB", text, re.M)
    assert 20 <= len(steps) <= MOST_LINES
    assert "-- 22:16:51..22:17:51 no readings: the driver did not answer --" in text
    assert "22:17:15" not in text  # a step within the gap tells nothing


def test_a_gpu_that_comes_and_goes_fills_no_screen_with_gaps(tmp_path):
    with closing(Store.open(tmp_path / "flapping.db", "nvml", "0.1.0")) as store:
        for seq in range(1, 80, 2):
            store.write(poll(seq, holding(10, Bytes(GIB), CHAT)))
            store.write(blind(seq + 1, Fault(FaultKind.LOST, "lost"), gpu()))
        store.write(poll(81, holding(10, Bytes(GIB), CHAT)))
    text = whole(tmp_path / "flapping.db").stdout
    assert "no readings 41 times" in text
    assert text.count("no readings") == 1


def test_an_owner_that_left_says_when(path):
    assert re.search(r"^-- 22:18:\d\d ended --$", whole(path, "--owner", "train").stdout, re.M)


@pytest.mark.parametrize("written", ["unit:chat.service", "chat", "ch?t", "unit:c*"])
def test_an_owner_goes_by_key_name_or_glob(path, written):
    text = whole(path, "--owner", written).stdout
    assert "chat  used_bytes" in text
    assert "train" not in text


@pytest.mark.parametrize("written", ["0", "GPU-00000000", "gpu-0000"])
def test_a_gpu_goes_by_ordinal_uuid_or_its_beginning(path, written):
    text = whole(path, "--gpu", written).stdout
    assert text.index("the whole GPU") < text.index("chat  used_bytes") < text.index("train  used_bytes")
    assert "pid" not in text  # its bytes stand with its owner


def test_a_pid_is_the_processes_that_had_it(path):
    assert "pid 10 python (chat)  used_bytes" in whole(path, "--pid", "10").stdout


def test_another_quantity_can_be_asked_for(path):
    assert "the whole GPU  total_bytes" in whole(path, "--quantity", "total_bytes").stdout


def test_nothing_holds_on_after_the_newest_reading(path):
    text = whole(path, "--owner", "chat").stdout
    assert text.splitlines()[0].endswith("22:23:11")
    assert "no readings: the daemon was stopped --" in text


def test_at_one_moment_shows_who_held_what(path):
    text = ask(path, "--at", str(START + 100)).stdout
    assert text.startswith("as read at 2023-11-14 22:14:51\n")
    assert re.search(r"chat +11\.5 GiB +pid 10", text)
    assert re.search(r"train +5\.0 GiB +pid 20", text)


def test_at_a_blind_moment_it_says_since_when_and_why(path):
    text = ask(path, "--at", str(START + 250)).stdout
    assert "blind since 22:16, because the driver did not answer" in text


# --- a question, one command ----------------------------------------------------------------------


def test_the_peak_of_an_owner_stands_with_its_first_and_last_value(path):
    text = whole(path, "--owner", "chat").stdout
    assert "from 10.0 GiB to 19.8 GiB (+9.8 GiB), peak 19.8 GiB at 22:23:11" in text


def test_growth_tells_who_gained_most_first_and_who_came_or_left(path):
    lines = whole(path, "--growth").stdout.splitlines()
    assert re.fullmatch(r"GPU 0  chat +\+9\.8 GiB +10\.0 GiB +19\.8 GiB +19\.8 GiB +25%", lines[2])
    assert re.fullmatch(r"GPU 0  train +-5\.0 GiB +5\.0 GiB +left +5\.0 GiB +n/a", lines[-2])


def test_what_all_on_a_gpu_gained_is_what_the_gpu_gained(path):
    told = json.loads(whole(path, "--growth", "--format", "json").stdout)
    (gpu_series,) = json.loads(whole(path, "--top", "1", "--format", "json").stdout)
    used = [point["used_bytes"] for point in gpu_series["points"]]
    assert sum(each["growth_bytes"] for each in told) == used[-1] - used[0]


def test_growth_as_data_has_peak_and_share_of_the_gpu(path):
    (chat,) = json.loads(whole(path, "--growth", "--top", "1", "--format", "json").stdout)
    assert (chat["owner"], chat["growth_bytes"]) == (CHAT.key, chat["last_bytes"] - chat["first_bytes"])
    assert chat["peak_bytes"] == chat["last_bytes"]
    assert chat["gpu_share_ratio"] == pytest.approx(chat["last_bytes"] / (80 * GIB))
    (row, *_) = csv.DictReader(io.StringIO(whole(path, "--growth", "--format", "csv").stdout))
    assert float(row["growth"]) == chat["growth_bytes"]
    assert whole(path, "--growth", "--format", "ndjson").stdout.startswith('{"gpu": "GPU-00000000"')


def test_top_leaves_all_but_the_largest_out(path):
    text = whole(path, "--top", "1").stdout
    assert "chat" in text
    assert "train" not in text
    kinds = [
        json.loads(line)["series"]["subject_kind"]
        for line in whole(path, "--top", "2", "--format", "ndjson").stdout.splitlines()
    ]
    assert kinds == ["gpu", "owner"]


# --- steps and single readings ----------------------------------------------------------------------


def test_a_step_can_be_chosen(path):
    text = whole(path, "--owner", "chat", "--step", "5m").stdout
    assert re.findall(r"^(22:\d\d) +\S+ GiB +(\S+) GiB +(\S+) GiB", text, re.M) == [
        ("22:10", "10.0", "11.5"),
        ("22:15", "11.7", "16.5"),
        ("22:20", "16.7", "19.8"),
    ]


def test_steps_as_data_tell_how_many_readings_stand_behind_them(path):
    (series,) = json.loads(whole(path, "--owner", "chat", "--step", "5m", "--format", "json").stdout)
    assert [step["count"] for step in series["steps"]] == [10, 24, 20]
    assert series["steps"][1]["minimum_bytes"] == 10 * GIB + GIB * 101 // 60
    assert series["steps"][1]["last_bytes"] == series["steps"][1]["maximum_bytes"]
    rows = list(
        csv.DictReader(io.StringIO(whole(path, "--owner", "chat", "--step", "5m", "--format", "csv").stdout))
    )
    assert [row["count"] for row in rows] == ["10", "24", "20"]


def test_rows_that_say_the_same_are_one_line(path):
    text = whole(path, "--owner", "train", "--step", "1m").stdout
    assert re.search(r"^22:13\.\.22:16  5\.0 GiB, unchanged$", text, re.M)


def test_raw_gives_every_reading_that_was_made_and_no_other(path):
    (series,) = json.loads(whole(path, "--owner", "chat", "--raw", "--format", "json").stdout)
    read = [seq for seq in range(1, SECONDS, 10) if not 205 < seq < 265]
    assert [(point["time"], point["used_bytes"]) for point in series["points"]] == [
        (START + seq, 10 * GIB + GIB * seq // 60) for seq in read
    ]


def test_raw_readings_that_say_the_same_are_one_line_between_two_gaps(path):
    text = whole(path, "--gpu", "0", "--raw").stdout
    part = text[text.index("train  used_bytes") :]
    assert re.search(r"^22:13:21\.\.22:16:41  5\.0 GiB, unchanged$", part, re.M)
    assert re.search(r"^22:17:51\.\.22:18:11  5\.0 GiB, unchanged$", part, re.M)


# --- what happened in between -------------------------------------------------------------------------


def test_events_stand_between_the_steps(tmp_path):
    with closing(Store.open(tmp_path / "v.db", "nvml", "0.1.0")) as store:
        for seq in range(1, 100):
            told = poll(seq, holding(10, Bytes(GIB * seq), CHAT))
            if seq == 40:
                released = Event(EventKind.RELEASED, "for 15m", author="alice (uid 1000)")
                told = replace(told, events=(released,))
            store.write(told)
    lines = whole(tmp_path / "v.db", "--owner", "chat").stdout.splitlines()
    place = lines.index("-- 22:14:00 released by alice (uid 1000): for 15m --")
    assert lines[place - 1].startswith("22:13:5")
    assert lines[place + 1].startswith("22:14:0")
    assert "released by alice" in whole(tmp_path / "v.db").stdout


# --- as data ------------------------------------------------------------------------------------


def test_json_is_a_list_of_series_with_points_and_gaps(path):
    (series,) = json.loads(whole(path, "--owner", "chat", "--format", "json").stdout)
    assert series["series"]["owner"] == "unit:chat.service"
    assert series["points"][0] == {
        "time": START + 1,
        "time_iso": "2023-11-14T22:13:21.000Z",
        "used_bytes": 10 * GIB + GIB // 60,
    }
    assert series["gaps"][0] == {
        "gpu": "GPU-00000000",
        "reason": "driver_hung",
        "because": "the driver did not answer",
        "detail": "no answer",
        "since": START + 211,
        "since_iso": "2023-11-14T22:16:51.000Z",
        "until": START + 271,
        "until_iso": "2023-11-14T22:17:51.000Z",
    }


def test_a_series_that_ended_has_null_as_its_last_point(path):
    (series,) = json.loads(whole(path, "--owner", "train", "--format", "json").stdout)
    assert [point["used_bytes"] for point in series["points"]] == [5 * GIB, None]


def test_ndjson_is_one_series_a_line(path):
    lines = whole(path, "--format", "ndjson").stdout.splitlines()
    kinds = [json.loads(line)["series"]["subject_kind"] for line in lines]
    assert sorted(kinds) == ["ghost", "gpu", "owner", "owner", "unattributed"]


def test_csv_is_one_value_a_row_in_the_order_of_time(path):
    rows = list(csv.DictReader(io.StringIO(whole(path, "--gpu", "0", "--format", "csv").stdout)))
    assert list(rows[0]) == [
        "time", "time_iso", "gpu", "ordinal", "subject_kind", "owner", "pid", "quantity", "value"
    ]  # fmt: skip
    times = [float(row["time"]) for row in rows]
    assert times == sorted(times)
    assert [row["value"] for row in rows if row["owner"] == "unit:train.service"] == [str(5 * GIB), ""]


# --- nothing to show, and refusals ----------------------------------------------------------------


def test_a_span_without_readings_says_where_there_are_some(path):
    result = ask(path, "--since", "2d", "--format", "json")
    assert json.loads(result.stdout) == []
    assert "the store has readings between 2023-11-14 22:13:21 and 2023-11-14 22:23:11" in result.stderr


def test_an_unknown_owner_lists_those_there_are(path):
    result = whole(path, "--owner", "nobody", code=2)
    assert result.stdout == ""
    assert "no owner here is called 'nobody'; there are: chat, train" in result.stderr


def test_an_unknown_pid_says_so(path):
    assert "pid 999 was not seen here" in whole(path, "--pid", "999", code=2).stderr


def test_a_known_owner_that_was_not_there_in_the_span_is_no_mistake(path):
    result = ask(path, "--since", str(START + 400), "--until", str(START + 500), "--owner", "train")
    assert result.stdout == ""
    assert "no reading between 2023-11-14 22:20:00 and 2023-11-14 22:21:40" in result.stderr


def test_a_moment_before_the_first_reading_says_so(path):
    assert "the store has readings between" in ask(path, "--at", str(START - 100)).stderr


def test_an_empty_store_says_so(tmp_path):
    Store.open(tmp_path / "empty.db", "nvml", "0.1.0").close()
    assert "the store has no reading yet" in ask(tmp_path / "empty.db").stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--gpu", "7"], "0 (GPU-00000000)"),
        (["--gpu", ""], "0 (GPU-00000000)"),
        (["--quantity", "bytes"], "used_bytes"),
        (["--since", "soon"], "yesterday 03:12"),
        (["--since", "1h", "--until", "2h"], "--since must be earlier"),
        (["--at", "1h", "--owner", "chat"], "leave out --owner"),
        (["--at", "1h", "--plot", "--top", "3"], "leave out --plot, --top"),
        (["--plot", "--growth"], "--growth and --plot are answers of different forms"),
        (["--plot", "--format", "json"], "--plot draws text"),
        (["--step", "often"], "--step: 'often' is not a duration"),
        (["--step", "1ms"], "too short"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused_with_what_can(path, arguments, told):
    assert told in ask(path, *arguments, code=2).stderr


def test_no_store_ends_with_74(tmp_path):
    assert str(tmp_path) in ask(tmp_path / "none.db", code=74).stderr


def test_a_store_that_is_no_file_ends_with_74(tmp_path):
    assert "this is not a file" in ask(tmp_path, code=74).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("verb", [["history"], ["export"], ["forget", "--owner", "chat"]])
def test_somebody_outside_the_group_is_told_how_to_get_in(path, verb):
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        code = 99
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            result = CliRunner().invoke(main, [*verb, "--store", str(path)])
            os.write(tell, result.stderr.encode())
            code = result.exit_code
        finally:
            os._exit(code)
    os.close(tell)
    with os.fdopen(told) as words:
        said = words.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 74
    assert "join its group (as installed: vramwatch), or use sudo" in said


# --- steps --------------------------------------------------------------------------------------


@given(st.floats(1.2e9, 4e9), st.floats(0.001, 4e8))
def test_any_span_has_few_steps_that_cover_it(since, span):
    steps = grid(since, since + span, UTC)
    assert steps.start <= since
    assert steps.number(since + span) <= MOST_LINES + 1
    assert steps.begin(steps.number(since + span)) <= since + span


@given(st.floats(1.2e9, 4e9), st.sampled_from(["Asia/Kolkata", "Europe/Berlin", "America/St_Johns"]))
def test_steps_of_hours_begin_with_an_hour_of_utc_in_every_zone(since, zone):
    steps = grid(since, since + 30 * 86400, ZoneInfo(zone))
    assert steps.start % 3600 == 0
    assert since - steps.step - 3600 < steps.start <= since


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_no_line_is_wider_than_the_terminal(path, width, monkeypatch):
    monkeypatch.setattr("vramwatch.cli.views.terminal.PIPED_WIDTH", width)
    for arguments in ([], ["--owner", "chat"], ["--gpu", "0"], ["--plot"], ["--growth"], ["--raw"]):
        for line in whole(path, *arguments).stdout.splitlines():
            assert columns(line) <= width


def test_a_moment_that_is_yet_to_come_is_refused(path):
    done = ask(path, "--at", "2199-01-01", code=2)
    assert "--at 2199-01-01: that is yet to come" in done.stderr


def test_a_span_that_begins_while_most_is_held_has_its_peak_there(tmp_path):
    with closing(Store.open(tmp_path / "v.db", "nvml", "0.1.0")) as store:
        for seq, held in enumerate((8, 8, 3, 4), 1):
            store.write(poll(seq, holding(10, Bytes(held * GIB), owner("chat")), wall=START + 60 * seq))
    span = ("--since", str(START + 150), "--until", str(START + 300))
    told = " ".join(ask(tmp_path / "v.db", *span, "--owner", "chat").stdout.split())
    assert "from 8.0 GiB to 4.0 GiB" in told
    assert "peak 8.0 GiB" in told
    growths = json.loads(ask(tmp_path / "v.db", *span, "--growth", "--format", "json").stdout)
    (chat,) = (each for each in growths if each["owner_name"] == "chat")
    assert (chat["first_bytes"], chat["peak_bytes"]) == (8 * GIB, 8 * GIB)
