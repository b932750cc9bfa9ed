"""check: whether the configuration is good, with every fault at once."""

import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vramwatch.cli.options import config_option
from vramwatch.core.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from vramwatch.config import Config

OUTCOMES = {
    "delivered": "delivered",
    "retry": "not delivered",
    "rejected": "rejected",
    "unknown": "not known yet",
}
"""What a reply's outcome is called."""

SEND_WITHIN = 65.0
"""Seconds that the daemon has to say what came of a test message; it waits for most of a minute itself."""


@click.command("check")
@config_option
@click.option(
    "--print",
    "printed",
    is_flag=True,
    help="Print what is in effect, each value with its origin, secrets masked.",
)
@click.option("--example", "as_example", is_flag=True, help="Print a file with every option and its default.")
@click.option(
    "--send", "channel", metavar="CHANNEL", help="Have a marked test message sent, and print its answer."
)
@click.pass_context
def command(
    ctx: click.Context, config_path: Path | None, printed: bool, as_example: bool, channel: str | None
) -> None:
    """Check the configuration: file, environment, and both together.

    Every mistake is one line, FILE:LINE:COLUMN: OPTION: what is wrong; what is accepted. The exit code is
    78 if there is one.

    --send goes through the running daemon, whose network and permissions count; without one the message is
    sent from this shell. The exit code is 1 if the receiver did not take it.
    """
    from vramwatch.config import effective_with_origins, example, find, load, origins, sentence

    if as_example:
        click.echo(example(), nl=False)
        return
    if channel is not None and (reply := _ask_to_send(config_path, channel)):
        ctx.exit(_tell_outcome(channel, reply, "from the service"))
    path = find(config_path)
    try:
        config = load(path, os.environ, {})
    except ConfigError as error:
        click.echo(str(error), err=True)
        ctx.exit(error.exit_code)
    if channel is not None:
        ctx.exit(
            _tell_outcome(channel, _send_from_here(config, channel), "from this shell, not from the service")
        )
    if printed:
        click.echo(effective_with_origins(config, origins(path, os.environ)), nl=False)
    else:
        click.echo(f"configuration ok: {path or 'no file, every default'}")
        click.echo(sentence(config))
        _print_table(config)
        _warn_of_programs(config)


def _print_table(config: "Config") -> None:
    """Print what is tried for which cause; nothing where no remedy is configured."""
    from vramwatch.cli.views.remedies import table_lines
    from vramwatch.cli.views.terminal import terminal

    if remedies := config.remedies.remedies():
        target = terminal(sys.stdout)
        click.echo("what is tried for which cause, in this order:")
        target.show(table_lines(remedies, target.width))


def _warn_of_programs(config: "Config") -> None:
    """Say on stderr which programs of remedies this user could not run; the service's user may be able to."""
    from vramwatch.cli.findings import Grade
    from vramwatch.cli.outward import programs

    for finding in programs(config):
        if finding.grade is not Grade.OK:
            click.echo(f"warn  {finding.subject}: {finding.text}\n      -> {finding.remedy}", err=True)


def _ask_to_send(config_path: Path | None, channel: str) -> Mapping[str, Any]:
    """Return what the daemon says that came of a test message; empty: there is none to ask.

    It has its own configuration, credentials and all, so that whoever asks need not be able to read them.
    """
    from vramwatch.cli.asking import control_socket
    from vramwatch.control.control import NoDaemonError, request

    try:
        return request(control_socket(config_path), "send", {"channel": channel}, SEND_WITHIN)
    except NoDaemonError:
        return {}


def _tell_outcome(channel: str, reply: Mapping[str, Any], whence: str) -> int:
    """Print what came of a test message; return the exit code."""
    from vramwatch.core.texts import clean

    outcome = str(reply["outcome"])
    click.echo(f"{channel}: {OUTCOMES[outcome]}, {whence}: {clean(str(reply['detail']))}")
    return 0 if outcome == "delivered" else 1


def _send_from_here(config: "Config", channel: str) -> Mapping[str, Any]:
    """Send as the daemon would, with the rights and the network of this shell. Errors: UsageError."""
    from vramwatch.assembly import lines
    from vramwatch.control.clerk import no_channel, outcome_record, test_words
    from vramwatch.control.control import author
    from vramwatch.core.messages import Message, MessageKind
    from vramwatch.telling.sending import attempt

    line = next((each for each in lines(config) if each.channel.name == channel), None)
    if line is None:
        raise UsageError(no_channel(channel, config.channels))
    host = config.host.host(socket.gethostname())
    text = f"{test_words(author(os.getuid(), os.getpid()))} Sent from a shell, not from the service."
    message = Message(secrets.token_hex(16), host, time.time(), MessageKind.TEST, text=text)
    courier = line.open_courier(line.notifier.reach(), line.notifier.secrets())
    try:
        return outcome_record(attempt(line, message, courier))
    finally:
        courier.close()
