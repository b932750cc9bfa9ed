"""Which incident a person means: an id, how it begins, or either with the host that told of it."""

from collections.abc import Sequence

from vramwatch.core.texts import clean

AMBIGUOUS = 5
"""Ids that are looked at to say which may be meant."""

SHOWN = 64
"""Characters of what was written that are told back."""


def bare_id(written: str, host: str) -> str:
    """Return ``written`` without its "@host". Errors: ValueError where that is another host than ``host``."""
    id, at, named = written.strip().partition("@")
    if at and named != clean(host):
        raise ValueError(f"{written[:SHOWN]!r} is an incident of {named[:SHOWN]}; this is {clean(host)}")
    return id.lower()


def which(written: str, found: Sequence[str]) -> str:
    """Return the one id that is meant, of those ``found`` that begin with ``written``.

    Errors: ValueError with what to do.
    """
    if written in found:
        return written
    if len(found) == 1 and written:
        return found[0]
    if not found or not written:
        raise ValueError(f"no incident {written[:SHOWN]!r}; see vramwatch incidents")
    more = ", …" if len(found) == AMBIGUOUS else ""
    raise ValueError(f"{written[:SHOWN]!r} may be any of {', '.join(found)}{more}; write more of it")
