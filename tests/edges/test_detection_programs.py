"""The detection benchmark runs any program of the replay contract, the baselines among them."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.detection.__main__ import main
from benchmarks.detection.baselines import RULES
from benchmarks.detection.baselines.__main__ import judge
from benchmarks.detection.baselines.line import SlidingLine
from benchmarks.detection.baselines.mann_kendall import MannKendall
from benchmarks.detection.cases import HOUR, Case, Cause, Group, Serving, Suite, Truth, View
from benchmarks.detection.programs import ProgramError, answers, command
from benchmarks.detection.recordings import MIB, Row, Sample, write

TOTAL = 48_000 * MIB
STEP = 60.0

TELLTALE = """
import json, sys
for file in sys.argv[1:]:
    text = open(file).read()
    if "bad" in text:
        print(file + ":2: it is bad", file=sys.stderr)
        sys.exit(2)
    print(json.dumps({"file": file, "time": 60, "incident": 1, "state": "firing", "cause": "leak"}))
"""


def recording(path: Path, mebibytes: list[float], gpu: str = "GPU-0") -> Case:
    write(path, (Row(STEP * i, gpu, None, round(used * MIB), TOTAL) for i, used in enumerate(mebibytes)))
    return Case(
        path.stem,
        path,
        Suite.SYNTHETIC,
        Serving.IMAGE,
        View.DRIVER_ONLY,
        Group.HEALTHY,
        Truth(Cause.LOAD),
        0.0,
        STEP * len(mebibytes),
    )


def silent(_: int, __: int) -> None:
    """Nobody watches."""


def states(path: Path, name: str) -> list[tuple[str, float]]:
    return [(line["state"], line["time"] / HOUR) for line in judge(str(path), name)]


def test_one_bad_file_costs_itself_alone(tmp_path):
    cases = [recording(tmp_path / f"{name}.csv", [1.0], name) for name in ("good", "bad", "fair")]
    said = answers([sys.executable, "-c", TELLTALE], cases, silent)
    assert {name: len(answer.lines) for name, answer in said.items()} == {"good": 1, "bad": 0, "fair": 1}
    assert said["bad"].is_refusal
    assert "bad.csv:2: it is bad" in said["bad"].failure


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print('no line')", "replay contract"),
        ("raise SystemExit('it broke')", "exit code 1: it broke"),
        ('print(\'{"time": 1, "incident": 1, "state": "firing", "file": "other.csv"}\')', "other.csv"),
    ],
)
def test_a_program_that_fails_has_said_nothing_and_the_reason_is_kept(tmp_path, program, reason):
    cases = [recording(tmp_path / f"{name}.csv", [1.0]) for name in ("one", "two")]
    fails_on_two = f"import sys\nif 'two' in str(sys.argv): {program}"
    said = answers([sys.executable, "-c", fails_on_two], cases, silent)
    assert said["one"].failure == ""
    assert (said["two"].lines, said["two"].is_refusal) == ((), False)
    assert reason in said["two"].failure


def test_a_program_that_fails_on_everything_is_not_scored(tmp_path, capsys):
    case = recording(tmp_path / "one.csv", [1.0])
    with pytest.raises(ProgramError, match="no-such-program"):
        answers(["no-such-program"], [case], silent)
    assert main(["--suite", "D", "--program", "no-such-program"]) == 1
    assert "fails on every recording" in capsys.readouterr().err


def test_suites_of_real_services_without_data_are_refused_with_what_to_do(capsys):
    assert main(["--suite", "A,B"]) == 1
    assert "--data DIR" in capsys.readouterr().err


def test_vramwatch_is_the_one_of_this_interpreter():
    assert command("vramwatch replay --format ndjson")[:3] == (sys.executable, "-m", "vramwatch")
    assert command("/opt/other --flag 'a b'") == ("/opt/other", "--flag", "a b")


# --- baselines --------------------------------------------------------------------------------------


def test_a_steady_leak_is_found_by_the_trends_and_a_full_card_by_the_threshold(tmp_path):
    leak = tmp_path / "leak.csv"
    recording(leak, [20_000 + 2000 * i / 60 for i in range(14 * 60)])
    for name in ("predict-linear-1h", "predict-linear-6h", "mann-kendall-6h-z4", "mann-kendall-12h-z4"):
        assert [state for state, _ in states(leak, name)] == ["firing"], name
    assert states(leak, "threshold-90") == [("firing", pytest.approx(11.6 + 0.25, abs=0.05))]
    assert states(leak, "jump-256") == []


def test_a_flat_card_fires_nothing_and_a_jump_is_told_once(tmp_path):
    flat = tmp_path / "flat.csv"
    recording(flat, [20_000.0] * 800)
    assert not any(states(flat, name) for name in RULES)
    jumped = tmp_path / "jumped.csv"
    recording(jumped, [20_000.0] * 60 + [20_300.0] * 60)
    assert states(jumped, "jump-256") == [("firing", 1.0), ("resolved", pytest.approx(1 + 1 / 60))]


def test_an_alarm_that_does_not_last_a_quarter_of_an_hour_is_not_told(tmp_path):
    spiky = tmp_path / "spiky.csv"
    recording(spiky, ([20_000.0] * 20 + [47_000.0] * 10) * 10)
    assert states(spiky, "threshold-90") == []


def test_the_line_that_slides_is_the_line_of_least_squares_of_its_window():
    line = SlidingLine(window=100.0)
    for i in range(50):
        line.add(1e9 + 10.0 * i, 3.0 * i if i < 25 else 7.0 * i)
    assert line.slope == pytest.approx(0.7)
    assert line.ahead(100.0) == pytest.approx(7.0 * 59)
    assert line.span == 100.0


def test_mann_kendall_counts_ties_as_neither_rise_nor_fall():
    rule = MannKendall(window=9 * STEP, z=0.0, slope=0.0)
    values = [5, 5, 6, 6, 4, 7, 7, 7, 8, 5, 9, 9]
    for i, value in enumerate(values):
        rule.fires(Sample(STEP * i, "g", value * MIB, TOTAL, None))
    last = values[-10:]
    s = sum((b > a) - (b < a) for i, a in enumerate(last) for b in last[i + 1 :])
    groups = [last.count(value) for value in set(last)]
    n = len(last)
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in groups)) / 18
    assert rule._score() == pytest.approx((s - 1) / variance**0.5)


def test_every_line_of_a_baseline_is_one_of_the_contract(tmp_path):
    leak = tmp_path / "leak.csv"
    recording(leak, [20_000 + 2000 * i / 60 for i in range(14 * 60)])
    told = json.loads(json.dumps(next(judge(str(leak), "predict-linear-1h"))))
    assert {"time", "time_iso", "gpu", "pid", "subject", "incident", "pattern", "state", "severity"} <= set(
        told
    )
    assert {"cause", "rate_bytes_per_hour", "exhaustion", "evidence", "file"} <= set(told)


# --- the whole --------------------------------------------------------------------------------------


def test_the_published_suite_prints_the_table_and_says_what_is_not_measured(capsys):
    program = "python -m benchmarks.detection.baselines threshold-90"
    assert main(["--suite", "D", "--program", program]) == 0
    printed = capsys.readouterr().out
    assert "published series: growth found" in printed
    assert "not measured" in printed
    assert "predict-linear-1h" in printed


def test_nobody_is_shown_what_went_wrong_in_the_part_that_nothing_may_be_tuned_on(capsys):
    with pytest.raises(SystemExit):
        main(["--final", "--tune"])
    assert "leave one out" in capsys.readouterr().err


def test_a_suite_that_does_not_exist_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["--suite", "E"])
    assert "there are A, B, C, D" in capsys.readouterr().err
