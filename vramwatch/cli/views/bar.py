"""A bar that is divided without remainder, and the marks that owners carry in it."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase, digits

from vramwatch.cli.views.text import Line, Span, Tone
from vramwatch.core.model import Owner

COLOURS = 12
"""Owner colours that a terminal tells apart on dark and on light ground."""

LETTERS = ascii_lowercase + ascii_uppercase + digits
ANY_OWNER = "*"
"""The letter of owners beyond the sixty-second."""

GHOST, UNATTRIBUTED = "!", "?"


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the bar: its fill character, its look, its bytes."""

    glyph: str
    size: int
    tone: Tone = Tone.PLAIN
    colour: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """What an owner is known by in every bar and row of one view."""

    letter: str
    colour: int


def marks(owners: Iterable[Owner]) -> dict[str, Mark]:
    """Return owner key -> Mark: letters differ, and stay while no other owner wants the same one.

    The letter is the name's first that is free, the colour comes from the key.
    """
    taken: set[str] = set()
    given: dict[str, Mark] = {}
    for key, owner in sorted({owner.key: owner for owner in owners}.items()):
        wanted = [char for char in owner.name.rpartition("/")[2].lower() if char in LETTERS]
        letter = next((char for char in (*wanted, *LETTERS) if char not in taken), ANY_OWNER)
        taken.add(letter)
        given[key] = Mark(letter, zlib.crc32(key.encode(errors="replace")) % COLOURS)
    return given


def bar(parts: Sequence[Part], width: int) -> Line:
    """Return a line of ``width`` columns divided among ``parts`` in proportion to their bytes.

    A part that holds anything is seen: it gets one column at least, taken from the widest. Were there
    more parts than columns, the largest are shown.
    """
    largest = sorted(
        (place for place, part in enumerate(parts) if part.size > 0), key=lambda i: -parts[i].size
    )
    shown = [parts[place] for place in sorted(largest[:width])]
    sizes = share_out([part.size for part in shown], width)
    return Line(
        tuple(
            Span(part.glyph * size, part.tone, part.colour) for part, size in zip(shown, sizes, strict=True)
        )
    )


def share_out(sizes: Sequence[int], width: int) -> list[int]:
    """Return whole columns for every positive size: at least 1 each, ``width`` in all.

    ``width`` is no less than the number of sizes. Largest remainder: no other division into whole
    columns with that floor is nearer to the true proportions.
    """
    if not sizes:
        return []
    total = sum(sizes)
    exact = [size * width / total for size in sizes]
    given = [max(1, int(share)) for share in exact]
    while (left := width - sum(given)) != 0:
        step = 1 if left > 0 else -1
        open_to_it = [i for i in range(len(given)) if step > 0 or given[i] > 1]
        given[max(open_to_it, key=lambda i: step * (exact[i] - given[i]))] += step
    return given
