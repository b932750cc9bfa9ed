"""probe: where the memory of a generate call goes, by trying it."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vramwatch.cli.options import config_option, store_option
from vramwatch.cli.probing import budget_option, experiment_of, measured, model_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vramwatch.probe.experiment import Experiment
    from vramwatch.probe.results import Result
    from vramwatch.probe.variants import Variant

FAULTS = (
    "retained_cache", "grad_left_on", "ignored_window", "static_ratchet", "saved_exception", "growing_batch"
)  # fmt: skip


@click.command("probe", short_help="Where the memory of a generate call goes, by trying it.")
@model_options
@click.option("--requests", default=3, show_default=True, help="Requests in a row.")
@click.option("--compare", is_flag=True, help="Every variant, each in a process of its own, side by side.")
@click.option("--only", multiple=True, metavar="VARIANT", help="With --compare: this variant; repeatable.")
@click.option(
    "--sweep", type=click.Choice(["batch", "prompt", "tokens"]), help="How large it may be within --budget."
)
@click.option("--recipe", type=click.Choice(["article"]), help="A published procedure, claim by claim.")
@click.option("--fault", type=click.Choice(FAULTS), help="Plant a fault, to see it found.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page too, to keep.")
@click.option("--list", "lists", is_flag=True, help="The runs that were kept; nothing is run.")
@click.option("--diff", nargs=2, metavar="A B", help="What changed between two of them; -1 is the newest.")
@click.option(
    "--scheduled", is_flag=True, help="As the section probe says, where a GPU has room; for timers."
)
@config_option
@store_option
@budget_option
def command(
    requests: int,
    compare: bool,
    only: tuple[str, ...],
    sweep: str | None,
    recipe: str | None,
    fault: str | None,
    html: Path | None,
    lists: bool,
    diff: tuple[str, str] | None,
    scheduled: bool,
    config_path: Path | None,
    store_path: Path | None,
    output_format: str,
    python: str | None,
    **asked: object,
) -> None:
    """Load MODEL, generate, release, and read memory at every stage, in a process of its own.

    MODEL is a built-in family with random weights, which needs no download (tiny-llama by default), a
    directory, or a hub id. It needs torch and transformers: pip install 'vramwatchd[probe]'.

    \b
    vramwatch probe
    vramwatch probe --compare --html probe.html
    vramwatch probe --fault retained_cache
    vramwatch probe --diff -2 -1
    """
    from vramwatch.cli import probe_history
    from vramwatch.probe.experiment import Planted, plant

    if lists or diff:
        probe_history.show(diff, config_path, store_path, output_format)
        return
    if scheduled:
        probe_history.run_scheduled(config_path)
        return
    experiment = experiment_of(asked, requests=requests)
    if sweep:
        _sweep(experiment, sweep, python, output_format)
        return
    if recipe:
        _follow(experiment, python, output_format)
        return
    if fault:
        experiment = plant(experiment, Planted(fault))
    rows = _compared(experiment, only, python) if compare else _one(experiment, python)
    if html is not None:
        _write(html, rows)
    _show(rows, output_format)
    probe_history.hand_in({each.name: result for each, result in rows}, config_path)


def _sweep(base: "Experiment", what: str, python: str | None, output_format: str) -> None:
    """Find the largest batch, prompt or answer within the budget, each try in a process of its own.

    Errors: UsageError without a budget; VramwatchError for a try that fails for another reason.
    """
    from dataclasses import asdict, replace

    from vramwatch.cli.views.probe import tried_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.core.errors import UsageError, VramwatchError
    from vramwatch.probe.results import Ended
    from vramwatch.probe.sweeps import Tried, following

    if base.budget_bytes is None:
        raise UsageError(
            "--sweep takes memory until it ends: say with --budget how much, and leave its neighbours theirs"
        )
    plain = replace(base, requests=1)
    tried: list[Tried] = []
    while (value := following(tried, getattr(plain, what), base.budget_bytes)) is not None:
        change: dict[str, Any] = {what: value}
        result = measured(replace(plain, **change), f"{what} {value}, try {len(tried) + 1}: ", python)
        if result.ended not in (Ended.COMPLETE, Ended.OUT_OF_MEMORY):
            raise VramwatchError(f"{what} {value}: {result.ended}: {result.why}")
        tried.append(Tried(value, result.peak if result.ended is Ended.COMPLETE else None))
    if output_format == "json":
        click.echo(json.dumps([asdict(each) for each in tried]))
        return
    terminal(sys.stdout).show(tried_lines(what, tried, base.budget_bytes))


def _follow(base: "Experiment", python: str | None, output_format: str) -> None:
    """Run the recipe, each run in a process of its own, and show a line for each claim."""
    from dataclasses import asdict

    from vramwatch.cli.views.probe import verdict_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.probe.recipe import experiments, verdicts

    asked = experiments(base)
    results = {
        name: measured(each, f"[{place + 1}/{len(asked)}] {name}: ", python)
        for place, (name, each) in enumerate(asked.items())
    }
    judged = verdicts(results)
    if output_format == "json":
        click.echo(json.dumps([asdict(each) for each in judged]))
        return
    target = terminal(sys.stdout)
    target.show(verdict_lines(judged, results["as published"], target.width))


Rows = list[tuple["Variant", "Result"]]


def _one(experiment: "Experiment", python: str | None) -> Rows:
    from vramwatch.probe.variants import VARIANTS

    return [(VARIANTS[0], measured(experiment, "", python))]


def _compared(experiment: "Experiment", only: tuple[str, ...], python: str | None) -> Rows:
    """Run the variants, one after the other. Errors: UsageError for one that there is not."""
    from vramwatch.core.units import show_seconds
    from vramwatch.probe import variants

    chosen = variants.chosen(only)
    rows: Rows = []
    begun = time.monotonic()
    for place, each in enumerate(chosen):
        left = (time.monotonic() - begun) / max(1, place) * (len(chosen) - place)
        eta = f", {show_seconds(round(left))} left" if place else ""
        name = f"[{place + 1}/{len(chosen)}{eta}] {each.name}: "
        rows.append((each, measured(variants.experiment_of(each, experiment), name, python)))
    return rows


def _show(rows: "Sequence[tuple[Variant, Result]]", output_format: str) -> None:
    from vramwatch.cli.views.probe import comparison_lines, result_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.probe.results import to_json

    if output_format == "json":
        told = {each.name: to_json(result) for each, result in rows}
        click.echo(json.dumps(told if len(rows) > 1 else to_json(rows[0][1])))
        return
    target = terminal(sys.stdout)
    target.show(result_lines(rows[0][1], target.width, target.glyphs))
    if len(rows) > 1:
        target.show(comparison_lines(rows, target.width, target.glyphs))


def _write(path: Path, rows: "Sequence[tuple[Variant, Result]]") -> None:
    from vramwatch import __version__
    from vramwatch.cli.views.probe_page import page
    from vramwatch.core.errors import VramwatchError

    try:
        path.write_text(page(rows, __version__, time.time()), encoding="utf-8")
    except OSError as error:
        raise VramwatchError(f"{path}: cannot be written ({error.strerror})") from error
    click.echo(f"wrote {path}", err=True)
