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
    "status": "Who holds what now, GPU by GPU.",
    "history": "Who held what, when.",
    "incidents": "Which growth was found, and whom it was told to.",
    "report": "One incident as a page to keep or to attach.",
    "why": "All that is known of one incident.",
    "plan": "Whether a model fits, before it is loaded.",
    "silence": "Keep messages back for a time.",
    "remedies": "What may be done about memory, and the switch for it.",
    "replay": "What would have been said of a recording, or of the past.",
    "probe": "Where the memory of a generate call goes, by trying it.",
    "kv": "The KV cache of a model, layer by layer and token by token.",
    "export": "History as CSV, to be replayed or looked at elsewhere.",
    "forget": "Delete what history holds of an owner or a user.",
    "release": "Let go of the GPUs for a reset, a MIG switch or a driver upgrade.",
    "resume": "Take the GPUs up again after a release.",
    "doctor": "What stands between vramwatch and its readings.",
    "service": "vramwatch as a service of this machine: install, status, rollback, uninstall.",
    "check": "Check the configuration, with every fault at once.",
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
    """Who holds every byte of GPU memory, since when, and where it will end."""
