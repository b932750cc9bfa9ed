"""Options that several verbs share."""

from pathlib import Path

import click

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="VRAMWATCH_CONFIG",
    help="Configuration file; default /etc/vramwatch/config.yaml, then the user's.",
)
# What is wrong with the store is the store's to say, with its own exit code.
store_option = click.option(
    "--store",
    "store_path",
    type=click.Path(path_type=Path, readable=False),
    help="The history's database; default from the configuration, then the system's, then the user's.",
)
format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "ndjson", "csv"]),
    default="text",
    show_default=True,
    help="How data is printed. Times in JSON are unix seconds beside an ISO string.",
)
