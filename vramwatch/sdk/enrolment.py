"""How a process enrols: once, and its children by themselves."""

import logging
import math
import os
import threading
from collections.abc import Callable, Iterable
from typing import Optional

from .allocator import Allocator, TorchCuda
from .clearing import Manners
from .consent import ASK, OFFERED, Consent, consent
from .quietly import quietly
from .worker import Worker

DISABLE = "VRAMWATCH_DISABLE"
"""Set to anything but "" and "0" in the environment: ``enroll`` does nothing."""

log = logging.getLogger("vramwatch_sdk")

_lock = threading.Lock()
_enrolled: Optional[Worker] = None
_is_registered = False


def enroll(
    *,
    name: str = "",
    model: str = "",
    on_pressure: Optional[Callable[[], object]] = None,
    remedies: Iterable[str] = (ASK,),
    clears: Iterable[str] = OFFERED,
    cooldown: float = 60.0,
    max_pause: float = 0.2,
    idle_after: Optional[float] = 1.0,
    group: Optional[str] = None,
    allocator: Optional[Allocator] = None,
) -> Worker:
    """Offer this process to the daemon, and return at once, whether there is one or not.

    ``name``, ``model``: how people call it. ``on_pressure``: drops what the application can spare; it takes
    nothing, and runs where ``safe_point`` is called, or on a thread of the SDK while nothing is in flight.
    ``remedies``: "ask", and "signal:SIGURG" to be woken by that signal if the socket fails. ``clears``: of
    "callback", "caches", "gc", "empty_cache", those that may be cleared, in this order. ``cooldown``: seconds
    between two clearings. ``max_pause``: seconds by which running requests may be held up. ``idle_after``:
    seconds without a request after which it is cleared without a safe point; None: never. ``group``: what the
    ranks of one model have in common, which are asked together; torchrun's is found. ``allocator``: another
    one than PyTorch's.

    A process enrols once: a second call returns the first one's worker. Nothing is raised, whatever happens;
    what is wrong with the arguments is logged as a warning by "vramwatch_sdk".
    """
    global _enrolled  # noqa: PLW0603
    with _lock:
        if _enrolled is not None and not _enrolled.is_closed:
            log.warning("this process is enrolled already; the second enroll() changes nothing")
            return _enrolled
        is_disabled = os.environ.get(DISABLE, "") not in {"", "0"}
        try:
            said = consent(name, model, on_pressure, remedies=remedies, clears=clears, group=group)
            manners = Manners(
                _seconds("cooldown", cooldown, Manners.cooldown),
                _seconds("max_pause", max_pause, Manners.max_pause),
            )
            _enrolled = _worker(said, manners, idle_after, allocator, is_disabled=is_disabled)
        except Exception:
            log.warning("not enrolled", exc_info=True)
            _enrolled = _worker(Consent(), Manners(), None, None, is_disabled=True)
        return _enrolled


def _worker(
    said: Consent,
    manners: Manners,
    idle_after: Optional[float],
    allocator: Optional[Allocator],
    *,
    is_disabled: bool,
) -> Worker:
    if not is_disabled:
        _register()
    return Worker(said, allocator or TorchCuda(), manners, idle_after, is_disabled=is_disabled)


def _seconds(name: str, given: float, otherwise: float) -> float:
    """Return the seconds that were ``given``; where they are none ``otherwise``, and a warning is logged."""
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if seconds >= 0:  # never of NaN
        return seconds
    log.warning("enroll(%s=…): %r is no duration in seconds; %s counts", name, given, otherwise)
    return otherwise


def _register() -> None:
    global _is_registered  # noqa: PLW0603
    if not _is_registered:
        _is_registered = True
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()  # another thread may have held it
    if _enrolled is not None:
        quietly(_enrolled.after_fork, None)
