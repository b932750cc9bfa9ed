"""report: one incident as a page to keep, or to attach to an issue."""

import time
from pathlib import Path

import click

from vramwatch import __version__
from vramwatch.cli.asking import host_of, open_history, pick_incident, settings
from vramwatch.cli.options import config_option, store_option
from vramwatch.core.errors import VramwatchError


@click.command("report")
@click.argument("incident", metavar="ID")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The HTML file to write.",
)
@click.option("--redact", is_flag=True, help="Take out names, paths and users; leave the configuration out.")
@config_option
@store_option
def command(
    incident: str, output: Path, redact: bool, config_path: Path | None, store_path: Path | None
) -> None:
    """Write everything known about an incident as a single self-contained HTML file.

    It has charts of every layer and of the load, who held what before and after, the evidence and what was
    ruled out, the timeline, who was told, and the configuration without its secrets.

    \b
    vramwatch report 3f2a -o report.html
    vramwatch report 3f2a --redact -o issue.html
    """
    from vramwatch.cli.gathering import gather
    from vramwatch.cli.redacting import redacted
    from vramwatch.cli.views.report_page import Origin, page
    from vramwatch.config import effective

    history = open_history(config_path, store_path)
    chain = history.casebook.chain(pick_incident(history.casebook, incident, config_path, store_path))
    case = gather(history, chain)
    config = settings(config_path, needs_secrets=not redact)
    host = host_of(history.casebook, config_path, store_path)
    if redact:
        case, aliases = redacted(case, host.name)
        host = type(host)(aliases[host.name])
    origin = Origin(host, __version__, time.time(), "" if redact else effective(config))
    try:
        output.write_text(page(case, origin, None), encoding="utf-8")
    except OSError as error:
        raise VramwatchError(f"{output}: cannot be written ({error.strerror})") from error
    click.echo(f"wrote {output}", err=True)
