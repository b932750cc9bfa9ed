"""What the application says of itself and allows, and what of it can be kept here."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Optional

from .version import __version__
from .wire import CLEARS, MAX_TEXT, NEVER_SENT, SCHEMA, SIGNAL, Hello

ASK = "ask"
REMEDIES = frozenset({ASK, *(SIGNAL + each.name for each in signal.Signals if each.name not in NEVER_SENT)})
"""A handler that only wakes the SDK would keep SIGTERM and its like from what they are for."""

OFFERED = ("callback", "gc", "empty_cache")
"""What is cleared unless the application says otherwise: nothing that a later request could still want."""

log = logging.getLogger("vramwatch_sdk")


@dataclass(frozen=True)
class Consent:
    """Who this process says it is, and what may be asked of it."""

    name: str = ""
    model: str = ""
    on_pressure: Optional[Callable[[], object]] = None
    remedies: "tuple[str, ...]" = ()
    clears: "tuple[str, ...]" = ()
    group: str = ""
    rank: int = 0
    world: int = 1

    @property
    def signals(self) -> "tuple[signal.Signals, ...]":
        """The signals that were named."""
        names = [remedy[len(SIGNAL) :] for remedy in self.remedies if remedy.startswith(SIGNAL)]
        return tuple(signal.Signals[name] for name in names)

    def hello(self, handled: Iterable[signal.Signals]) -> Hello:
        """Return the consent as it can be kept: of signals those alone that are ``handled``."""
        kept = [ASK] if ASK in self.remedies else []
        return Hello(
            schema=SCHEMA,
            sdk=__version__,
            name=self.name,
            model=self.model,
            remedies=(*kept, *sorted(SIGNAL + each.name for each in handled)),
            clears=self.clears,
            group=self.group,
            rank=self.rank,
            world=self.world,
        )


def consent(
    name: str,
    model: str,
    on_pressure: Optional[Callable[[], object]],
    *,
    remedies: Iterable[str],
    clears: Iterable[str],
    group: Optional[str],
) -> Consent:
    """Return what was said, without what means nothing: of that a warning is logged."""
    if on_pressure is not None and not callable(on_pressure):
        log.warning("enroll(on_pressure=…): %r cannot be called: it is left out", on_pressure)
        on_pressure = None
    known_clears = set(_known("clears", clears, CLEARS))
    if on_pressure is None:
        known_clears.discard("callback")
    rank, world = _whole("RANK", 0), _whole("WORLD_SIZE", 1)
    return Consent(
        name=str(name)[:MAX_TEXT],
        model=str(model)[:MAX_TEXT],
        on_pressure=on_pressure,
        remedies=tuple(sorted(_known("remedies", remedies, REMEDIES))),
        clears=tuple(what for what in CLEARS if what in known_clears),
        group=(_group(world) if group is None else str(group))[:MAX_TEXT],
        rank=rank,
        world=world,
    )


class Handlers:
    """The handlers of the signals that were asked for; each only calls ``wake``.

    One is set in the main thread alone, and only where nobody else has one.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._set: dict[signal.Signals, Any] = {}

    def set(self, signals: Iterable[signal.Signals]) -> None:
        for each in signals:
            if threading.current_thread() is not threading.main_thread():
                log.warning("enroll() does not run in the main thread: %s is not offered", each.name)
            elif signal.getsignal(each) not in {signal.SIG_DFL, signal.SIG_IGN}:
                log.warning("%s has a handler already: it is not offered", each.name)
            else:
                self._set[each] = signal.signal(each, self._handle)

    def handled(self) -> "list[signal.Signals]":
        """Return those whose handler still is this one: the application may have set its own since."""
        return [each for each in self._set if signal.getsignal(each) == self._handle]

    def unset(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for each in self.handled():
                signal.signal(each, self._set[each])
        self._set.clear()

    def _handle(self, _number: int, _frame: Any) -> None:
        self._wake()


def _known(what: str, given: Iterable[str], known: Iterable[str]) -> "list[str]":
    wanted, accepted = [given] if isinstance(given, str) else list(given), frozenset(known)
    for each in wanted:
        if each not in accepted:
            log.warning("enroll(%s=…): %r means nothing here", what, each)
    return [each for each in wanted if each in accepted]


def _group(world: int) -> str:
    """What torchrun's ranks have in common; "" for a process by itself."""
    if world < 2:
        return ""
    return f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"


def _whole(name: str, otherwise: int) -> int:
    said = os.environ.get(name, "")
    return int(said) if said.isdecimal() else otherwise
