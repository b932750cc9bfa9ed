"""vramwatch release: let go of the GPUs."""

import time
from pathlib import Path

import click

from vramwatch.cli.options import config_option


@click.command()
@click.option("--for", "span", default="15m", show_default=True, help="Take them up again after this long.")
@config_option
def command(span: str, config_path: Path | None) -> None:
    """Let go of the GPUs for a reset, a MIG switch or a driver upgrade.

    An open client blocks all three. The history keeps the time as a gap. The GPUs are watched again after
    `vramwatch resume`, or when the time has passed.
    """
    from vramwatch.cli.asking import control_socket, whereabouts
    from vramwatch.control import control

    socket = control_socket(config_path)
    reply = control.request(socket, "release", {"for": span})
    until = time.strftime("%H:%M:%S", time.localtime(float(reply["until"])))
    resume = whereabouts(config_path).asking("resume")
    click.echo(f"the GPUs are released until {until}; take them up again with: {resume}")
