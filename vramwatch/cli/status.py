"""``vramwatch status``: who holds what now, GPU by GPU."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vramwatch.cli.options import config_option, format_option, store_option
from vramwatch.core.errors import UsageError

if TYPE_CHECKING:
    from vramwatch.cli.looking import Looking
    from vramwatch.cli.views.status import Status
    from vramwatch.core.model import Instant, Poll


@click.command()
@config_option
@store_option
@format_option
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
def command(config_path: Path | None, store_path: Path | None, output_format: str, watch: bool) -> None:
    """Who holds what now, GPU by GPU.

    From the store while a daemon runs; without one the driver is read once. With --store that store
    alone is asked, however old it is.
    """
    if watch and output_format == "json":
        raise UsageError("--watch prints many answers, and json is one; use --format ndjson")
    looking = _open(config_path, store_path)
    try:
        if output_format == "text":
            _show_text(looking, watch)
        else:
            from vramwatch.cli.printing import print_statuses

            print_statuses(_looks(looking, watch), output_format)
    except KeyboardInterrupt:
        if not watch:
            raise


def _open(config_path: Path | None, store_path: Path | None) -> "Looking":
    from vramwatch import config
    from vramwatch.cli.looking import Looking
    from vramwatch.store.location import locate

    configuration = config.load(config.find(config_path), os.environ, {})

    def read_once() -> "Poll":
        from vramwatch.assembly import look_once

        return look_once(configuration)

    path = locate(store_path, configuration.store.path)
    return Looking(path, None if store_path else read_once, zone=None)


def _show_text(looking: "Looking", watch: bool) -> None:
    """Print the view; with ``watch`` draw it every second, on the whole screen where there is one."""
    from vramwatch.cli.views.live import live
    from vramwatch.cli.views.status import status_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.cli.views.text import Line, Tone, wrap

    def draw() -> list[Line]:
        target = terminal(sys.stdout)
        status, note = looking.look(_now())
        return [
            *wrap(note, target.width, 0, Tone.WARNING),
            *status_lines(status, target.width, target.glyphs),
        ]

    target = terminal(sys.stdout)
    if watch and target.interactive:
        live(target, draw, time.sleep)
        return
    for status in _looks(looking, watch):
        target.show(status_lines(status, target.width, target.glyphs))
        if watch:
            target.show([Line()])


def _looks(looking: "Looking", watch: bool) -> "Iterator[Status]":
    """Yield one Status, or with ``watch`` one a second until Ctrl-C; words about it go to stderr once."""
    from vramwatch.cli.views.live import REFRESH

    told = ""
    while True:
        status, note = looking.look(_now())
        if note and note != told:
            click.echo(f"vramwatch: {note}", err=True)
        told = note
        yield status
        if not watch:
            return
        time.sleep(REFRESH)


def _now() -> "Instant":
    from vramwatch.clock import MonotonicClock

    return MonotonicClock(first_seq=0).now()
