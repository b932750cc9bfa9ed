"""``vramwatch remedies``: what may be done to processes here, and the switch that stops all of it."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vramwatch.cli.asking import ask_daemon, open_history, whereabouts
from vramwatch.cli.options import config_option, format_of, store_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vramwatch.core.attempts import Attempt
    from vramwatch.core.records import Json

SHOWN = 30 * 86400.0
"""Seconds back from now of which the newest attempts are listed."""


@click.group()
def command() -> None:
    """Show what may be done to reclaim memory and what was done last, and switch all of it off or on.

    Off holds for this host's daemon until `on`, even over restarts: it is a file in the runtime directory.
    A program that is already running is not stopped.

    \b
    vramwatch remedies list
    vramwatch remedies off
    vramwatch remedies on
    """


@command.command("list")
@config_option
@store_option
@format_of("text", "json")
def show(config_path: Path | None, store_path: Path | None, output_format: str) -> None:
    """Show which remedy is tried for which cause, whether remedies are on, who accepts them, and what was
    done.

    The daemon says whether they are on, in which mode, and who has enrolled; without one, the modes are
    those of the configuration file.
    """
    from vramwatch.cli.printing import print_json
    from vramwatch.cli.views.remedies import Present, remedies_lines, table_record
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.config import find, load
    from vramwatch.core.records import attempt_record

    written = load(find(config_path), os.environ, {}).remedies.remedies()
    is_known, off, workers, modes = _asked(config_path)
    present = written if modes is None else tuple(map(Present, modes, modes.values()))
    attempts = _attempts(config_path, store_path)
    if output_format == "json":
        print_json(
            {
                "table": table_record(present),
                "configured": table_record(written),
                "is_known": is_known,
                "off": off,
                "workers": workers,
                "attempts": [attempt_record(each) for each in attempts],
            }
        )
        return
    target = terminal(sys.stdout)
    state = _state(is_known, off, table_record(present) == table_record(written), find(config_path))
    target.show(remedies_lines(present, state, workers, attempts, target.width))


def _state(is_known: bool, off: str | None, agrees: bool, file: Path | None) -> str:
    """Return whether remedies are on, and of whom the table speaks: of the daemon, else of the ``file``."""
    named = file or "no configuration file, every default"
    if not is_known:
        return f"Not known whether they are on: {off}. The table is that of {named}."
    state = "On, as the daemon's configuration says." if off is None else f"Off: {off}."
    if agrees:
        return f"{state} The table is the daemon's."
    return (
        f"{state} The table is the daemon's; {named} says otherwise: where that is its file, have it read "
        "again (SIGHUP), else name the daemon's with --config."
    )


@command.command()
@config_option
def off(config_path: Path | None) -> None:
    """Stop everything within one poll; what waits for its permit stands down."""
    reply = ask_daemon(config_path, "remedies", {"set": "off"})
    undo = whereabouts(config_path).asking("remedies on")
    click.echo(f"remedies are off: {reply['file']} stands; `{undo}` removes it")


@command.command()
@config_option
def on(config_path: Path | None) -> None:
    """Let the configuration decide again."""
    ask_daemon(config_path, "remedies", {"set": "on"})
    click.echo("remedies are on, as the configuration says")


def _asked(
    config_path: Path | None,
) -> "tuple[bool, str | None, Sequence[Json] | None, Mapping[str, str] | None]":
    """Return whether the daemon says anything, why remedies are off (None: they are on), who has enrolled,
    and by remedy the mode that it goes by (None: not known).

    Without a daemon the second is why nobody knows.
    """
    from vramwatch.control.control import ControlError

    try:
        said = ask_daemon(config_path, "remedies", {})
        workers: Sequence[Json] | None = ask_daemon(config_path, "workers", {}).get("workers")
    except ControlError as error:
        return False, str(error), None, None
    return True, said.get("off"), workers, said.get("modes")


def _attempts(config_path: Path | None, store_path: Path | None) -> "Sequence[Attempt]":
    """Return the newest attempt at each owner; empty: none, or there is no store yet."""
    from vramwatch.core.errors import StoreError

    try:
        return open_history(config_path, store_path).casebook.last_attempts(time.time() - SHOWN)
    except StoreError:
        return ()
