"""How far a verb has come, on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from vramwatch.cli.views.terminal import terminal


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
