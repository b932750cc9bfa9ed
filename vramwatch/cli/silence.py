"""``vramwatch silence``: keep messages back for a time."""

import sys
import time
from pathlib import Path

import click

from vramwatch.cli.asking import ask_daemon, open_history, whereabouts
from vramwatch.cli.options import config_option, format_option, store_option
from vramwatch.core.errors import StoreError, UsageError
from vramwatch.core.units import parse_seconds, show_seconds


@click.group()
def command() -> None:
    """Hold messages back for a time: during maintenance, for a known fault, or while a new service
    observes.

    Incidents go on; those still open when a silence ends are told then. `vramwatch why ID` says what held a
    message back.

    \b
    vramwatch silence add --owner 'train*' --for 2h --reason "the long run"
    vramwatch silence list
    vramwatch silence expire s1
    vramwatch silence expire observe
    """


@command.command()
@click.option("--gpu", help="By ordinal or UUID; * and ? stand for anything, as in all below.")
@click.option("--owner", help="By name or key.")
@click.option("--team", help="Of owners of a team.")
@click.option("--user", help="By name or uid.")
@click.option("--unit", help="Of systemd units.")
@click.option("--container", help="Of containers, by name.")
@click.option("--image", help="Of container images.")
@click.option("--pod", help="Of pods.")
@click.option("--namespace", help="Of namespaces.")
@click.option("--job", help="Of Slurm jobs, by number.")
@click.option("--engine", help="Of an inference engine.")
@click.option("--model", help="Of a model that is served.")
@click.option("--cause", help="Of a cause, as leak or kv_cache; a wrong one is refused with all there are.")
@click.option("--pattern", help="Of a pattern: staircase, idle_creep, out_of_memory.")
@click.option("--incident", help="One incident, by its id or how that begins.")
@click.option("--all", "is_all", is_flag=True, help="Everything on this machine.")
@click.option("--for", "span", help="How long: 2h, 3d.")
@click.option("--until", help="Till when: 06:00, 2026-11-23 04:00.")
@click.option("--reason", required=True, help="For those who wonder why nobody was told.")
@config_option
def add(
    is_all: bool,
    span: str | None,
    until: str | None,
    reason: str,
    config_path: Path | None,
    **globs: str | None,
) -> None:
    """Keep back what matches all that is written; its author is the user whom the kernel names."""
    from vramwatch.cli.selection import refuse_none_such
    from vramwatch.cli.when import parse_end, show_when
    from vramwatch.core.verdicts import Cause

    written = {name: glob for name, glob in globs.items() if glob is not None}
    if is_all == bool(written):
        raise UsageError("write what to silence, as in --owner 'train*'; or --all for everything, alone")
    if (span is None) == (until is None):
        raise UsageError("write how long: either --for 2h or --until 06:00")
    if span is not None:
        try:
            parse_seconds(span)
        except ValueError as error:
            raise UsageError(f"--for: {error}") from None
    refuse_none_such("cause", written.get("cause"), Cause)
    now = time.time()
    end = None if until is None else parse_end(until, now, None)
    asked = {"globs": written, "for": span, "until": end, "reason": reason}
    reply = ask_daemon(config_path, "silence", asked)
    at = show_when(float(reply["until"]), now, None)
    click.echo(
        f"{reply['id']} silences {reply['silences']} until {at}; end it earlier with: "
        f"{whereabouts(config_path).asking('silence expire ' + reply['id'])}"
    )
    if "owner" in written:
        _warn_of_unknown(written["owner"], config_path)


def _warn_of_unknown(glob: str, config_path: Path | None) -> None:
    """Say that history knows no such owner; one that is yet to come may be silenced all the same."""
    from vramwatch.cli.selection import is_owner, owners_there

    try:
        series = open_history(config_path, None).series()
    except StoreError:
        return
    if not any(row.owner and is_owner(glob, row.owner) for row in series):
        there = owners_there(series) or "none"
        click.echo(f"vramwatch: no owner is called {glob!r} so far; there are: {there}", err=True)


@command.command("list")
@click.option("--all", "shows_all", is_flag=True, help="Also those that are over.")
@config_option
@store_option
@format_option
def list_(shows_all: bool, config_path: Path | None, store_path: Path | None, output_format: str) -> None:
    """Which silences hold, and whose they are; observing is one of them."""
    from vramwatch.cli.printing import print_silences
    from vramwatch.cli.views.silences import silence_lines
    from vramwatch.cli.views.terminal import terminal

    now = time.time()
    silences = open_history(config_path, store_path).casebook.silences()
    shown = [each for each in silences if shows_all or each.holds(now)]
    if output_format != "text":
        print_silences(shown, output_format)
        return
    target = terminal(sys.stdout)
    target.show(silence_lines(shown, now, target.width, None))
    if not shown:
        click.echo("vramwatch: nothing is silenced", err=True)


@command.command()
@click.argument("silence", metavar="ID")
@config_option
def expire(silence: str, config_path: Path | None) -> None:
    """End a silence now; `observe` ends the time in which a new service tells nobody."""
    reply = ask_daemon(config_path, "expire", {"silence": silence})
    click.echo(f"{reply['id']} has ended; {_told_when(reply.get('group_wait_seconds'))}")


def _told_when(wait: float | None) -> str:
    """Return when what was kept back is told; ``wait``: how long a notice waits for others, seconds."""
    if wait is None:
        return "nobody is told, for no channel is configured"
    if wait == 0:
        return "what still stands is told now"
    return f"what still stands is told in {show_seconds(wait)}, together (alerting.group_wait)"
