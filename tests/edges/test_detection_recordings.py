"""The detection benchmark's recordings: what is put in, what is so, and that any replay can read them."""

import csv
import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.detection.alarms import Forecast, Line
from benchmarks.detection.cases import HOUR, Case, Group, Serving, View
from benchmarks.detection.goals import ROWS
from benchmarks.detection.judging import judge
from benchmarks.detection.programs import Answer
from benchmarks.detection.published import SERIES, published
from benchmarks.detection.real_services import LEAK_BEGINS, healthy, inject, injected, is_held_out, pods
from benchmarks.detection.recordings import COLUMNS, MIB, Row, Sample, samples, write
from benchmarks.detection.synthetic.catalogue import SCENARIOS, build, recorded
from benchmarks.detection.synthetic.scenario import TEST_SEEDS, TUNING_SEEDS, Cell, Scenario
from benchmarks.detection.synthetic.server import rows
from vramwatch.core.errors import UsageError
from vramwatch.recording import form, lines, moments

TOTAL = 48_000 * MIB


def day(duty: list[float | None], used: list[int]) -> list[Sample]:
    """Return a sample every ten minutes."""
    return [Sample(600.0 * i, "pod", used[i] * MIB, TOTAL, duty[i]) for i in range(len(used))]


def moments_of(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in moments.moments([form.rows(path.name, lines.lines(path.name, file), None)]))


# --- real services ----------------------------------------------------------------------------------


def test_a_leak_has_its_rate_in_the_mean_and_follows_the_duty():
    leaking = inject(day([0.2, 0.6] * 72, [10_000] * 144), 300.0).samples
    grown = (leaking[-1].used - leaking[0].used) / MIB
    assert grown == pytest.approx(300 * (leaking[-1].time - LEAK_BEGINS) / HOUR, rel=0.02)
    busy, idle = leaking[101].used - leaking[100].used, leaking[102].used - leaking[101].used
    assert busy == pytest.approx(3 * idle, abs=4)


def test_nothing_leaks_for_two_hours_nor_while_nothing_is_done():
    samples_ = day([0.5] * 60 + [0.0] * 84, [10_000] * 144)
    leaking = inject(samples_, 1000.0).samples
    assert leaking[:12] == tuple(samples_[:12])
    assert leaking[61].used == leaking[143].used


def test_a_restart_gives_back_what_had_leaked():
    used = [10_000] * 72 + [200] + [10_000] * 71
    leaking = inject(day([0.5] * 144, used), 1000.0).samples
    assert leaking[71].used > leaking[73].used
    assert leaking[72].used == 200 * MIB


def test_a_leak_stops_at_the_card_and_its_end_is_when_the_card_was_full():
    leaking = inject(day([0.5] * 144, [40_000] * 144), 3000.0)
    assert max(sample.used for sample in leaking.samples) == TOTAL
    assert leaking.exhausted == next(s.time for s in leaking.samples if s.used == TOTAL)


@given(st.lists(st.tuples(st.floats(0, 1) | st.none(), st.integers(0, 48_000)), min_size=2, max_size=40))
def test_a_leak_only_adds_and_never_exceeds_the_card(told):
    recorded = day([duty for duty, _ in told], [used for _, used in told])
    for before, after in zip(recorded, inject(recorded, 1000.0).samples, strict=True):
        assert before.used <= after.used <= TOTAL
        assert (after.time, after.utilization) == (before.time, before.utilization)


def test_every_third_pod_is_held_out_by_the_hash_of_its_name_and_is_in_one_part_alone(tmp_path):
    for name in "abcdefghij":
        write(tmp_path / f"{name}.csv", [Row(0.0, name, None, MIB, TOTAL)])
    tuning, final = pods(tmp_path, final=False), pods(tmp_path, final=True)
    assert {path.stem for path in final} == {name for name in "abcdefghij" if is_held_out(name)}
    assert len(tuning) + len(final) == 10


def test_each_leak_has_the_untouched_recording_as_its_twin(tmp_path):
    source = tmp_path / "pods"
    source.mkdir()
    write(
        source / "pod.csv",
        (Row(s.time, s.gpu, None, s.used, s.total, s.utilization) for s in day([0.5] * 144, [9000] * 144)),
    )
    calm = list(healthy([source / "pod.csv"], Serving.IMAGE))
    leaks = list(injected([source / "pod.csv"], Serving.IMAGE, tmp_path))
    assert [leak.truth.rate for leak in leaks] == [300.0, 1000.0, 3000.0]
    assert {leak.twin for leak in leaks} == {calm[0].name}
    assert all(moments_of(leak.path) == 144 for leak in leaks)


# --- synthetic servers ------------------------------------------------------------------------------


def test_there_are_enough_scenarios_and_their_names_are_their_own():
    names = [scenario.name for scenario in SCENARIOS]
    assert len(names) == len(set(names)) >= 25


def test_no_seed_and_no_cell_of_the_tuning_part_stands_in_the_test_part():
    assert not set(TUNING_SEEDS) & set(TEST_SEEDS)
    for scenario in SCENARIOS:
        assert not [cell for cell in scenario.tuning if cell in scenario.test], scenario.name


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, ...]:
    directory = tmp_path_factory.mktemp("synthetic")
    return tuple(
        case
        for scenario in SCENARIOS
        for case in recorded(directory, scenario, _cell(scenario), scenario.name)
    )


def _cell(scenario: Scenario) -> Cell:
    """Return the first cell; for leaks of days one of hours, since a test has no days."""
    cell = scenario.tuning[0]
    return {**cell, "life": 0.5, "rolled": 0.1} if scenario.group is Group.SLOW else cell


def test_every_recording_is_read_by_replay_or_is_one_that_may_be_refused(written):
    for case in written:
        if case.may_be_refused:
            with pytest.raises(UsageError):
                moments_of(case.path)
        else:
            assert moments_of(case.path) > 100, case.name


def test_a_file_tells_a_program_nothing_of_its_truth(written):
    assert all(re.fullmatch(r"[0-9a-f]{12}\.csv", case.path.name) for case in written)


def test_every_growth_has_its_twin_and_ends_after_it_begins(written):
    names = {case.name for case in written}
    for case in written:
        if case.truth.grows:
            assert case.twin in names
            assert case.first <= case.truth.begin <= case.truth.life < case.truth.end


def test_the_driver_alone_says_nothing_of_the_layers_and_both_views_say_the_same_of_the_card(written):
    inner = COLUMNS[COLUMNS.index("torch_reserved_bytes") :]
    of_name = {case.name: case for case in written}
    case = of_name["leak-per-request-driver_only"]
    with case.path.open() as file:
        assert not any(row[column] for row in csv.DictReader(file) for column in inner)
    layered = of_name["leak-per-request-all_layers"]
    assert list(samples(case.path)) == list(samples(layered.path))


@pytest.mark.parametrize(
    "scenario",
    [one for one in SCENARIOS if one.has_twin and one.group is not Group.SLOW],
    ids=lambda one: one.name,
)
def test_a_twin_is_the_same_server_until_the_growth_begins(scenario: Scenario):
    cell = scenario.tuning[0]
    growing, twin = (build(scenario, cell, "seed", grows) for grows in (True, False))
    begins = growing.grows_from
    assert growing.duty == twin.duty
    if begins and scenario.group is not Group.POOL:
        assert growing.used()[:begins] == twin.used()[:begins]
        assert growing.used()[begins:] != twin.used()[begins:]
    assert twin.exhausted() is None


def test_the_same_seed_gives_the_same_recording_and_another_gives_another():
    scenario = SCENARIOS[0]

    def recording(seed: str) -> list[Row]:
        trace = scenario.build(scenario.tuning[0], Random(seed), False)
        return list(rows(trace, View.ALL_LAYERS))

    assert recording("a") == recording("a")
    assert recording("a") != recording("b")


def test_a_program_that_knows_the_truth_is_given_every_mark(written):
    knowing = {case.name: Answer((_truth_of(case),) if case.truth.grows else ()) for case in written}
    judged = judge(written, knowing)
    figures = {row.name: row.measure(judged) for row in ROWS}
    whole = {
        name: figure.value for name, figure in figures.items() if name.startswith(("cause", "full", "leak"))
    }
    assert whole == {name: 1.0 if value is not None else None for name, value in whole.items()}
    assert {figure.value for name, figure in figures.items() if "alarms" in name or "called" in name} <= {
        0.0,
        None,
    }
    assert figures["forecast at half life: median error"].value == 0.0
    assert figures["forecast at half life: 80 % interval holds"].value == 1.0


def _truth_of(case: Case) -> Line:
    truth = case.truth
    end = Forecast(truth.end, truth.end - 1, truth.end + 1)
    return Line("", truth.life + 1, "1", "firing", truth.cause, forecast=end)


# --- published series -------------------------------------------------------------------------------


def test_every_published_series_says_where_it_stands_and_what_was_assumed(tmp_path):
    assert all(one.url.startswith("https://github.com/") and one.what and one.assumed for one in SERIES)
    for case in published(tmp_path):
        assert moments_of(case.path) >= 4
