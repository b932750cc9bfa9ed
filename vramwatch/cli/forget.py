"""``vramwatch forget``: delete what history holds of an owner or a user."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vramwatch import __version__
from vramwatch.cli.asking import find_store, writer_of
from vramwatch.cli.options import config_option, store_option
from vramwatch.core.errors import StoreError, UsageError

if TYPE_CHECKING:
    from vramwatch.store import History, SeriesRow

COUNTED = ("owners", "processes", "series", "samples", "incidents", "probes")
"""What a reply counts, in the order in which it is told."""

Wanted = Mapping[str, str]
"""One deletion: {"owner": key} or {"user": name}."""


@click.command()
@click.option("--owner", help="Owners by key or name; * and ? stand for anything.")
@click.option("--user", help="All processes of this user, by name.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@store_option
def command(
    owner: str | None, user: str | None, yes: bool, config_path: Path | None, store_path: Path | None
) -> None:
    """Delete an owner's or a user's processes for good: names, commands and samples, also from compressed
    hours.

    The daemon that writes the store does it, for root and for members of its group (control.group); without
    a daemon, anyone who may write the store can. What still runs is recorded again from the next reading
    on.
    """
    from vramwatch.config import find, load
    from vramwatch.store import History

    if (owner is None) == (user is None):
        raise UsageError("write whose history to delete: either --owner or --user")
    if store_path is None:
        load(find(config_path), os.environ, {})  # a fault in it, and another store might be meant
    path = find_store(config_path, store_path)
    history = History.open(path)
    rows = _rows(history, owner, user)
    incidents = Counter(each.case.incident.subject.owner for each in history.casebook.entries(0.0))
    history.close()
    click.echo(f"From {path}, for good, and also from its compressed hours:")
    for line in _lines(rows, {} if user else incidents):
        click.echo(line)
    if not yes:
        if user:
            click.echo("With an owner of whom nothing is left go its incidents.")
        click.confirm("Delete this?", abort=True, err=True)
    deletions: list[Wanted] = [{"user": user}] if user else [{"owner": key} for key in _keys(rows)]
    forgotten = _forget(path, config_path, deletions)
    counts = {what: sum(int(reply.get(what, 0)) for reply in forgotten) for what in COUNTED}
    click.echo("deleted: " + ", ".join(f"{what} {count}" for what, count in counts.items()))


def _rows(history: "History", owner: str | None, user: str | None) -> "Sequence[SeriesRow]":
    """Return the series that are to go. Errors: UsageError where there are none."""
    from vramwatch.cli.selection import is_owner, owners_there
    from vramwatch.core.model import SubjectKind

    if user is not None:
        rows = history.series(kind=SubjectKind.PROCESS, user=user)
        if not rows:
            raise UsageError(f"history holds no process of a user {user!r}")
        return rows
    everyone = history.series()
    rows = [row for row in everyone if row.owner and is_owner(owner or "", row.owner)]
    if not rows:
        there = owners_there(everyone) or "none"
        raise UsageError(f"history holds no owner {owner!r}; there are: {there}")
    return rows


def _keys(rows: "Sequence[SeriesRow]") -> list[str]:
    return sorted({row.owner.key for row in rows if row.owner})


def _lines(rows: "Sequence[SeriesRow]", incidents: Mapping[str | None, int]) -> list[str]:
    """Return a line for each owner: how many processes, series and incidents of it are to go.

    ``incidents``: how many are kept of an owner (key); none where some of its processes may stay.
    """
    from vramwatch.core.texts import clean

    lines = []
    for key in _keys(rows):
        own = [row for row in rows if row.owner and row.owner.key == key]
        processes = len({row.process.key for row in own if row.process})
        count = incidents.get(key, 0)
        told = f", incidents {count} with what was told and said of them" if count else ""
        lines.append(f"  {clean(key)}: processes {processes}, series {len(own)}{told}")
    return lines


def _forget(path: Path, config_path: Path | None, deletions: Sequence[Wanted]) -> list[Mapping[str, Any]]:
    """Delete under the store's lock, or have the daemon that holds it delete; return what was counted.

    No other daemon is asked to. Errors: StoreError, ControlError.
    """
    from vramwatch.control import control
    from vramwatch.store import Store, StoreLocked

    try:
        store = Store.open(path, "forget", __version__)
    except StoreError as refused:  # locked, or not for this user to write: a daemon may do it
        try:
            socket = writer_of(path, config_path)
        except control.ControlError as error:
            if not isinstance(refused, StoreLocked):
                raise refused from error
            told = f"{path}: the daemon that writes this store (pid {refused.pid}) cannot be asked: {error}"
            raise control.ControlError(told) from refused
        return [control.request(socket, "forget", each) for each in deletions]
    try:
        return [store.forget(**each).counts for each in deletions]
    finally:
        store.close()
