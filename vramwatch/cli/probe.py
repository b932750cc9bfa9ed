"""probe: where the memory of a generate call goes, by trying it."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vramwatch.cli.options import config_option, store_option
from vramwatch.cli.probing import Runs, budget_option, experiment_of, model_options, refuse_what_did_not_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vramwatch.probe.experiment import Experiment
    from vramwatch.probe.results import Result
    from vramwatch.probe.variants import Variant

FAULTS = (
    "retained_cache", "grad_left_on", "ignored_window", "static_ratchet", "saved_exception", "growing_batch"
)  # fmt: skip


REQUESTS = {"requests": 20}
"""Requests in a row where nobody says how many, by what is swept: a floor shows itself over many."""


@click.command("probe")
@model_options
@click.option("--requests", type=int, help="Requests in a row; default 3, and 20 with --sweep requests.")
@click.option("--compare", is_flag=True, help="Every variant, each in a process of its own, side by side.")
@click.option("--only", multiple=True, metavar="VARIANT", help="With --compare: this variant; repeatable.")
@click.option(
    "--sweep",
    type=click.Choice(["batch", "prompt", "tokens", "requests"]),
    help="How large it may be within --budget; requests: whether a floor rises with them.",
)
@click.option("--recipe", type=click.Choice(["article"]), help="A published procedure, claim by claim.")
@click.option("--fault", type=click.Choice(FAULTS), help="Plant a fault, to see it found.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page too, to keep.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Draw the layers over time too.")
@click.option("--list", "lists", is_flag=True, help="The runs that were kept; nothing is run.")
@click.option("--diff", nargs=2, metavar="A B", help="What changed between two of them; -1 is the newest.")
@click.option(
    "--scheduled", is_flag=True, help="As the section probe says, where a GPU has room; for timers."
)
@config_option
@store_option
@budget_option
def command(
    requests: int | None,
    compare: bool,
    only: tuple[str, ...],
    sweep: str | None,
    recipe: str | None,
    fault: str | None,
    html: Path | None,
    png: Path | None,
    lists: bool,
    diff: tuple[str, str] | None,
    scheduled: bool,
    config_path: Path | None,
    store_path: Path | None,
    output_format: str,
    python: str | None,
    **asked: object,
) -> None:
    """Load MODEL, generate, release, and read memory at every stage, in a separate process.

    MODEL is a built-in family with random weights, which needs no download (tiny-llama by default), a
    directory, or a hub id. It needs torch and transformers: pip install 'vramwatchd[probe]'.

    \b
    vramwatch probe
    vramwatch probe --compare --html probe.html
    vramwatch probe --fault retained_cache
    vramwatch probe --diff -2 -1
    """
    from vramwatch.cli import probe_history
    from vramwatch.cli.plotting import require_charts, write_png
    from vramwatch.cli.sweeping import run_sweep
    from vramwatch.probe.experiment import Planted, plant
    from vramwatch.probe.variants import VARIANTS, chosen

    if lists or diff:
        probe_history.show(diff, config_path, store_path, output_format)
        return
    if scheduled:
        probe_history.run_scheduled(config_path)
        return
    _refuse_contradictions({"--sweep": sweep, "--recipe": recipe, "--compare": compare}, only, (html, png))
    if png is not None:
        require_charts()
    experiment = experiment_of(
        asked, requests=requests if requests is not None else REQUESTS.get(sweep or "", 3)
    )
    if fault:
        experiment = plant(experiment, Planted(fault))
    if sweep:
        run_sweep(experiment, sweep, python, output_format)
        return
    if recipe:
        _follow(experiment, python, output_format)
        return
    rows = _run(experiment, chosen(only) if compare else VARIANTS[:1], python)
    if html is not None:
        _write(html, rows)
    if png is not None:
        write_png(png, rows[0][1])
    _show(rows, output_format)
    probe_history.hand_in({each.name: result for each, result in rows}, config_path, store_path)


def _follow(base: "Experiment", python: str | None, output_format: str) -> None:
    """Run the recipe, each run in a process of its own, and show a line for each claim."""
    from dataclasses import asdict

    from vramwatch.cli.views.probe import verdict_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.probe.recipe import experiments, verdicts

    asked = experiments(base)
    runs = Runs(len(asked), python)
    results = {name: runs.result_of(each, name) for name, each in asked.items()}
    judged = verdicts(results)
    if output_format == "json":
        click.echo(json.dumps([asdict(each) for each in judged]))
        return
    target = terminal(sys.stdout)
    target.show(verdict_lines(judged, results["as published"], target.width))


def _refuse_contradictions(
    ways: "Mapping[str, object]", only: tuple[str, ...], files: "Sequence[Path | None]"
) -> None:
    """Errors: UsageError for options that do not go together, or a file that could not be written."""
    from vramwatch.core.errors import UsageError

    asked = [option for option, is_asked in ways.items() if is_asked]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)}: give one of them")
    if only and not ways["--compare"]:
        raise UsageError(f"--only {only[0]}: it chooses among the variants of --compare; give that too")
    for file in filter(None, files):
        if ways["--sweep"] or ways["--recipe"]:
            raise UsageError(f"{file}: {asked[0]} makes no page and no picture; a run and --compare do")
        if not file.parent.is_dir():
            raise UsageError(f"{file}: there is no directory {file.parent}")


Rows = list[tuple["Variant", "Result"]]


def _run(experiment: "Experiment", variants: "Sequence[Variant]", python: str | None) -> Rows:
    """Run the variants, one after the other; the first is the experiment itself.

    Errors: VramwatchError where that did not run, at once: there is nothing to compare the others with.
    """
    from vramwatch.probe.variants import experiment_of

    runs, count = Runs(len(variants), python), len(variants)
    rows: Rows = []
    for place, each in enumerate(variants, 1):
        name = f"{each.name} ({place} of {count})" if count > 1 else ""
        result = runs.result_of(experiment_of(each, experiment), name)
        if not rows:
            refuse_what_did_not_run(result, experiment.model)
        rows.append((each, result))
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
