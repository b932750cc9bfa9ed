"""Runs that are kept, and what changed between two of them; no torch is needed."""

import json
from dataclasses import replace

import pytest

from vramwatch.cli.probe_history import find
from vramwatch.core.drifts import Change, changes
from vramwatch.core.errors import UsageError
from vramwatch.core.probe_runs import read as read_run
from vramwatch.core.probe_runs import to_json as to_run_json
from vramwatch.probe import keeping
from vramwatch.probe.experiment import Experiment
from vramwatch.probe.results import Ended, Reading, Result, read, to_json
from vramwatch.probe.summing import summed
from vramwatch.sdk.tracing import Sample

RUN = Result(
    Experiment(),
    Ended.COMPLETE,
    environment={"torch": "2.13.0", "device": "cpu"},
    readings=(Reading("load", 0.1, tensors=100), Reading("generate", 0.2, tensors=150, peak=1000)),
    samples=(Sample(0, 0, 1, 8, (8,), (64,), (64,), False),),
    tokens_per_second=10.0,
)


def test_a_result_reads_back_as_it_was_written() -> None:
    assert read(to_json(RUN)) == RUN


def test_a_kept_run_is_found_by_how_its_id_begins_and_by_its_age(tmp_path) -> None:
    first = keeping.keep({"reference": RUN}, 1e9, tmp_path)
    second = keeping.keep({"reference": RUN}, 1.1e9, tmp_path)
    assert [each.id for each in keeping.all_kept(tmp_path)] == [first, second]
    runs = [summed(each) for each in keeping.all_kept(tmp_path)]
    assert find(first[:8], runs).id == first
    assert find("-1", runs).id == second


def test_two_runs_in_one_second_are_both_kept(tmp_path) -> None:
    assert keeping.keep({"reference": RUN}, 1e9, tmp_path) != keeping.keep({"reference": RUN}, 1e9, tmp_path)


def test_a_run_that_is_not_kept_is_refused_with_those_that_are(tmp_path) -> None:
    name = keeping.keep({"reference": RUN}, 1e9, tmp_path)
    with pytest.raises(UsageError, match=name):
        find("1999", [summed(each) for each in keeping.all_kept(tmp_path)])


def test_a_fault_that_shows_in_the_cache_alone_is_still_named_of_a_run_that_a_file_keeps(tmp_path) -> None:
    graphed = replace(RUN, samples=(RUN.samples[0]._replace(carries_grad=True),))
    keeping.keep({"reference": graphed}, 1e9, tmp_path)
    (kept,) = keeping.all_kept(tmp_path)
    assert summed(kept).faults == ("cache that carries gradients",)


def test_a_damaged_file_is_passed_over(tmp_path) -> None:
    keeping.keep({"reference": RUN}, 1e9, tmp_path)
    (tmp_path / "20300101T000000Z.json").write_text('{"made": 1, "results": {"reference": {}}}')
    assert len(keeping.all_kept(tmp_path)) == 1


def test_a_new_library_and_a_higher_peak_are_told_and_noise_is_not() -> None:
    later = replace(
        RUN,
        environment={"torch": "2.14.0", "device": "cpu"},
        readings=(RUN.readings[0], replace(RUN.readings[1], peak=1200)),
        tokens_per_second=9.0,
    )
    before, after = (summed(keeping.Kept("a", 1e9, {"reference": each})) for each in (RUN, later))
    assert changes(before, after) == [
        Change("", "torch", "2.13.0", "2.14.0"),
        Change("reference", "peak", 1000, 1200),
    ]


def test_of_a_model_in_a_folder_the_name_alone_is_kept_and_two_folders_are_two_experiments(tmp_path) -> None:
    runs = []
    for parent in ("one", "two"):
        place = tmp_path / parent / "my-model"
        place.mkdir(parents=True)
        asked = replace(RUN, experiment=Experiment(model=str(place)))
        runs.append(summed(keeping.Kept("20261125T172522Z", 1e9, {"reference": asked})))
    assert [each.model for each in runs] == ["my-model", "my-model"]
    assert str(tmp_path) not in json.dumps([to_run_json(each) for each in runs])
    assert not runs[0].is_like(runs[1])


def test_what_is_handed_in_reads_back_as_it_was_summed() -> None:
    run = summed(keeping.Kept("20261125T172522Z", 1e9, {"reference": RUN}), is_scheduled=True)
    assert read_run(json.loads(json.dumps(to_run_json(run)))) == run
