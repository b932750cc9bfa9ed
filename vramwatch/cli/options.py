"""Options that several verbs share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

# What is wrong with a file is said by who reads it, with an exit code of its own.
config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, readable=False),
    envvar="VRAMWATCH_CONFIG",
    help="Configuration file; default /etc/vramwatch/config.yaml, then the user's.",
)
store_option = click.option(
    "--store",
    "store_path",
    type=click.Path(path_type=Path, readable=False),
    help="The history's database; default from the configuration, then the system's, then the user's.",
)


def format_of(*forms: str) -> Callable[[Decorated], Decorated]:
    """Return the option --format of a verb that prints in ``forms``, text first."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="How data is printed. Times in JSON are unix seconds beside an ISO string.",
    )


format_option = format_of("text", "json", "ndjson", "csv")
