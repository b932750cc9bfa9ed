"""``vramwatch probe --png``: a run as a picture, drawn by a child that has matplotlib."""

import json
from pathlib import Path

import click

from vramwatch.cli.views.probe_plot import picture
from vramwatch.core.errors import VramwatchError
from vramwatch.extras import ExtraError, ask, how_to_install, is_installed
from vramwatch.probe.results import Result

DEADLINE = 60.0
"""Seconds: where matplotlib finds no cache of the system's fonts, it makes one, which takes several."""


def require_charts() -> None:
    """Errors: VramwatchError where nothing could be drawn, before a run takes its time."""
    if not is_installed("matplotlib"):
        raise VramwatchError(f"--png needs matplotlib; {how_to_install('charts')}")


def write_png(path: Path, result: Result) -> None:
    """Draw ``result`` into ``path``. Errors: VramwatchError."""
    try:
        path.write_bytes(ask("plotting", json.dumps(picture(result)).encode(), DEADLINE))
    except ExtraError as error:
        raise VramwatchError(f"{path}: not drawn: {error}") from error
    except OSError as error:
        raise VramwatchError(f"{path}: cannot be written ({error.strerror})") from error
    click.echo(f"wrote {path}", err=True)
