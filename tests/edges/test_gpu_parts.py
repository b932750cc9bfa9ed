"""What of the measurements on a GPU is arithmetic and bookkeeping: resuming, tables, intervals, sidecars."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.findings import Finding
from benchmarks.gpu import report, traces
from benchmarks.gpu.__main__ import rows
from benchmarks.gpu.intervals import FEWEST, paired, quantile, t_quantile
from benchmarks.gpu.probe import search
from benchmarks.gpu.reading import compared, loop_findings, summary
from benchmarks.gpu.rig import MIB
from benchmarks.gpu.steps import Measured, NotFinishedError, Scene, Step, find, go_through, read
from benchmarks.gpu.watcher import Look, findings, rise
from vramwatch.recording.form import rows as rows_of

SCENE = Scene("NVIDIA H100 80GB HBM3", "580.95.05", "2.13.0", is_rehearsal=False)
REHEARSED = dataclasses.replace(SCENE, is_rehearsal=True)


class Time:
    """A clock that steps move on."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


def taking(time, name, seconds, *, ran, measured=None):
    """A step that takes its seconds, and notes that it ran."""

    def run(_left):
        ran.append(name)
        time.now += seconds
        return measured or Measured([Finding(name, "1 MiB")], {"bytes": [1]})

    return Step(name, seconds, run)


def part(steps, folder, time, scene=SCENE, limit=100.0):
    return go_through(steps, folder, scene, "make gpu PART=reading", lambda what: None, time, limit)


def test_a_part_that_was_cut_off_goes_on_with_the_steps_that_have_no_record(tmp_path, time):
    ran = []
    steps = [taking(time, name, 40.0, ran=ran) for name in ("a", "b", "c")]
    told = part(steps, tmp_path, time)
    assert ran == ["a", "b"]
    assert told[2].why == "needs 40 s and 20 s are left"
    told = part(steps, tmp_path, time)
    assert ran == ["a", "b", "c"]
    assert [each.was_done for each in told] == [True, True, False]
    assert not any(each.why for each in told)


def test_a_step_that_failed_is_told_costs_no_other_and_is_tried_again(tmp_path, time):
    ran = []

    def broken(_left):
        raise RuntimeError("the worker ended")

    told = part([Step("a", 1.0, broken), taking(time, "b", 1.0, ran=ran)], tmp_path, time)
    assert (told[0].why, told[0].has_failed) == ("RuntimeError: the worker ended", True)
    assert ran == ["b"]
    part([taking(time, "a", 1.0, ran=ran), taking(time, "b", 1.0, ran=ran)], tmp_path, time)
    assert ran == ["b", "a"]


def test_a_step_that_needs_another_run_shows_what_it_has_and_leaves_no_record(tmp_path, time):
    def unresolved(_left):
        raise NotFinishedError("3 pairs", [Finding("rate", "+1 %")])

    (told,) = part([Step("loop", 1.0, unresolved)], tmp_path, time)
    assert (told.why, told.has_failed, told.findings) == ("3 pairs", False, (Finding("rate", "+1 %"),))
    assert find(tmp_path, "loop", SCENE) is None


@pytest.mark.parametrize(
    "other",
    [
        REHEARSED,
        dataclasses.replace(SCENE, device="NVIDIA L4"),
        dataclasses.replace(SCENE, driver="610.43.02"),
    ],
)
def test_what_was_measured_elsewhere_or_rehearsed_counts_for_nothing_here(tmp_path, time, other):
    ran = []
    part([taking(time, "a", 1.0, ran=ran)], tmp_path, time, scene=other)
    part([taking(time, "a", 1.0, ran=ran)], tmp_path, time)
    assert ran == ["a", "a"]


def test_a_record_that_was_cut_off_in_writing_is_none(tmp_path, time):
    ran = []
    part([taking(time, "a", 1.0, ran=ran)], tmp_path, time)
    path = tmp_path / "a.json"
    path.write_text(path.read_text()[:-20])
    assert read(path) is None
    part([taking(time, "a", 1.0, ran=ran)], tmp_path, time)
    assert ran == ["a", "a"]
    assert read(path).raw == {"bytes": [1]}


def test_the_table_names_each_line_by_its_step_and_says_what_is_left_or_failed(tmp_path, time):
    def broken(_left):
        raise OSError("gone")

    steps = [taking(time, "a", 90.0, ran=[]), Step("b", 1.0, broken), taking(time, "c", 90.0, ran=[])]
    lines = [(each.name, each.measured) for each in rows(part(steps, tmp_path, time))]
    assert lines == [
        ("a: a", "1 MiB"),
        ("b", "FAILED: OSError: gone"),
        ("c", "left: needs 90 s and 10 s are left"),
    ]


# --- intervals ------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(1.0, 1e3), st.floats(1.0, 1e3)), min_size=FEWEST, max_size=50))
def test_an_interval_holds_its_own_change_and_turns_over_with_its_pairs(pairs):
    there, back = paired(pairs), paired([(b, a) for a, b in pairs])
    assert there.low <= there.change <= there.high
    assert (1 + there.change / 100) * (1 + back.change / 100) == pytest.approx(1.0)
    assert (1 + there.low / 100) * (1 + back.high / 100) == pytest.approx(1.0)


def test_pairs_that_share_their_noise_resolve_what_single_figures_could_not():
    pairs = [(level, level * 0.998) for level in range(50, 150, 5)]
    change = paired(pairs)
    assert change.change == pytest.approx(-0.2)
    assert change.resolves(0.5)
    shuffled = [(a, b) for (a, _), (_, b) in zip(pairs, reversed(pairs), strict=True)]
    assert not paired(shuffled).resolves(0.5)


def test_the_interval_is_that_of_a_worked_example():
    # ln ratios 0.00 to 0.05: mean 0.025, stdev 0.018708, t(5) = 2.571: half width 0.019637
    change = paired([(1.0, math.exp(each / 100)) for each in range(6)])
    assert math.log(1 + change.low / 100) == pytest.approx(0.025 - 0.019637, abs=1e-6)
    assert math.log(1 + change.high / 100) == pytest.approx(0.025 + 0.019637, abs=1e-6)


def test_few_pairs_tell_a_change_and_no_interval():
    change = paired([(100.0, 99.0)] * (FEWEST - 1))
    assert (change.low, change.high) == (-math.inf, math.inf)
    assert not change.resolves(50.0)
    assert paired([]).pairs == 0


def test_the_quantile_of_t_is_never_that_of_more_freedom():
    assert t_quantile(11) == t_quantile(10) > t_quantile(12)
    assert t_quantile(1000) == t_quantile(120)
    with pytest.raises(ValueError, match="at least two pairs"):
        t_quantile(0)


def test_a_quantile_is_one_of_the_values():
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile(list(range(100)), 0.99) == 99
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


# --- lines of the parts ---------------------------------------------------------------------------


def pair(bare, watched):
    return {"bare": summary([1 / bare] * 10), "watched": summary([1 / watched] * 10)}


def lines_of(pairs):
    return {each.name: each for each in loop_findings(pairs)}


def test_a_loop_that_watching_slows_by_a_whole_percent_misses_the_goal_and_one_unresolved_reaches_none():
    slowed = lines_of([pair(100 + n, 0.99 * (100 + n)) for n in range(10)])
    assert slowed["tokens per second, watched"].reached is False
    even = lines_of([pair(100 + n, 100 + n) for n in range(10)])
    assert even["tokens per second, watched"].reached is True
    wild = lines_of([pair(100, 90 + 5 * n) for n in range(6)])["tokens per second, watched"]
    assert wild.reached is None
    assert "not resolved" in wild.measured


def test_books_that_are_a_mib_off_or_lack_a_process_are_told():
    own = {"used": 5 * MIB + 1000}
    (used, pids, each) = compared(own, {"used": 5}, {7: 3 * MIB}, {7: 3})
    assert (used.reached, pids.reached, each.reached) == (True, True, True)
    (used, pids, each) = compared(own, {"used": 7}, {7: 3 * MIB, 8: None}, {7: 5})
    assert (used.reached, pids.reached, each.reached) == (False, False, False)


def look(at, rss=80 * MIB, descriptors=20, listed=(500,), pids=(1, 2)):
    return Look(at, rss, descriptors, listed, pids)


def test_a_watcher_that_grows_or_is_on_the_gpu_is_told():
    def reached(looks, mapped=()):
        return {each.name: each.reached for each in findings(looks, (500,), mapped, 10)}

    well = reached([look(float(at)) for at in range(1, 20)])
    assert False not in well.values()
    grown = [look(float(at), rss=(80 + at) * MIB, descriptors=20 + at) for at in range(1, 20)]
    assert rise(grown) > 5
    assert reached(grown)["its rise, last quarter over second"] is False
    assert reached(grown)["more of them in the second half"] is False
    seen = reached([look(1.0), look(2.0, listed=(500, 2))], ["libcuda.so"])
    assert seen["our pids among the GPU's processes"] is False
    assert seen["processes that nvidia-smi lists since"] is False
    assert seen["libraries that make a context, mapped"] is False


@given(st.integers(1, 500), st.integers(1, 500))
def test_the_search_for_the_largest_batch_ends_at_its_border_wherever_it_begins(border, guess):
    low, high = search(lambda batch: batch <= border, guess, 1.0, lambda: 0.0)
    assert low <= border < high
    assert high - low <= max(1, 0.04 * low)


def test_the_search_begins_no_try_after_its_time():
    clock = Time()

    def holds(batch):
        clock.now += 30.0
        return True

    assert search(holds, 10, 45.0, clock) == (11, None)


# --- recordings and their truth -------------------------------------------------------------------

TRUTH = traces.Truth(
    "leaks",
    "judging",
    False,
    "NVIDIA H100",
    "580.95.05",
    "2.13.0",
    1.0,
    (traces.Part("leak_2", 42, "leak_2", "leak", "2 MiB stay", {"A": "1"}, (100.0, 160.0), True),),
    (traces.Deed(100.5, 42, "began"), traces.Deed(150.0, 42, "killed by SIGKILL")),
)
ROWS = [
    {"time": "100.000", "gpu": "GPU-a", "pid": "", "used_bytes": 9 * MIB, "total_bytes": 80 * MIB},
    {
        "time": "100.000",
        "gpu": "GPU-a",
        "pid": 42,
        "used_bytes": "",
        "total_bytes": 80 * MIB,
        "owner": "leak_2",
        "torch_reserved_bytes": 4 * MIB,
    },
]


def test_a_recording_is_read_back_by_the_reader_of_replay_and_its_truth_to_the_second(tmp_path):
    import gzip

    recording, sidecar = traces.write(tmp_path, TRUTH, ROWS)
    assert traces.read(sidecar) == TRUTH
    with gzip.open(recording, "rt") as file:
        lines = enumerate((line.rstrip("\n") for line in file), start=1)
        gpu, process = rows_of("leaks", lines, None)
    assert (gpu.time, gpu.said.pid, gpu.said.used) == (100.0, None, 9 * MIB)
    assert (process.said.pid, process.said.used, process.said.owner) == (42, None, "leak_2")
    assert dict(process.said.gauges) == {"torch_reserved_bytes": 4 * MIB}


def test_the_same_recording_gives_the_same_bytes(tmp_path):
    (tmp_path / "other").mkdir()
    once, _ = traces.write(tmp_path, TRUTH, ROWS)
    again, _ = traces.write(tmp_path / "other", TRUTH, ROWS)
    assert once.read_bytes() == again.read_bytes()


def test_what_fired_is_told_by_owner():
    lines = [
        {"state": "pending", "cause": "leak", "subject": {"owner": "rule:a"}},
        {"state": "firing", "cause": "leak", "subject": {"owner": "a"}},
        {"state": "firing", "cause": "unknown", "subject": {"kind": "gpu", "owner": None}},
    ]
    assert traces.judged([json.dumps(each) for each in lines]) == {"a": {"leak"}, "": {"unknown"}}


# --- the report -----------------------------------------------------------------------------------


def test_a_page_has_the_command_of_each_figure_and_names_what_is_not_finished(tmp_path, time):
    folder = tmp_path / "reading"
    part([taking(time, "a", 60.0, ran=[]), taking(time, "b", 60.0, ran=[])], folder, time)
    every = {"reading": report.names(folder), "probe": report.names(tmp_path / "probe")}
    found = report.collect(tmp_path, list(every))
    text = "\n".join(report.page(SCENE, found[SCENE], every))
    assert "# Seen on NVIDIA H100 80GB HBM3" in text
    assert "`make gpu PART=reading`" in text
    assert "| a | a | 1 MiB |  |  |" in text
    assert "| b | not finished | | | |" in text
    assert "## probe\n\nNot run." in text


def test_a_rehearsal_is_printed_and_writes_no_page(tmp_path, time, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    part([taking(time, "a", 1.0, ran=[])], tmp_path / "out" / "reading", time, scene=REHEARSED)
    assert report.main(tmp_path / "out", ["reading"]) == 0
    assert "No figure here is one of a GPU" in capsys.readouterr().out
    assert not (tmp_path / "docs").exists()


def test_measured_recordings_are_kept_with_their_truth_and_a_page_is_written(tmp_path, time, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "out" / "layers-1"
    part([taking(time, "leaks", 1.0, ran=[])], folder, time)
    traces.write(folder, TRUTH, ROWS)
    assert report.main(tmp_path / "out", ["layers-1"]) == 0
    assert Path("docs/measured/nvidia-h100-80gb-hbm3.md").exists()
    kept = {each.name for each in Path("tests/fixtures/traces/nvidia-h100-80gb-hbm3").iterdir()}
    assert kept == {"leaks.csv.gz", "leaks.truth.json"}


def test_without_a_gpu_it_refuses_with_69_and_says_how_to_rehearse(tmp_path):
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "reading", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path)},
        check=False,
    )
    assert said.returncode == 69
    assert "needs an NVIDIA GPU" in said.stderr
    assert "DRY=1" in said.stderr
