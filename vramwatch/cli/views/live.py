"""A view that is drawn again and again, until Ctrl-C."""

import shutil
from collections.abc import Callable, Sequence

from vramwatch.cli.views.terminal import Terminal, console, rich_text
from vramwatch.cli.views.text import Line, Tone, line

REFRESH = 1.0
"""Seconds between two looks."""


def live(target: Terminal, look: Callable[[int], Sequence[Line]], wait: Callable[[float], None]) -> None:
    """Draw what ``look`` returns on the whole screen, once a second; return on Ctrl-C.

    ``look`` is told how many lines the screen has; what it returns beyond them is cut. The terminal is
    left as it was found, with the last view below the prompt.
    """
    from rich.live import Live

    drawn: Sequence[Line] = ()
    try:
        with Live(
            console=console(target),
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as screen:
            while True:
                height = shutil.get_terminal_size().lines
                drawn = look(height)
                screen.update(rich_text(crop(drawn, height)), refresh=True)
                wait(REFRESH)
    except KeyboardInterrupt:
        target.show(drawn)


def crop(lines: Sequence[Line], height: int) -> Sequence[Line]:
    """Return at most ``height`` lines, the last of which says how many are hidden, if any are."""
    if len(lines) <= height:
        return lines
    kept = max(height - 1, 0)
    return [*lines[:kept], line(f"{len(lines) - kept} more lines: make the terminal higher", Tone.WARNING)]
