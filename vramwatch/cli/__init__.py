"""The command line: one file a verb, imported when it is called."""

import errno
import importlib
import sys
from typing import Any

import click

from vramwatch import __version__
from vramwatch.core.errors import ConfigError, VramwatchError

VERBS = {
    "run": "Watch the GPUs and keep their history (the daemon).",
    "status": "Show who holds what now, GPU by GPU.",
    "history": "Show who held what, and when.",
    "incidents": "List the growth that was found, and who was told.",
    "report": "Write one incident as a self-contained HTML page.",
    "why": "Show everything known about one incident.",
    "plan": "Check whether a model fits before you load it.",
    "silence": "Hold messages back for a time.",
    "remedies": "Show what may be done to reclaim memory, and switch it off or on.",
    "replay": "Judge a recording, or the past, as the daemon would have.",
    "probe": "Measure where the memory of a generate call goes.",
    "kv": "Trace a model's KV cache, layer by layer and token by token.",
    "export": "Write the history as CSV.",
    "forget": "Delete an owner's or a user's history.",
    "release": "Let go of the GPUs for a reset, a MIG switch or a driver upgrade.",
    "resume": "Watch the GPUs again after a release.",
    "doctor": "Check what keeps vramwatch from reading, and say what to do about it.",
    "service": "Install, inspect, roll back or uninstall the systemd service.",
    "check": "Check the configuration, and report every mistake at once.",
}
"""Verb -> its line in --help. Kept here so that --help imports no verb."""

UNWRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a full disk, a quota, a limit and a broken terminal answer to who prints."""


class Verbs(click.Group):
    """A group that imports a verb's module only when the verb is called, and ends with its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"vramwatch.cli.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"vramwatch/cli/{cmd_name}.py: 'command' is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except OSError as error:  # of --help and --version, which are answered here
            _end_if_unwritten(error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VramwatchError as error:
            # Faults of a configuration begin with their place, so that an editor finds it.
            click.echo(error if isinstance(error, ConfigError) else f"vramwatch: {error}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            # The reader of our output has gone, as `| head` does; python would complain once more at exit.
            sys.stdout = None
            ctx.exit(0)
        except OSError as error:
            if ctx.invoked_subcommand != "run":  # the daemon prints no answer
                _end_if_unwritten(error)
            raise


def _end_if_unwritten(error: OSError) -> None:
    """End with a sentence if ``error`` says that the answer could not be printed; return if it does not."""
    if error.errno not in UNWRITTEN or error.filename is not None:
        return
    sys.stdout = None  # what is left in it cannot be written either, as python would say once more
    click.echo(f"vramwatch: the answer cannot be written: {error.strerror}", err=True)
    sys.exit(1)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="vramwatch")
def main() -> None:
    """Who holds every byte of GPU memory, since when, and when it runs out."""
