"""vramwatch service: vramwatch as a service of this machine."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vramwatch.cli.options import config_option
from vramwatch.core.errors import VramwatchError

if TYPE_CHECKING:
    from vramwatch.cli.installing import Item

SHOWN = ("ActiveState", "SubState", "StatusText", "MainPID", "NRestarts", "MemoryCurrent")
"""What systemctl show is asked of the unit."""

NO_SYSTEMD = "systemd does not run here, so vramwatch is no service here; start it by hand: vramwatch run"

_yes_option = click.option("--yes", is_flag=True, help="Do it without asking.")
_dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")


@click.group()
def command() -> None:
    """Install vramwatch as a systemd service, show its state, roll it back, and uninstall it."""


@command.command(short_help="Write unit, user and configuration, and start it.")
@_yes_option
@_dry_run_option
@click.option(
    "--profile",
    type=click.Choice(["observe", "identify"]),
    help="observe: no capability. identify: a helper reads of other users' processes what /proc hides. "
    "Default: as it is installed, observe at first.",
)
@click.option("--no-start", is_flag=True, help="Write the files, and start nothing.")
@config_option
def install(yes: bool, dry_run: bool, profile: str | None, no_start: bool, config_path: Path | None) -> None:
    """Show what would be written, ask, write it, and start the service.

    Files that somebody has changed are left alone and reported. Run it again after changing the
    configuration: it adds the drop-ins that are needed and removes those that no longer are.
    """
    from vramwatch.cli import installing
    from vramwatch.config import find, load

    if not dry_run:
        _refuse_without_systemd()
    config = load(find(config_path), os.environ, {})
    root = installing.Root()
    written = root.written()
    identifies = installing.identified(written) if profile is None else profile == "identify"
    wanted = installing.wanted(
        config, installing.shipped_units(), installing.this_program(), identifies=identifies
    )
    _refuse_or_say_what_is_lacking(wanted)
    paths = {item.path for item in wanted} | set(map(Path, written))
    plan = installing.to_install(wanted, root.standing(paths), written)
    before, after = installing.steps(config, written, identifies=identifies, starts=not no_start)
    _show(plan)
    for step in (*before, *after):
        click.echo(f"run      {' '.join(step)}")
    _go_on(yes, dry_run)
    for step in before:
        _run(step)
    root.carry_out(plan)
    for step in after:
        _run(step)
    click.echo("installed; see: vramwatch service status", err=True)


@command.command(short_help="Stop it and remove what install wrote.")
@_yes_option
@_dry_run_option
def uninstall(yes: bool, dry_run: bool) -> None:
    """Stop the service and remove what install wrote; history stays, and what somebody changed stays too."""
    from vramwatch.cli import installing

    _refuse_without_systemd()
    root = installing.Root()
    written = root.written()
    if not written:
        raise VramwatchError(f"{installing.MANIFEST}: nothing was installed by vramwatch service install")
    paths = set(map(Path, written))
    plan = installing.to_remove(paths, root.standing(paths), written)
    beside = (*installing.IDENTIFY, installing.PROBE[0])
    units = [installing.UNIT, *(each for each in beside if installing.UNITS / each in paths)]
    click.echo(f"run      systemctl disable --now {' '.join(units)}")
    _show(plan)
    click.echo("keep     /var/lib/vramwatch, the history; to delete it too: rm -r /var/lib/vramwatch")
    _go_on(yes, dry_run)
    _run(("systemctl", "disable", "--now", "--quiet", *units))
    root.carry_out(plan)
    _run(("systemctl", "daemon-reload"))


@command.command(short_help="Go back to the version before, with its history.")
@_yes_option
@_dry_run_option
@click.option("--to", metavar="VERSION", help="Which version, as in 0.1.0. Default: the one before.")
@click.option(
    "--copy",
    "day",
    metavar="DAY",
    help="The copy of the history that was kept on that day, as in 2026-11-22. Default: the newest that the "
    "version can read, and none where it can read the history as it is.",
)
@config_option
def rollback(yes: bool, dry_run: bool, to: str | None, day: str | None, config_path: Path | None) -> None:
    """Go back to the version that was installed before, with its history, and say what is lost.

    Each upgrade that changes the form of the history keeps a copy of it, dated, beside it; the newest three
    stay. For versions that the archive's install script put in place.
    """
    from vramwatch.cli import installing, rolling_back
    from vramwatch.config import find, load
    from vramwatch.store.location import SYSTEM

    _refuse_without_systemd()
    config = load(find(config_path), os.environ, {})
    plan = rolling_back.plan(installing.place_of_versions(), config.store.path or SYSTEM, to, day)
    click.echo(f"run      systemctl stop {installing.UNIT}")
    if plan.copy:
        click.echo(f"move     {plan.store} aside, and {plan.copy.path.name} into its place")
    click.echo(f"link     {plan.link} -> {plan.program}")
    click.echo(f"run      systemctl start {installing.UNIT}")
    click.echo(plan.loss())
    _go_on(yes, dry_run)
    _run(("systemctl", "stop", installing.UNIT))
    rolling_back.carry_out(plan)
    _run(("systemctl", "start", installing.UNIT))


@command.command(short_help="How the service stands.")
def status() -> None:
    """Say whether it runs, what it says of itself, in which profile, and which of its files were changed."""
    from vramwatch.cli import installing, systemctl

    _refuse_without_systemd()
    root = installing.Root()
    written = root.written()
    if not root.standing([installing.UNITS / installing.UNIT]):
        raise VramwatchError(f"{installing.UNIT} is not installed; install it: vramwatch service install")
    told = systemctl.show(installing.UNIT, *SHOWN)
    state = f"{told.get('ActiveState', 'unknown')} ({told.get('SubState', 'unknown')})"
    click.echo(f"{installing.UNIT}: {state}, pid {told.get('MainPID', '0')}, "
               f"restarted {told.get('NRestarts', '0')} times")  # fmt: skip
    if text := told.get("StatusText"):
        click.echo(f"it says: {text}")
    standing = root.standing(map(Path, written))
    names = sorted(path.stem for path in standing if path.parent.name == f"{installing.UNIT}.d")
    profile = "identify" if installing.UNITS / installing.IDENTIFY[0] in standing else "observe"
    click.echo(f"profile: {profile}{''.join(f' + {name}' for name in names)}")
    for path in sorted(standing):
        if installing.digest(standing[path]) != written[str(path)]:
            click.echo(f"changed since it was installed: {path}")
    if told.get("ActiveState") != "active":
        click.echo(f"see: journalctl -u {installing.UNIT} -n 20", err=True)
        sys.exit(1)


def _show(plan: "Sequence[Item]") -> None:
    from vramwatch.cli.installing import Deed

    words = {Deed.LEAVE: ", which somebody changed: left as it is", Deed.KEEP: ", as it is"}
    for item in plan:
        click.echo(f"{item.deed:<8} {item.path}{words.get(item.deed, '')}")


def _refuse_without_systemd() -> None:
    from vramwatch.cli.systemctl import is_booted

    if not is_booted():
        raise VramwatchError(NO_SYSTEMD)


def _refuse_or_say_what_is_lacking(wanted: "Sequence[Item]") -> None:
    """Say which lines an old systemd ignores. Errors: VramwatchError, where the service cannot do without."""
    from vramwatch.cli import installing, systemctl

    version = systemctl.version()
    if version is None:
        return
    if version < installing.SYSTEMD_NEEDED:
        raise VramwatchError(
            f"systemd {version} is too old: the service needs {installing.SYSTEMD_NEEDED}, which makes its "
            "directories; start it by hand: vramwatch run"
        )
    if lacking := installing.lacking(wanted, version):
        lines = ", ".join(f"{each}=" for each in lacking)
        click.echo(f"systemd {version} does not know {lines} and ignores that protection", err=True)


def _go_on(yes: bool, dry_run: bool) -> None:
    """Ask whether what was shown is to be done, and end the verb where not. Errors: VramwatchError."""
    from vramwatch.cli.systemctl import is_booted

    if dry_run:
        click.echo(f"nothing was done (--dry-run){'' if is_booted() else f'; {NO_SYSTEMD}'}", err=True)
        sys.exit(0)
    if os.geteuid() != 0:
        raise VramwatchError(
            "this is what would be done; to do it, be root: sudo vramwatch service …; "
            "to see it alone: --dry-run"
        )
    if not yes:
        click.confirm("Do this?", abort=True)


def _run(words: Sequence[str]) -> None:
    """Errors: VramwatchError when a step fails, with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=1000)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise VramwatchError(f"{' '.join(words)} ended with {done.returncode}: {said[-1] if said else ''}")
