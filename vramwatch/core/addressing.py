"""Finds the incident that a person names: by id or its beginning, alone or with the host that reported it."""

from collections.abc import Sequence

from vramwatch.core.texts import clean

AMBIGUOUS = 5
"""Ids that are looked at to say which may be meant."""

SHOWN = 64
"""Characters of what was written that are told back."""


def bare_id(written: str, hosts: Sequence[str]) -> str:
    """Return ``written`` without its "@host".

    ``hosts``: what the machine of this history is called, its present name first. Errors: ValueError where
    another is named.
    """
    id, at, named = written.strip().partition("@")
    if at and named not in map(clean, hosts):
        raise ValueError(
            f"{written[:SHOWN]!r} is an incident of {clean(named[:SHOWN])}, and this history is of "
            f"{clean(hosts[0])}; ask on {clean(named[:SHOWN]) or 'its host'}"
        )
    return id.lower()


def which(written: str, found: Sequence[str], listing: str) -> str:
    """Return the one id that is meant, of those ``found`` that begin with ``written``.

    ``listing``: the command that lists them. Errors: ValueError with what to do.
    """
    if written in found:
        return written
    if len(found) == 1 and written:
        return found[0]
    if not found or not written:
        raise ValueError(f"no incident {written[:SHOWN]!r}; those there are: {listing}")
    more = ", …" if len(found) == AMBIGUOUS else ""
    raise ValueError(f"{written[:SHOWN]!r} may be any of {', '.join(found)}{more}; write more of it")
