"""Which change between runs of the probe is a drift."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.drifting import FIGURES, probe_run
from vramwatch.core.drifts import MEASURED_BY, NOISE, SLOWER, changes, drift, since_versions, standing
from vramwatch.core.probe_runs import read, to_json
from vramwatch.core.units import MIB

NEWER = {"torch": "2.14.0", "transformers": "5.24.0", "device": "cpu"}


def runs(count):
    return [probe_run(number) for number in range(count)]


@pytest.mark.parametrize("name", ["peak", "weights", "kv", "held"])
def test_bytes_that_grow_by_more_than_noise_drift_with_both_figures_and_the_new_library(name):
    grown = replace(FIGURES, **{name: round(1.05 * getattr(FIGURES, name))})
    found = drift(probe_run(9, grown, environment=NEWER), runs(3))
    assert "torch 2.13.0 -> 2.14.0" in found.sentence
    assert "(+5%, measured by 3 runs)" in found.sentence
    assert found.numbers == {
        f"{name}_bytes": round(1.05 * getattr(FIGURES, name)),
        f"before_{name}_bytes": getattr(FIGURES, name),
    }
    assert (found.since, found.count) == (probe_run().made, 3)


@given(st.floats(0.0, 1 + NOISE), st.floats(1 / SLOWER + 0.01, 10.0))
def test_noise_less_memory_and_more_speed_are_no_drift(share, faster):
    shares = {name: round(share * getattr(FIGURES, name)) for name in ("peak", "weights", "kv", "held")}
    assert drift(probe_run(9, replace(FIGURES, **shares, speed=faster * 50.0)), runs(5)) is None


def test_a_slow_creep_is_found_though_no_run_differs_much_from_the_one_before():
    peaks = [round(FIGURES.peak * 1.005**number) for number in range(20)]
    crept = [probe_run(number, replace(FIGURES, peak=peak)) for number, peak in enumerate(peaks)]
    drifted = [number for number, run in enumerate(crept) if drift(run, crept[:number])]
    assert drifted == list(range(drifted[0], 20))
    assert drifted[0] > MEASURED_BY


def test_a_slower_run_drifts_once_three_have_said_how_fast_it_usually_is():
    slow = probe_run(9, replace(FIGURES, speed=20.0))
    assert drift(slow, runs(2)) is None
    assert "tokens/s 20.0 instead of 50.0" in drift(slow, runs(3)).sentence


def test_a_run_that_ends_otherwise_and_a_new_fault_are_drifts():
    ended = drift(probe_run(9, replace(FIGURES, ended="out of memory", peak=None)), runs(1))
    assert "out of memory where 1 run ended well" in ended.sentence
    assert "retained cache" in drift(probe_run(9, faults=("retained cache",)), runs(1)).sentence


@pytest.mark.parametrize(
    "other", [{"digest": "ffffffffffff"}, {"environment": {"device": "NVIDIA H100 80GB HBM3"}}]
)
def test_another_experiment_or_device_is_no_measure(other):
    larger = replace(FIGURES, peak=2 * FIGURES.peak)
    assert drift(probe_run(9, larger), [probe_run(0, **other)]) is None
    assert drift(probe_run(9, larger), []) is None


def test_a_run_that_ended_badly_is_no_measure():
    failed = probe_run(0, replace(FIGURES, ended="failed", peak=None))
    assert drift(probe_run(9), [failed]) is None


def test_what_a_person_accepted_is_the_measure_from_then_on():
    larger = replace(FIGURES, peak=130 * MIB)
    accepted = [*runs(5), probe_run(5, larger, is_accepted=True)]
    assert standing(accepted) == []
    assert drift(probe_run(6, larger), accepted) is None
    assert drift(probe_run(6, replace(FIGURES, peak=140 * MIB)), accepted) is not None


def test_a_drift_stands_until_a_later_run_is_as_it_was():
    drifted = [*runs(3), probe_run(3, replace(FIGURES, peak=130 * MIB))]
    (found,) = standing(drifted)
    assert found.run is drifted[-1]
    assert standing([*drifted, probe_run(4)]) == []


def test_what_changed_with_a_new_library_is_told_of_its_first_run_alone():
    larger = replace(FIGURES, peak=130 * MIB)
    new = [probe_run(number, larger, environment=NEWER) for number in (2, 3)]
    (told,) = since_versions([*runs(2), *new]).items()
    assert told[0] == new[0].id
    assert [(each.what, each.before, each.after) for each in told[1]] == [
        ("torch", "2.13.0", "2.14.0"),
        ("peak", FIGURES.peak, larger.peak),
    ]


def test_two_equal_runs_have_nothing_changed():
    assert changes(*runs(2)) == []


# --- what others hand in --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "../../etc"},
        {"digest": "x"},
        {"made": float("nan")},
        {"figures": {}},
        {"figures": {"reference": {"ended": "complete", "peak": -1}}},
        {"figures": {"reference": {"ended": "complete", "speed": float("inf")}}},
        {"figures": {f"v{n}": {"ended": "complete"} for n in range(65)}},
        {"asked": {"Model; DROP": 1}},
        {"environment": {"torch": 2}},
        {"asked": None},
    ],
)
def test_what_is_no_run_is_refused(wrong):
    with pytest.raises(ValueError, match="run of the probe"):
        read(to_json(probe_run()) | wrong)


def test_texts_are_cut_and_cleaned_and_nobody_names_himself_the_author():
    given = to_json(probe_run()) | {"author": "root", "asked": {"model": "\x1b[31mevil" + "x" * 1000}}
    run = read(given)
    assert run.author == ""
    assert run.model.startswith("evilx")
    assert len(run.model) == 200
