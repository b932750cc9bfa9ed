"""probe: where the memory of a generate call goes, by trying it."""

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from vramwatch.probe.experiment import Experiment
    from vramwatch.probe.results import Result

FAULTS = (
    "retained_cache", "grad_left_on", "ignored_window", "static_ratchet", "saved_exception", "growing_batch"
)  # fmt: skip


@click.command("probe", short_help="Where the memory of a generate call goes, by trying it.")
@click.argument("model", default="tiny-llama")
@click.option("--batch", default=1, show_default=True, help="Sequences at a time.")
@click.option("--prompt", default=64, show_default=True, help="Tokens of each prompt.")
@click.option("--tokens", default=50, show_default=True, help="New tokens of each sequence.")
@click.option("--requests", default=3, show_default=True, help="Requests in a row.")
@click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:N; auto: a GPU if there is one."
)
@click.option("--dtype", default="auto", show_default=True, help="float32, float16 or bfloat16.")
@click.option(
    "--attention", default="auto", show_default=True, help="How attention is computed: sdpa, eager, …"
)
@click.option("--seed", default=0, show_default=True, help="Of weights, prompts and draws.")
@click.option("--greedy", is_flag=True, help="Take the likeliest token instead of drawing one.")
@click.option("--full-size", is_flag=True, help="A built-in model as large as it is, not scaled down.")
@click.option("--compare", is_flag=True, help="Every variant, each in a process of its own, side by side.")
@click.option("--only", multiple=True, metavar="VARIANT", help="With --compare: this variant; repeatable.")
@click.option("--fault", type=click.Choice(FAULTS), help="Plant a fault, to see it found.")
@click.option("--budget", metavar="SIZE", help="The most memory that a run may take; more is out of memory.")
@click.option("--python", metavar="PATH", help="An interpreter that has torch; default: this one.")
@click.option(
    "--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def command(
    model: str,
    batch: int,
    prompt: int,
    tokens: int,
    requests: int,
    device: str,
    dtype: str,
    attention: str,
    seed: int,
    greedy: bool,
    full_size: bool,
    compare: bool,
    only: tuple[str, ...],
    fault: str | None,
    budget: str | None,
    python: str | None,
    output_format: str,
) -> None:
    """Load MODEL, generate, release, and read memory at every stage, in a process of its own.

    MODEL is a built-in family with random weights, which needs no download (tiny-llama by default), a
    directory, or a hub id. It needs torch and transformers: pip install 'vramwatchd[probe]'.

    \b
    vramwatch probe
    vramwatch probe --compare
    vramwatch probe --fault retained_cache
    """
    from vramwatch.core.units import parse_bytes
    from vramwatch.probe.experiment import Experiment, Planted, plant

    experiment = Experiment(
        model=model, device=device, dtype=dtype, batch=batch, prompt=prompt, tokens=tokens, requests=requests,
        seed=seed, samples=not greedy, attention=attention, is_full_size=full_size,
        budget_bytes=_budget(budget, parse_bytes),
    )  # fmt: skip
    if fault:
        experiment = plant(experiment, Planted(fault))
    if compare:
        _compare(experiment, only, python, output_format)
    else:
        _show(_measured(experiment, "", python), output_format)


def _budget(written: str | None, parse: "Callable[[str], int]") -> int | None:
    from vramwatch.core.errors import UsageError

    try:
        return None if written is None else parse(written)
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from None


def _measured(experiment: "Experiment", name: str, python: str | None) -> "Result":
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.probe.children import run

    target = terminal(sys.stderr)

    def progress(doing: str, done: int, of: int) -> None:
        if target.interactive:
            target.stream.write(f"\r\x1b[K{name}{doing} ({done}/{of})")
            target.stream.flush()

    try:
        return run(experiment, progress, python)
    finally:
        if target.interactive:
            target.stream.write("\r\x1b[K")


def _show(result: "Result", output_format: str) -> None:
    from vramwatch.cli.views.probe import result_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.probe.results import to_json

    if output_format == "json":
        click.echo(json.dumps(to_json(result)))
        return
    target = terminal(sys.stdout)
    target.show(result_lines(result, target.width, target.glyphs))


def _compare(experiment: "Experiment", only: tuple[str, ...], python: str | None, output_format: str) -> None:
    from vramwatch.cli.views.probe import comparison_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.core.errors import UsageError
    from vramwatch.probe.results import to_json
    from vramwatch.probe.variants import VARIANTS, experiment_of

    names = [each.name for each in VARIANTS]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise UsageError(f"--only {unknown[0]}: there is no such variant; there are {', '.join(names)}")
    wanted = {*only, *(each.beside for each in VARIANTS if each.name in only)}
    chosen = [each for each in VARIANTS if not only or each.name in wanted]
    rows = []
    for place, each in enumerate(chosen):
        name = f"[{place + 1}/{len(chosen)}] {each.name}: "
        rows.append((each, _measured(replace(experiment_of(each, experiment)), name, python)))
    if output_format == "json":
        click.echo(json.dumps({each.name: to_json(result) for each, result in rows}))
        return
    target = terminal(sys.stdout)
    target.show(comparison_lines(rows, target.width, target.glyphs))
