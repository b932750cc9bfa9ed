"""Experiments in this process, for speed; each is run once for all tests."""

import functools
from dataclasses import replace

from vramwatch.probe.experiment import Experiment, Planted, plant
from vramwatch.probe.findings import findings
from vramwatch.probe.results import Result

SHORT = Experiment(device="cpu", prompt=24, tokens=8, requests=2)


@functools.cache
def result_of(experiment: Experiment) -> Result:
    import torch

    from vramwatch.probe.running import run

    torch.set_num_threads(1)  # as the child does for small models

    return run(experiment, lambda *_: None)


def planted(fault: Planted) -> Result:
    return result_of(plant(SHORT, fault))


def fault_names(result: Result) -> list[str]:
    return [each.name for each in findings(result) if each.is_fault]


def short(**changes: object) -> Result:
    return result_of(replace(SHORT, **changes))
