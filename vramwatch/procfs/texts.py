"""Bytes of strangers become text that can be stored, printed to a terminal and put on a page."""

MARK_OF_UNPRINTABLE = " "


def printable(raw: bytes) -> str:
    """Return ``raw`` as text: broken UTF-8 replaced, control characters and escapes made blanks."""
    text = raw.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else MARK_OF_UNPRINTABLE for letter in text)


def cut(text: str, limit: int) -> str:
    """Return as much of ``text`` as fits ``limit`` bytes of UTF-8, cut between two characters."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return text
    return encoded[:limit].decode("utf-8", "ignore")
