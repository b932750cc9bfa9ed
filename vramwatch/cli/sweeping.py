"""``vramwatch probe --sweep``: how large one thing may become, or whether a floor rises with requests."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from vramwatch.cli.probing import Runs, refuse_what_did_not_run
from vramwatch.cli.views.probe import floor_lines, tried_lines
from vramwatch.cli.views.terminal import terminal
from vramwatch.core.errors import UsageError
from vramwatch.probe.experiment import Experiment
from vramwatch.probe.findings import rise_of
from vramwatch.probe.results import Ended
from vramwatch.probe.sweeps import Tried, following, largest, tries_left

LEAST = {"tokens": 2}
"""The smallest that makes a run, where it is not 1."""


def run_sweep(base: Experiment, what: str, python: str | None, output_format: str) -> None:
    """Sweep ``what`` of ``base`` and show what came of it. Errors: UsageError, VramwatchError."""
    if what == "requests":
        _in_a_row(base, python, output_format)
    else:
        _largest(base, what, python, output_format)


def _in_a_row(base: Experiment, python: str | None, output_format: str) -> None:
    """Serve many requests in one process, and tell what lived after each of them."""
    result = Runs(1, python).result_of(base)
    refuse_what_did_not_run(result, f"{base.requests} requests")
    if output_format == "json":
        told = {"floors_bytes": result.floors, "rise_bytes_per_request": rise_of(result.floors)}
        click.echo(json.dumps(told | {"ended": result.ended, "why": result.why}))
        return
    terminal(sys.stdout).show(floor_lines(result))
    if result.ended is Ended.OUT_OF_MEMORY:
        click.echo(f"{result.ended} at request {len(result.floors) + 1} of {base.requests}: {result.why}")


def _largest(base: Experiment, what: str, python: str | None, output_format: str) -> None:
    """Find the largest batch, prompt or answer within the budget, each try in a process of its own."""
    if base.budget_bytes is None:
        raise UsageError(
            "--sweep takes memory until it ends: say with --budget how much, and leave its neighbours theirs"
        )
    plain, runs = replace(base, requests=1), Runs(None, python)
    tried: list[Tried] = []
    start, least = getattr(plain, what), LEAST.get(what, 1)
    while (value := following(tried, start, base.budget_bytes, least)) is not None:
        runs.expect(tries_left(tried))
        change: dict[str, Any] = {what: value}
        result = runs.result_of(replace(plain, **change), f"{what} {value}, try {len(tried) + 1}")
        refuse_what_did_not_run(result, f"{what} {value}")
        tried.append(Tried(value, result.peak if result.ended is Ended.COMPLETE else None))
        if result.at("generate") is None:  # it was not even loaded: less of anything else changes nothing
            break
    if output_format == "json":
        click.echo(json.dumps(_record(what, tried, base.budget_bytes)))
        return
    terminal(sys.stdout).show(tried_lines(what, tried, base.budget_bytes))


def _record(what: str, tried: Sequence[Tried], budget: int) -> Mapping[str, Any]:
    found = largest(tried)
    return {
        "sweep": what,
        "budget_bytes": budget,
        "largest": None if found is None else found.value,
        "tried": [{"value": each.value, "peak_bytes": each.peak} for each in tried],
    }
