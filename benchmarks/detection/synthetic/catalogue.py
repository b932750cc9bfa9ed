"""All scenarios, and their recordings with the truth beside each."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from benchmarks.detection.cases import Case, Cause, Group, Suite, Truth
from benchmarks.detection.recordings import blind, write
from benchmarks.detection.synthetic import badly_recorded, growing, healthy, minutes, pools, slow
from benchmarks.detection.synthetic.scenario import Cell, Scenario
from benchmarks.detection.synthetic.server import Trace, rows

SCENARIOS: tuple[Scenario, ...] = (
    *healthy.SCENARIOS,
    *badly_recorded.SCENARIOS,
    *growing.SCENARIOS,
    *minutes.SCENARIOS,
    *pools.SCENARIOS,
    *slow.SCENARIOS,
)


def synthetic(directory: Path, final: bool) -> Iterator[Case]:
    """Yield suite C, written to ``directory``: the test part if ``final``, else the tuning part."""
    for scenario in SCENARIOS:
        for number, cell, seed in scenario.draws(final):
            yield from recorded(directory, scenario, cell, f"C-{scenario.name}-{number}-{seed}")


def build(scenario: Scenario, cell: Cell, name: str, grows: bool) -> Trace:
    """Return the server; its twin draws the same chances."""
    return scenario.build(cell, Random(name), grows)


def recorded(directory: Path, scenario: Scenario, cell: Cell, name: str) -> Iterator[Case]:
    """Yield the recordings of one server in each view, and of its twin where it grows."""
    for grows in (True, False) if scenario.has_twin else (False,):
        trace = build(scenario, cell, name, grows)
        truth = _truth(scenario, trace, cell, grows)
        for view in scenario.views:
            stem = f"{name}-{view}{'' if grows or not scenario.has_twin else '-twin'}"
            path = blind(directory, stem)
            write(path, rows(trace, view))
            yield Case(
                stem,
                path,
                Suite.SYNTHETIC,
                scenario.serving,
                view,
                scenario.group if grows or not scenario.has_twin else Group.HEALTHY,
                truth,
                trace.time(0),
                trace.time(_last(trace)),
                f"{stem}-twin" if grows else None,
                scenario.may_be_refused,
            )


def _truth(scenario: Scenario, trace: Trace, cell: Cell, grows: bool) -> Truth:
    if not grows or trace.grows_from is None or trace.life_from is None:
        return Truth(
            scenario.cause if not scenario.has_twin else Cause.LOAD, judges_cause=scenario.judges_cause
        )
    out_at = trace.exhausted()
    return Truth(
        scenario.cause,
        True,
        trace.time(trace.grows_from),
        trace.time(trace.life_from),
        trace.time(_last(trace) if out_at is None else out_at),
        out_at is not None and scenario.judges_forecast,
        scenario.judges_cause,
        cell["rate"] if scenario.group is Group.SLOW else None,
    )


def _last(trace: Trace) -> int:
    bounds = (len(trace.duty) - 1, trace.told, trace.exhausted())
    return min(bound for bound in bounds if bound is not None)
