"""vramwatch resume: take the GPUs up again."""

from pathlib import Path

import click

from vramwatch.cli.options import config_option


@click.command()
@config_option
def command(config_path: Path | None) -> None:
    """Watch the GPUs again after `vramwatch release`."""
    from vramwatch.cli.asking import control_socket
    from vramwatch.control import control

    control.request(control_socket(config_path), "resume", {})
    click.echo("the GPUs are being read again")
