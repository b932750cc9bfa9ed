"""Nothing that goes wrong in here reaches the application: it is logged, once for each kind."""

import logging
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger("vramwatch_sdk")

Result = TypeVar("Result")

_told: "set[tuple[str, str]]" = set()


def quietly(do: Callable[[], Result], otherwise: Result) -> Result:
    """Return what ``do`` returns, or ``otherwise`` if it raises."""
    try:
        return do()
    except Exception as fault:
        kind = (getattr(do, "__qualname__", ""), type(fault).__name__)
        if kind not in _told:
            _told.add(kind)
            log.warning("%s: %s; this is not told again", type(fault).__name__, fault, exc_info=True)
        return otherwise
