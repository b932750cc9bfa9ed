"""Foreign text made safe to show: other users choose names, commands and titles."""

import re
import unicodedata

LONGEST_NAME = 512
"""Characters of a foreign text that are looked at; more than any terminal line shows."""

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # OSC, DCS, SOS, PM, APC: titles, links, clipboard
    r"|\x1b[ -/]*[0-~]?"  # all others
    r"|\x9b[0-?]*[ -/]*[@-~]"  # CSI as one C1 character
)
"""Control sequences as ECMA-48 (5th edition, 5.4 and 5.6) and xterm write them."""

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move the cursor, turn the direction of writing, or show nothing."""


def clean(text: str) -> str:
    """Return ``text`` without control characters and escape sequences, on one line, bounded.

    For names, commands and titles of other users' processes, which may hold anything.
    """
    bare = _ESCAPE_SEQUENCE.sub("", text[:LONGEST_NAME])
    shown = (char for char in bare if char.isspace() or unicodedata.category(char) not in _UNPRINTABLE)
    return " ".join("".join(shown).split())
