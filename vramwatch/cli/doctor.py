"""vramwatch doctor: what stands between vramwatch and its readings."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vramwatch.cli.options import config_option, format_of, store_option
from vramwatch.core.errors import ConfigError

if TYPE_CHECKING:
    from vramwatch.cli.findings import Finding
    from vramwatch.config import Config

WORST_EXIT = 2
"""The contract's exit code for a doctor that found a failure."""


@click.command()
@format_of("text", "json")
@click.option("--strict", is_flag=True, help="End with 2 for a warning too.")
@click.option(
    "--remedies", "rehearses", is_flag=True, help="Try the way to a worker and back, with one made for it."
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what a bug report needs to this archive (.tar.gz), without names, paths and secrets.",
)
@config_option
@store_option
def command(
    output_format: str,
    strict: bool,
    rehearses: bool,
    bundle: Path | None,
    config_path: Path | None,
    store_path: Path | None,
) -> None:
    """Check driver, permissions, store and daemon, and say what to do about each problem.

    --remedies tests the way to reclaim memory instead: a worker started for the test enrols, is asked, is
    signalled, and gives back memory, as seen from outside. No other process is touched.

    Exits with 0 if nothing failed, otherwise with 2.
    """
    from vramwatch.cli.findings import Finding, Grade
    from vramwatch.config import find, load

    config = None
    try:
        config = load(find(config_path), os.environ, {})
        findings = _findings(config, config_path, store_path, rehearses)
    except ConfigError as error:
        findings = [
            Finding("configuration", Grade.FAIL, str(error), "mend it; see vramwatch check --example")
        ]
    _print(findings, output_format)
    if bundle:
        from vramwatch.cli.asking import find_store
        from vramwatch.cli.bundling import write_bundle

        write_bundle(bundle, findings, config, find_store(config_path, store_path))
        click.echo(f"wrote {bundle}; look through it before you hand it on", err=True)
    bad = {Grade.FAIL, Grade.WARN} if strict else {Grade.FAIL}
    if any(finding.grade in bad for finding in findings):
        sys.exit(WORST_EXIT)


def _findings(
    config: "Config", config_path: Path | None, store_path: Path | None, rehearses: bool
) -> "list[Finding]":
    if rehearses:
        from vramwatch.cli.asking import control_socket
        from vramwatch.cli.rehearsal import rehearse

        return list(rehearse(config, control_socket(config_path)))
    from vramwatch.cli.asking import find_store, whereabouts
    from vramwatch.cli.examination import examine

    return examine(config, find_store(config_path, store_path), whereabouts(config_path, store_path))


def _print(findings: "Sequence[Finding]", output_format: str) -> None:
    if output_format == "json":
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    for finding in findings:
        click.echo(f"{finding.grade:4}  {finding.subject}: {finding.text}")
        if finding.remedy:
            click.echo(f"      -> {finding.remedy}")
