"""``vramwatch incidents``: which growth was found, whom it was told to, and what people say of it."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from vramwatch.cli.asking import ask_daemon, host_of, open_history, pick_incident, tell_age
from vramwatch.cli.options import config_option, format_option, store_option
from vramwatch.core.errors import UsageError

if TYPE_CHECKING:
    from vramwatch.store import Entry, History

Decorated = Callable[..., Any]


@click.group(invoke_without_command=True)
@click.option("--open", "is_open", is_flag=True, help="Those alone that are not over.")
@click.option(
    "--since", default="7d", show_default=True, help="Those that have moved since, and all open ones."
)
@click.option("--gpu", help="On GPUs by ordinal or UUID; * and ? stand for anything, as in all below.")
@click.option("--owner", help="Of owners by name or key.")
@click.option("--unit", help="Of systemd units.")
@click.option("--pod", help="Of pods.")
@click.option("--namespace", help="Of namespaces.")
@click.option("--cause", help="Of a cause, as leak or kv_cache; a wrong one is refused with all there are.")
@click.option("--severity", help="warning or critical.")
@click.option("--state", help="pending, firing or resolved.")
@config_option
@store_option
@format_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    is_open: bool,
    since: str,
    severity: str | None,
    state: str | None,
    config_path: Path | None,
    store_path: Path | None,
    output_format: str,
    **globs: str | None,
) -> None:
    """List the open incidents, and the recent ones.

    An ID may be shortened, and may carry its host, as in 3f2a@gpu7. Reading needs no daemon; ack, resolve
    and mark go through the running one.

    \b
    vramwatch incidents --open
    vramwatch incidents show 3f2a
    vramwatch incidents ack 3f2a --by anna --note "restart tonight"
    """
    if context.invoked_subcommand is not None:
        _refuse_beside(context)
        return
    from vramwatch.cli.printing import print_entries
    from vramwatch.cli.views.incidents import list_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.cli.when import parse_when

    now = time.time()
    takes = _taker(is_open, severity, state, globs)
    history = open_history(config_path, store_path)
    entries = [each for each in history.casebook.entries(parse_when(since, now, None)) if takes(each)]
    if not entries:
        _refuse_strangers(history, globs)
    host = host_of(history.casebook, config_path, store_path)
    if output_format != "text":
        print_entries(entries, host, output_format)
        return
    target = terminal(sys.stdout)
    gpus = {gpu.uuid: gpu for gpu in history.gpus()}
    width = target.width if target.stream.isatty() else None
    target.show(list_lines(entries, gpus, now, width, None))
    if not entries:
        which = " that fits" if severity or state or any(globs.values()) else ""
        what = "is open" if is_open else f"is open or has moved since {since}"
        click.echo(f"vramwatch: no incident{which} {what}", err=True)


def _refuse_strangers(history: "History", globs: Mapping[str, str | None]) -> None:
    """Refuse an owner or a GPU that the store does not know: that nothing is found of it is no good news.

    Errors: UsageError, with what there is.
    """
    from fnmatch import fnmatchcase

    from vramwatch.cli.selection import gpus_there, is_owner, owners_there

    owner, gpu = globs["owner"], globs["gpu"]
    rows = [row for row in history.series() if row.owner] if owner is not None else []
    if owner is not None and rows and not any(row.owner and is_owner(owner, row.owner) for row in rows):
        raise UsageError(f"no owner here is called {owner!r}; there are: {owners_there(rows)}")
    gpus = history.gpus() if gpu is not None else []
    if gpu is not None and gpus and not any(fnmatchcase(n, gpu) for g in gpus for n in (g.ordinal, g.uuid)):
        raise UsageError(f"--gpu {gpu!r} is not among the GPUs of this store: {gpus_there(gpus)}")


def _refuse_beside(context: click.Context) -> None:
    """What narrows the list has no meaning before a verb, and --config would be passed over there."""
    given = [
        name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"write options after {context.invoked_subcommand}, not before it")


def _taker(
    is_open: bool, severity: str | None, state: str | None, globs: Mapping[str, str | None]
) -> "Callable[[Entry], bool]":
    """Return whether an entry is one of those that were asked for. Errors: UsageError."""
    from fnmatch import fnmatchcase

    from vramwatch.cli.selection import refuse_none_such
    from vramwatch.core.incidents import Severity, State
    from vramwatch.core.silences import Matcher
    from vramwatch.core.verdicts import Cause

    refuse_none_such("cause", globs.get("cause"), Cause)
    refuse_none_such("severity", severity, Severity)
    refuse_none_such("state", state, State)
    matcher = Matcher({name: glob for name, glob in globs.items() if glob is not None})

    def takes(entry: "Entry") -> bool:
        incident = entry.case.incident
        return (
            not (is_open and incident.state is State.RESOLVED)
            and fnmatchcase(incident.judgement.severity, severity or "*")
            and fnmatchcase(incident.state, state or "*")
            and matcher.matches(incident, entry.case.newest.scene)
        )

    return takes


@command.command()
@click.argument("incident", metavar="ID")
@config_option
@store_option
@format_option
def show(incident: str, config_path: Path | None, store_path: Path | None, output_format: str) -> None:
    """How one incident stands; `vramwatch why ID` tells how it came to that."""
    from vramwatch.cli.printing import print_entries
    from vramwatch.cli.views.incidents import show_lines
    from vramwatch.cli.views.terminal import terminal

    history = open_history(config_path, store_path)
    casebook = history.casebook
    entry = casebook.chain(pick_incident(casebook, incident, config_path, store_path)).entry
    host = host_of(casebook, config_path, store_path)
    if output_format == "text":
        target = terminal(sys.stdout)
        tell_age(history, time.time())
        span = history.span()
        newest = span[1] if span else entry.case.newest.at.wall
        target.show(show_lines(entry, host, newest, target.width, None))
    else:
        print_entries([entry], host, output_format)


def _by_and_note(function: Decorated) -> Decorated:
    by = click.option("--by", metavar="NAME", help="Who says so, beside the user whom the kernel names.")
    note = click.option("--note", metavar="TEXT", default="", help="What others should know.")
    return by(note(config_option(function)))


@command.command()
@click.argument("incident", metavar="ID")
@_by_and_note
def ack(incident: str, by: str | None, note: str, config_path: Path | None) -> None:
    """Say that you have it in hand: it is repeated no more, unless it becomes critical."""
    reply = ask_daemon(config_path, "ack", {"incident": incident, "by": by, "note": note})
    click.echo(f"{reply['incident']} acknowledged by {reply['author']}")


@command.command()
@click.argument("incident", metavar="ID")
@_by_and_note
def resolve(incident: str, by: str | None, note: str, config_path: Path | None) -> None:
    """Say that it is over. If the growth is found again, the same incident opens again."""
    reply = ask_daemon(config_path, "resolve", {"incident": incident, "by": by, "note": note})
    click.echo(
        f"{reply['incident']} resolved by {reply['author']}; it opens again if the same is found again"
    )


@command.command()
@click.argument("incident", metavar="ID")
@click.option("--false-alarm", "is_false", is_flag=True, help="Nobody should have been called.")
@click.option("--true-alarm", "is_true", is_flag=True, help="It was right to call.")
@_by_and_note
def mark(
    incident: str, is_false: bool, is_true: bool, by: str | None, note: str, config_path: Path | None
) -> None:
    """Say whether it was right, for whoever chooses the configuration later."""
    if is_false == is_true:
        raise UsageError("write --false-alarm or --true-alarm, one of them")
    kind = "false_alarm" if is_false else "true_alarm"
    reply = ask_daemon(config_path, "mark", {"incident": incident, "as": kind, "by": by, "note": note})
    click.echo(f"{reply['incident']} marked as a {kind.replace('_', ' ')} by {reply['author']}")
