"""What the verbs that run experiments share: their options, and runs with their progress."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from vramwatch.cli.options import format_of

if TYPE_CHECKING:
    from vramwatch.probe.experiment import Experiment
    from vramwatch.probe.results import Result

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

_MODEL_OPTIONS = (
    click.argument("model", default="tiny-llama"),
    click.option("--batch", default=1, show_default=True, help="Sequences at a time."),
    click.option("--prompt", default=64, show_default=True, help="Tokens of each prompt."),
    click.option("--tokens", default=50, show_default=True, help="New tokens of each sequence."),
    click.option(
        "--device", default="auto", show_default=True, help="cpu, cuda, cuda:N; auto: a GPU if any."
    ),
    click.option("--dtype", default="auto", show_default=True, help="float32, float16 or bfloat16."),
    click.option("--attention", default="auto", show_default=True, help="How it is computed: sdpa, eager, …"),
    click.option("--seed", default=0, show_default=True, help="Of weights, prompts and draws."),
    click.option("--greedy", is_flag=True, help="Take the likeliest token instead of drawing one."),
    click.option("--full-size", is_flag=True, help="A built-in model as large as it is, not scaled down."),
)

_RUN_OPTIONS = (
    click.option("--budget", metavar="SIZE", help="The most memory a run may take; more is out of memory."),
    click.option("--python", metavar="PATH", help="An interpreter that has torch; default: this one."),
    format_of("text", "json"),
)


def _all(decorators: tuple[Decorator, ...]) -> Decorator:
    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for each in reversed(decorators):
            command = each(command)
        return command

    return decorate


model_options = _all(_MODEL_OPTIONS)
budget_option = _all(_RUN_OPTIONS)


def experiment_of(asked: Mapping[str, Any], **more: Any) -> "Experiment":
    """Return the experiment that the options ask for. Errors: UsageError."""
    from vramwatch.probe.experiment import Experiment

    fields = dict(asked)
    return Experiment(
        samples=not fields.pop("greedy"),
        is_full_size=fields.pop("full_size"),
        budget_bytes=_budget(fields.pop("budget")),
        **fields,
        **more,
    )


def _budget(written: str | None) -> int | None:
    from vramwatch.core.errors import UsageError
    from vramwatch.core.units import parse_bytes

    try:
        return None if written is None else parse_bytes(written)
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from None


def refuse_what_did_not_run(result: "Result", name: str) -> None:
    """Errors: VramwatchError for a run, told as ``name``, that failed or needs what this machine lacks."""
    from vramwatch.core.errors import VramwatchError
    from vramwatch.probe.results import Ended

    if result.ended in (Ended.FAILED, Ended.NOT_HERE):
        raise VramwatchError(f"{name}: {result.ended}: {result.why}")


class Runs:
    """Runs experiments one after the other, each in a process of its own; a terminal shows how far it is."""

    def __init__(self, count: int | None, python: str | None) -> None:
        """``count``: how many there will be; None: nobody knows. ``python``: one that has torch."""
        self._count = count
        self._python = python
        self._done = 0
        self._begun = time.monotonic()

    def expect(self, more: int | None) -> None:
        """Say that there will be ``more`` runs from here on, as far as is known; None: nobody knows."""
        self._count = None if more is None else self._done + more

    def result_of(self, experiment: "Experiment", name: str = "") -> "Result":
        """Run ``experiment``, of which is told as ``name``. Errors: UsageError."""
        from vramwatch.cli.progress import course
        from vramwatch.cli.views.terminal import terminal
        from vramwatch.probe.children import run

        target = terminal(sys.stderr)

        def progress(doing: str, done: int, of: int) -> None:
            if target.interactive:
                share = (self._done + done / of) / self._count if self._count else None
                words = f"{name}: {doing}" if name else doing
                row = course(words, share, time.monotonic() - self._begun)
                target.stream.write(target.printable(f"\r\x1b[K{row[: target.width - 1]}"))
                target.stream.flush()

        try:
            result = run(experiment, progress, self._python)
        finally:
            if target.interactive:
                target.stream.write("\r\x1b[K")
        self._done += 1
        return result
