"""Lines of toned text, measured in terminal columns, safe to print."""

import textwrap
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Tone(StrEnum):
    """How a stretch of text is meant; a terminal turns it into a style."""

    PLAIN = "plain"
    STRONG = "strong"
    FAINT = "faint"
    WARNING = "warning"
    GHOST = "ghost"
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True)
class Span:
    """Text of one tone. ``colour`` is the number of an owner's colour; None: the tone's own."""

    text: str
    tone: Tone = Tone.PLAIN
    colour: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    spans: tuple[Span, ...] = ()

    def __str__(self) -> str:
        return "".join(span.text for span in self.spans).rstrip()


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The few characters beside letters that the views draw with."""

    reserved: str
    free: str
    filled: str
    ellipsis: str
    axis: tuple[str, str, str, str]  # of a plot: upright, level, at a named time, where they meet
    braille: bool  # whether eight dots fit one character


UNICODE = Glyphs(reserved="▒", free="·", filled="█", ellipsis="…", axis=("│", "─", "┬", "└"), braille=True)
ASCII = Glyphs(reserved="#", free=".", filled="=", ellipsis="~", axis=("|", "-", "+", "+"), braille=False)


def line(text: str, tone: Tone = Tone.PLAIN) -> Line:
    return Line((Span(text, tone),))


def columns(text: str) -> int:
    """Return how many terminal columns ``text`` takes (Unicode Annex 11; marks take none)."""
    if text.isascii():
        return len(text)
    return sum(_char_columns(char) for char in text)


def _char_columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, width: int, ellipsis: str) -> str:
    """Return ``text`` in at most ``width`` columns; what is too long loses its middle.

    Both ends stay, for that is where names differ: "prod/chat…server-7".
    """
    if columns(text) <= width:
        return text
    room = width - columns(ellipsis)
    if room <= 0:
        return _head(text, width)
    tail = _head(text[::-1], room // 2)[::-1]
    return _head(text, room - columns(tail)) + ellipsis + tail


def _head(text: str, width: int) -> str:
    taken = 0
    for place, char in enumerate(text):
        taken += _char_columns(char)
        if taken > width:
            return text[:place]
    return text


def left(text: str, width: int, ellipsis: str) -> str:
    """Return ``text`` in exactly ``width`` columns, at their left."""
    fitted = fit(text, width, ellipsis)
    return fitted + " " * (width - columns(fitted))


def right(text: str, width: int) -> str:
    """Return ``text`` at the right of ``width`` columns; longer figures are never cut."""
    return " " * (width - columns(text)) + text


def wrap(text: str, width: int, indent: int, tone: Tone = Tone.PLAIN) -> list[Line]:
    """Return ``text`` on as many lines of ``width`` columns as it needs, each ``indent`` columns in.

    A word that is longer stands on a line of its own, whole: what is broken is no path and no command.
    """
    return [line(" " * indent + part, tone) for part in broken(text, max(width - indent, 10))]


def broken(text: str, width: int) -> list[str]:
    """Return ``text`` broken between words alone, so that paths and commands can be copied."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def plain(lines: Iterable[Line]) -> str:
    """Return the lines as text without any tone, each ended by a newline."""
    return "".join(f"{each}\n" for each in lines)
