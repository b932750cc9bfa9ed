"""kv: the KV cache of a model, layer by layer and token by token."""

import json
import sys

import click

from vramwatch.cli.probing import Runs, budget_option, model_options
from vramwatch.cli.views.terminal import terminal

CACHES = ("dynamic", "unaware", "static", "offloaded", "quantized")


@click.command("kv")
@model_options
@click.option("--requests", default=1, show_default=True, help="Requests in a row; the last is shown.")
@click.option(
    "--cache",
    type=click.Choice(CACHES),
    default="dynamic",
    show_default=True,
    help="The cache that is traced; unaware: DynamicCache() without the model's configuration.",
)
@click.option("--retain", is_flag=True, help="Keep every request's cache, as a leaking server does.")
@budget_option
def command(
    retain: bool, cache: str, requests: int, output_format: str, python: str | None, **asked: object
) -> None:
    """Trace the KV cache of MODEL through a generate call, with the formula's figures beside it.

    Logical bytes are what keys and values take; resident bytes are what the storages behind them hold. Your
    own program can trace its cache likewise: from vramwatch_sdk import trace_kv.

    \b
    vramwatch kv
    vramwatch kv mistral-7b-v0.1 --prompt 100
    vramwatch kv tiny-mistral --cache unaware
    """
    from vramwatch.cli.probing import experiment_of, refuse_what_did_not_run
    from vramwatch.cli.views.kv import kv_lines
    from vramwatch.cli.views.probe import about
    from vramwatch.cli.views.text import Line, Tone, line
    from vramwatch.probe.results import to_json

    experiment = experiment_of(asked, cache=cache, requests=requests, retains=retain)
    result = Runs(1, python).result_of(experiment)
    refuse_what_did_not_run(result, result.experiment.model)
    if output_format == "json":
        click.echo(json.dumps(to_json(result)))
        return
    target = terminal(sys.stdout)
    target.show([line(about(result), Tone.STRONG), Line()])
    target.show(kv_lines(result, target.width, target.glyphs))
