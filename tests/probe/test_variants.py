"""What variants are said to have changed, in words; no torch is needed."""

import pytest

from vramwatch.probe.experiment import Experiment
from vramwatch.probe.results import Ended, Reading, Result
from vramwatch.probe.variants import AGAIN, REFERENCE, VARIANTS, changes, chosen

BY_NAME = {each.name: each for each in VARIANTS}


def ran(name: str, speed: float, peak: int = 1000):
    stages = (
        Reading("load", 0.1, tensors=500),
        Reading("generate", 0.2, tensors=900, peak=peak),
        Reading("release", 0.3, tensors=500),
    )
    return BY_NAME[name], Result(Experiment(), Ended.COMPLETE, readings=stages, tokens_per_second=speed)


def test_on_a_quiet_machine_a_variant_that_is_much_slower_is_said_to_be() -> None:
    told = list(changes([ran(REFERENCE, 300.0), ran("no_cache", 60.0), ran(AGAIN, 290.0)]))
    assert told[0].startswith("use_cache=False: the peak is the same to the byte, 0.2 times as fast")
    assert len(told) == 2


@pytest.mark.parametrize("speeds", [(300.0, 60.0), (60.0, 300.0)])
def test_where_the_same_twice_differs_as_much_nothing_is_said_of_speed_but_that(speeds) -> None:
    told = list(changes([ran(REFERENCE, speeds[0]), ran("no_cache", 60.0), ran(AGAIN, speeds[1])]))
    assert not any("as fast" in each for each in told)
    assert told[-1].startswith("speeds that differ by less than 5.0 times say nothing here")


def test_memory_is_compared_all_the_same() -> None:
    told = list(changes([ran(REFERENCE, 300.0), ran("eager", 60.0, peak=2000), ran(AGAIN, 60.0)]))
    assert told[0].startswith("eager attention: the peak changes by +1000 B (+100.0%)")


def test_what_is_chosen_comes_with_what_it_is_compared_to_and_the_experiment_itself_first() -> None:
    assert [each.name for each in chosen(["loop_grad"])] == [REFERENCE, "loop_no_grad", "loop_grad"]
    assert chosen([]) == list(VARIANTS)
