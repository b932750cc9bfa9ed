"""``vramwatch history``: who held what, when."""

import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from vramwatch.cli.asking import open_history
from vramwatch.cli.options import config_option, format_option, store_option
from vramwatch.cli.when import parse_span, parse_when
from vramwatch.core.errors import UsageError
from vramwatch.core.series import USED_BYTES
from vramwatch.core.units import Seconds, parse_seconds

if TYPE_CHECKING:
    from vramwatch.cli.finding import Span
    from vramwatch.store import History

SHORTEST_STEP = Seconds(0.2)
"""No GPU is read more often."""


@click.command()
@click.option("--gpu", help="One GPU: its ordinal (0, 0:1), its UUID, or how that begins.")
@click.option("--owner", help="Owners by key or name; * and ? stand for anything, as in all names below.")
@click.option("--pid", type=click.IntRange(min=1), help="The processes that had this pid.")
@click.option("--engine", help="Processes of an inference engine: vllm, sglang, llama_cpp.")
@click.option("--container", help="Processes of containers, by name or id.")
@click.option("--pod", help="Processes of pods: name, or namespace/name.")
@click.option("--unit", help="Processes of systemd units.")
@click.option("--job", help="Processes of Slurm jobs, by number or name.")
@click.option("--user", help="Processes of users, by name or uid.")
@click.option("--quantity", default=USED_BYTES, show_default=True, help="Which figure.")
@click.option("--since", default="1d", show_default=True, help="From when: 7d, 03:12, yesterday 03:12.")
@click.option("--until", default="now", show_default=True, help="Till when.")
@click.option("--at", "moment", help="Who held what at this one moment.")
@click.option("--step", help="Length of a step: 5m, 1h. Default: as many as fit a screen.")
@click.option("--raw", is_flag=True, help="Every sample that was read.")
@click.option(
    "--growth", is_flag=True, help="Last minus first of each owner, most first; how fast, and the verdict."
)
@click.option("--plot", is_flag=True, help="Draw it.")
@click.option("--top", type=click.IntRange(min=1), help="The largest so many alone.")
@config_option
@store_option
@format_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    quantity: str,
    since: str,
    until: str,
    moment: str | None,
    step: str | None,
    raw: bool,
    growth: bool,
    plot: bool,
    top: int | None,
    config_path: Path | None,
    store_path: Path | None,
    output_format: str,
    gpu: str | None,
    pid: int | None,
    **names: str | None,
) -> None:
    """Show who held what, and when; times are local."""
    from vramwatch.cli.answering import Form, answer
    from vramwatch.cli.finding import Span, find
    from vramwatch.cli.selection import Selection

    now = time.time()
    if moment is not None:
        _refuse_beside_at(context)
        at = parse_when(moment, now, None)
        if at > now:
            raise UsageError(f"--at {moment}: that is yet to come")
        _answer_at(open_history(config_path, store_path), gpu, Span(at, at, now), output_format)
        return
    _refuse_two_forms(context, output_format)
    asked = Span(*parse_span(since, until, now, None), now)
    selection = Selection(gpu=gpu, pid=pid, quantity=quantity, **names)
    form = Form(output_format, selection.is_open, raw, growth, plot, _parse_step(step), top)
    found = find(open_history(config_path, store_path), selection, asked)
    if not answer(found, form):
        click.echo(f"vramwatch: {found.if_empty}", err=True)


def _refuse_beside_at(context: click.Context) -> None:
    """--at is one moment of whole GPUs: what narrows a span or forms its answer has no meaning beside it."""
    beside = {parameter.name for parameter in context.command.params} - {
        "gpu", "moment", "config_path", "store_path", "output_format"
    }  # fmt: skip
    given = _given(context, beside)
    if given:
        raise UsageError(f"--at shows whole GPUs at one moment; leave out {', '.join(given)}")


def _refuse_two_forms(context: click.Context, output_format: str) -> None:
    given = _given(context, {"raw", "growth", "plot", "step"})
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are answers of different forms; write one of them")
    if given == ["--plot"] and output_format != "text":
        raise UsageError(f"--plot draws text; leave out --format {output_format}, or --plot")


def _given(context: click.Context, names: Collection[str | None]) -> list[str]:
    """Return which of the options ``names`` stand on the command line, in the order of --help."""
    return [
        f"--{name}"
        for parameter in context.command.params
        if (name := parameter.name) in names
        and name is not None
        and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]


def _parse_step(step: str | None) -> Seconds | None:
    if step is None:
        return None
    try:
        seconds = parse_seconds(step)
    except ValueError as error:
        raise UsageError(f"--step: {error}") from None
    if seconds < SHORTEST_STEP:
        raise UsageError(f"--step {step} is too short; write {SHORTEST_STEP:g}s or more, as in 5m")
    return seconds


def _answer_at(history: "History", gpu: str | None, span: "Span", output_format: str) -> None:
    from vramwatch.cli.finding import nothing_between
    from vramwatch.cli.looking import past_status
    from vramwatch.cli.printing import print_statuses
    from vramwatch.cli.selection import pick_gpu
    from vramwatch.cli.views.status import status_lines
    from vramwatch.cli.views.terminal import terminal

    uuid = pick_gpu(gpu, history.gpus()).uuid if gpu is not None else None
    status = past_status(history, span.since, span.zone, uuid)
    if status is None:
        click.echo(f"vramwatch: {nothing_between(history, span)}", err=True)
    if output_format != "text":
        print_statuses([status] if status else [], output_format)
    elif status:
        target = terminal(sys.stdout)
        target.show(status_lines(status, target.width, target.glyphs))
