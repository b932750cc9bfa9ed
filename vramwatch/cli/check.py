"""check: whether the configuration is good, with every fault at once."""

import os
from pathlib import Path

import click

from vramwatch.cli.options import config_option
from vramwatch.core.errors import ConfigError


@click.command("check")
@config_option
@click.option("--print", "printed", is_flag=True, help="Print the configuration in effect, secrets masked.")
@click.option("--example", "as_example", is_flag=True, help="Print a file with every option and its default.")
@click.pass_context
def command(ctx: click.Context, config_path: Path | None, printed: bool, as_example: bool) -> None:
    """Check the configuration: file, environment, and both together.

    Every fault is one line, FILE:LINE:COLUMN: OPTION: what is wrong; what is accepted. Exit code 78
    if there is any.
    """
    from vramwatch.config import effective, example, find, load, sentence

    if as_example:
        click.echo(example(), nl=False)
        return
    path = find(config_path)
    try:
        config = load(path, os.environ, {})
    except ConfigError as error:
        click.echo(str(error), err=True)
        ctx.exit(error.exit_code)
    if printed:
        click.echo(effective(config), nl=False)
    else:
        click.echo(f"configuration ok: {path or 'no file, every default'}")
        click.echo(sentence(config))
