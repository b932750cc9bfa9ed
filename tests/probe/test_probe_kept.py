"""Runs that are kept, and what changed between two of them; no torch is needed."""

from dataclasses import replace

import pytest

from vramwatch.core.errors import UsageError
from vramwatch.probe import keeping
from vramwatch.probe.experiment import Experiment
from vramwatch.probe.results import Ended, Reading, Result, read, to_json
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
    assert keeping.find(first[:8], tmp_path).id == first
    assert keeping.find("-1", tmp_path).id == second


def test_two_runs_in_one_second_are_both_kept(tmp_path) -> None:
    assert keeping.keep({"reference": RUN}, 1e9, tmp_path) != keeping.keep({"reference": RUN}, 1e9, tmp_path)


def test_a_run_that_is_not_kept_is_refused_with_those_that_are(tmp_path) -> None:
    name = keeping.keep({"reference": RUN}, 1e9, tmp_path)
    with pytest.raises(UsageError, match=name):
        keeping.find("1999", tmp_path)


def test_a_damaged_file_is_passed_over(tmp_path) -> None:
    keeping.keep({"reference": RUN}, 1e9, tmp_path)
    (tmp_path / "20300101T000000Z.json").write_text('{"made": 1, "results": {"reference": {}}}')
    assert len(keeping.all_kept(tmp_path)) == 1


def test_a_new_library_and_a_higher_peak_are_told_and_noise_is_not(tmp_path) -> None:
    later = replace(
        RUN,
        environment={"torch": "2.14.0", "device": "cpu"},
        readings=(RUN.readings[0], replace(RUN.readings[1], peak=1200)),
        tokens_per_second=9.0,
    )
    names = [keeping.keep({"reference": each}, 1e9 + n, tmp_path) for n, each in enumerate((RUN, later))]
    before, after = (keeping.find(each, tmp_path) for each in names)
    assert keeping.changes(before, after) == [
        keeping.Change("", "torch", "2.13.0", "2.14.0"),
        keeping.Change("reference", "peak", 1000, 1200),
    ]
