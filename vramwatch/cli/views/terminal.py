"""The thin edge to the terminal: how wide it is, what it can show, how a tone looks there."""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from vramwatch.cli.views.text import ASCII, UNICODE, Glyphs, Line, Span, Tone, line, plain, wrap

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPED_WIDTH = 120
"""Columns of a text that no terminal bounds: wide enough to keep a row on one line."""

_STYLES = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.FAINT: "dim",
    Tone.WARNING: "yellow",
    Tone.GHOST: "bold white on red",
    Tone.UNATTRIBUTED: "bold black on bright_white",
}

OWNER_STYLES = tuple(
    f"black on {colour}"
    for colour in (
        "cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_yellow",
        "bright_magenta", "bright_blue", "color(208)", "color(180)",
    )
)  # fmt: skip
"""One style for each of bar.COLOURS; red is the ghosts' alone."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """What stands behind a stream."""

    stream: TextIO
    width: int
    glyphs: Glyphs
    interactive: bool  # a terminal that moves its cursor
    coloured: bool

    def show(self, lines: Iterable[Line]) -> None:
        """Print the lines: in colour where that is wanted and possible, else as plain text."""
        if self.coloured:
            console(self).print(rich_text(lines), soft_wrap=True, end="")
        else:
            self.stream.write(self.printable(plain(lines)))
        self.stream.flush()

    def printable(self, text: str) -> str:
        """Return ``text`` with "?" for what the stream's encoding cannot say."""
        encoding = self.stream.encoding or "ascii"
        return text.encode(encoding, "replace").decode(encoding)


def terminal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Terminal:
    """Return what is known of ``stream``; NO_COLOR (no-color.org) and TERM=dumb are honoured."""
    interactive = stream.isatty() and environment.get("TERM") not in (None, "", "dumb")
    return Terminal(
        stream=stream,
        width=shutil.get_terminal_size((PIPED_WIDTH, 24)).columns if stream.isatty() else PIPED_WIDTH,
        glyphs=UNICODE if (stream.encoding or "").lower().replace("-", "") == "utf8" else ASCII,
        interactive=interactive,
        coloured=interactive and not environment.get("NO_COLOR"),
    )


def tell(text: str, stream: TextIO) -> None:
    """Print words for a person: within the terminal's width where there is one, elsewhere on one line."""
    target = terminal(stream)
    target.show(wrap(text, target.width, 0) if stream.isatty() else [line(text)])


def console(target: Terminal) -> "Console":
    """Return rich's console on the terminal; rich is imported here and no earlier."""
    from rich.console import Console

    return Console(
        file=target.stream, force_terminal=True, no_color=not target.coloured, markup=False, highlight=False
    )


def rich_text(lines: Iterable[Line]) -> "Text":
    """Return the lines as one Text. Its texts are never read as markup."""
    from rich.text import Text

    text = Text(no_wrap=True, end="")
    for each in lines:
        for span in each.spans:
            text.append(span.text, _style(span))
        text.append("\n")
    return text


def _style(span: Span) -> str:
    return _STYLES[span.tone] if span.colour is None else OWNER_STYLES[span.colour]
