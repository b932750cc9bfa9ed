"""How far a verb has come, on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from vramwatch.cli.views.terminal import terminal
from vramwatch.core.units import show_seconds

BAR = 20
"""Characters of the bar before what is being done."""

LEAST_SHARE = 0.05
"""Of the whole, from which on the time left is told: before it the begin is all that was seen."""


def course(doing: str, share: float | None, seconds: float) -> str:
    """Return one row: a bar, what is being done, and about how long the rest takes.

    ``share``: done of the whole, 0 to 1; None: nobody knows how much there is. ``seconds``: since the begin.
    """
    if share is None:
        return f"{doing}, {show_seconds(round(seconds))} so far"
    full = round(BAR * share)
    left = f", about {show_seconds(round(seconds / share - seconds))} left" if share >= LEAST_SHARE else ""
    return f"[{'#' * full}{'-' * (BAR - full)}] {share:4.0%} {doing}{left}"


@contextmanager
def progress_bar(label: str, whole: float | None) -> Iterator[Callable[[float], None]]:
    """Show a bar on standard error while it lasts; give what is told how much of ``whole`` is done.

    Nothing is shown where standard error is no terminal, or where ``whole`` is not known (None).
    """
    if not whole or not terminal(sys.stderr).interactive:
        yield lambda _: None
        return
    with click.progressbar(length=round(whole), label=label, file=sys.stderr) as bar:

        def tell(done: float) -> None:
            bar.update(max(0, round(done) - bar.pos))

        yield tell
