"""``vramwatch status``: who holds what now, GPU by GPU."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vramwatch.cli.options import config_option, format_option, store_option
from vramwatch.core.errors import UsageError

if TYPE_CHECKING:
    from vramwatch.cli.looking import Looking
    from vramwatch.cli.views.status import Status
    from vramwatch.core.model import Instant
    from vramwatch.core.poll import Poll


@click.command()
@config_option
@store_option
@format_option
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    help="One GPU: its ordinal (0, 0:1), its UUID, or how that begins. May be repeated.",
)
@click.option("--verbose", is_flag=True, help="Each GPU with its UUID and its place on the bus.")
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
def command(
    config_path: Path | None,
    store_path: Path | None,
    output_format: str,
    gpus: tuple[str, ...],
    verbose: bool,
    watch: bool,
) -> None:
    """Show who holds what now, GPU by GPU.

    Read from the store while a daemon runs; without a daemon the driver is read once. With --store, only
    that store is read, however old it is.
    """
    if watch and output_format == "json":
        raise UsageError("--watch prints many answers, and json is one; use --format ndjson")
    looking = open_looking(config_path, store_path, gpus)
    try:
        if output_format == "text":
            from vramwatch.cli.asking import whereabouts

            named = whereabouts(config_path, store_path)
            _show_text(
                looking, watch, lambda status: replace(status, names_devices=verbose, whereabouts=named)
            )
        else:
            from vramwatch.cli.printing import print_statuses
            from vramwatch.cli.views.status import standing_words

            print_statuses(_looks(looking, watch, standing_words), output_format)
    except KeyboardInterrupt:
        if not watch:
            raise


def open_looking(config_path: Path | None, store_path: Path | None, gpus: tuple[str, ...]) -> "Looking":
    """Return what answers with the present: from the store while a daemon runs, else from the driver."""
    from vramwatch.cli.asking import basics, find_store, settings
    from vramwatch.cli.looking import Looking

    def read_once() -> "Poll":
        from vramwatch.assembly import look_once

        return look_once(settings(config_path))

    def ask(verb: str) -> "Mapping[str, Any] | None":
        from vramwatch.cli.asking import ask_daemon
        from vramwatch.core.errors import VramwatchError

        if store_path:  # which may be of another daemon, or of none
            return None
        try:
            return ask_daemon(config_path, verb, {})
        except VramwatchError:  # not asked for: whoever may not speak to the daemon sees the rest
            return None

    path = find_store(config_path, store_path)
    has_driver = basics(config_path).source_name == "nvml" and not store_path
    return Looking(path, read_once if has_driver else None, None, gpus, ask)


def _show_text(looking: "Looking", watch: bool, as_told: "Callable[[Status], Status]") -> None:
    """Print the view; with ``watch`` draw it every second, on the whole screen where there is one."""
    from vramwatch.cli.profile import REVEALING, hides_others
    from vramwatch.cli.views.live import live
    from vramwatch.cli.views.status import status_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.cli.views.text import Line, Tone, wrap

    revealing = REVEALING if hides_others() else None

    def draw(height: int) -> list[Line]:
        target = terminal(sys.stdout)
        status, note = looking.look(now())
        status = as_told(_with_hidden(status, revealing))
        above = wrap(note, target.width, 0, Tone.WARNING)
        return above + status_lines(status, target.width, target.glyphs, max(height - len(above), 0))

    target = terminal(sys.stdout)
    if watch and target.interactive:
        live(target, draw, time.sleep)
        return
    for status in _looks(looking, watch, lambda _: ""):
        shown = as_told(_with_hidden(status, revealing))
        target.show(status_lines(shown, target.width, target.glyphs))
        if watch:
            target.show([Line()])


def _with_hidden(status: "Status", revealing: str | None) -> "Status":
    """Add what is hidden: of this machine, not of a simulated server or of a recording."""
    from vramwatch.cli.looking import is_played

    return replace(status, revealing=None if is_played(status.poll.at) else revealing)


def _looks(looking: "Looking", watch: bool, words: "Callable[[Status], str]") -> "Iterator[Status]":
    """Yield one Status, or with ``watch`` one a second until Ctrl-C.

    What must be known beside it goes to stderr, with the ``words`` that its form has no place for; under
    ``watch`` not again until something else is to be said.
    """
    from vramwatch.cli.views.live import REFRESH
    from vramwatch.cli.views.terminal import tell
    from vramwatch.cli.views.words import join_sentences

    told = None
    while True:
        status, note = looking.look(now())
        said = join_sentences(words(status), note)
        subject = (status.standing, bool(note))  # the words themselves hold an age, and differ each second
        if said and subject != told:
            tell(f"vramwatch: {said}", sys.stderr)
        told = subject
        yield status
        if not watch:
            return
        time.sleep(REFRESH)


def now() -> "Instant":
    from vramwatch.clock import MonotonicClock

    return MonotonicClock(first_seq=0).now()
