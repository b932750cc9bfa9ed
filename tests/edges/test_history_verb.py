"""``vramwatch history`` over real stores, as it is called from a shell."""

import csv
import io
import json
import re
import time
from contextlib import closing
from datetime import UTC

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.polls import START, blind, gpu, holding, owner, poll
from vramwatch.cli import main
from vramwatch.cli.views.text import columns
from vramwatch.cli.views.tracks import MOST_LINES, fold, grid
from vramwatch.core.model import Fault, FaultKind, SeriesKey, SubjectKind
from vramwatch.core.units import GIB, Bytes
from vramwatch.store import Point, SeriesRow, Store

CHAT, TRAIN = owner("chat"), owner("train")
SECONDS = 600


@pytest.fixture(autouse=True)
def in_utc(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("VRAMWATCH_CONFIG", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


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


def ask(path, *arguments, code=0):
    result = CliRunner().invoke(main, ["history", "--store", str(path), *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def whole(path, *arguments, code=0):
    return ask(path, "--since", str(START), *arguments, code=code)


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
    result = whole(path, "--owner", "nobody")
    assert result.stdout == ""
    assert "no owner here is called 'nobody'; there are: chat, train" in result.stderr


def test_an_unknown_pid_says_so(path):
    assert "pid 999 was not seen here" in whole(path, "--pid", "999").stderr


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
    ],
)
def test_a_question_that_cannot_be_meant_is_refused_with_what_can(path, arguments, told):
    assert told in ask(path, *arguments, code=2).stderr


def test_no_store_ends_with_74(tmp_path):
    assert str(tmp_path) in ask(tmp_path / "none.db", code=74).stderr


# --- folding ------------------------------------------------------------------------------------

ROW = SeriesRow(1, SeriesKey("GPU-0", SubjectKind.GPU, "", "used_bytes"), None, None)
CHANGES = st.lists(st.tuples(st.floats(0, 999), st.none() | st.integers(0, 100)), min_size=1, max_size=30)


def held_at(changes, wall):
    """The value that held at ``wall``, told point by point."""
    value = None
    for at, new in changes:
        if at <= wall:
            value = new
    return value


@given(CHANGES, st.integers(60, 1000))
def test_each_step_knows_lowest_highest_and_last_of_what_held_in_it(changes, until):
    changes = sorted(((min(at, until), value) for at, value in changes), key=lambda change: change[0])
    steps = grid(0.0, float(until), UTC)
    tracks = fold([Point(at, ROW, value) for at, value in changes], steps)
    for track in tracks:
        for number, step in track.steps.items():
            begin, end = steps.begin(number), min(steps.begin(number + 1), until + 1)
            inside = [value for at, value in changes if begin <= at < end]
            values = {value for value in (held_at(changes, begin - 1e-9), *inside) if value is not None}
            assert step.low <= step.last <= step.high
            assert {step.low, step.high} <= values | {held_at(changes, begin)}


@given(st.floats(1.2e9, 4e9), st.floats(0.001, 4e8))
def test_any_span_has_few_steps_that_cover_it(since, span):
    steps = grid(since, since + span, UTC)
    assert steps.start <= since
    assert steps.number(since + span) <= MOST_LINES + 1
    assert steps.begin(steps.number(since + span)) <= since + span


def test_a_wall_clock_that_steps_back_counts_for_the_step_that_was_reached():
    steps = grid(0.0, 100.0, UTC)
    points = [Point(0.0, ROW, 1), Point(90.0, ROW, 9), Point(10.0, ROW, 5)]
    (track,) = fold(points, steps)
    assert track.last == 5
    assert track.steps[steps.number(50.0)].high == 1


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_no_line_is_wider_than_the_terminal(path, width, monkeypatch):
    monkeypatch.setattr("vramwatch.cli.views.terminal.PIPED_WIDTH", width)
    for arguments in ([], ["--owner", "chat"], ["--gpu", "0"]):
        for line in whole(path, *arguments).stdout.splitlines():
            assert columns(line) <= width
