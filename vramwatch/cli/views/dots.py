"""A grid of dots in characters: eight to one in Braille, two to one in ASCII."""

from collections.abc import Iterator
from typing import Self

_BRAILLE = 0x2800
"""U+2800, the pattern without dots; each dot adds a bit (The Unicode Standard, 21.1, Braille)."""

_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot, row by row."""

_ASCII = {(False, False): " ", (True, False): "'", (False, True): ".", (True, True): ":"}
"""Upper and lower half of a character."""


class Dots:
    """``width`` x ``height`` dots, drawn column by column."""

    def __init__(self, across: int, down: int, braille: bool) -> None:
        """Take the room of ``across`` x ``down`` characters."""
        self._down = down
        self._braille = braille
        self.width = across * self.across(braille)
        self.height = down * (len(_BITS) if braille else 2)
        self._on = [[False] * self.width for _ in range(self.height)]

    @classmethod
    def across(cls: type[Self], braille: bool) -> int:
        """Return how many dots stand side by side in one character."""
        return len(_BITS[0]) if braille else 1

    def draw(self, column: int, low: float, high: float) -> None:
        """Draw a column from the share ``low`` of the height to ``high``; 0 is the bottom, 1 the top."""
        top, bottom = (round((1 - share) * (self.height - 1)) for share in (high, low))
        for row in range(top, bottom + 1):
            self._on[row][column] = True

    def rows(self) -> Iterator[str]:
        """Yield the lines of characters, from the top."""
        per = self.height // self._down
        for begin in range(0, self.height, per):
            yield self._line(self._on[begin : begin + per])

    def _line(self, rows: list[list[bool]]) -> str:
        if not self._braille:
            return "".join(_ASCII[upper, lower] for upper, lower in zip(*rows, strict=True))
        return "".join(_cell(rows, begin) for begin in range(0, self.width, len(_BITS[0])))


def _cell(rows: list[list[bool]], begin: int) -> str:
    """Return the character whose dots begin at the column ``begin``; without any it is a space."""
    dots = sum(
        bit
        for row, bits in zip(rows, _BITS, strict=True)
        for place, bit in enumerate(bits)
        if row[begin + place]
    )
    return chr(_BRAILLE + dots) if dots else " "
