"""One enrolled process: what the application marks, and what is done about it."""

import gc
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Optional

from .allocator import Allocator
from .clearing import Clearing, Manners
from .consent import ASK, Consent, Handlers
from .link import SETTLE, Ends, Link
from .load import Load, Request
from .quietly import quietly
from .tracking import Kept, Seen, Tracking
from .wire import MAX_ITEMS, SIGNAL_ID, Answer, Clear, Device, Hello, Report

SIGNALLED = 60.0
"""Seconds in which what a signal asks for must have found its safe point."""


class Worker:
    """This process as the daemon sees it. Every method may be called on any thread, and none raises.

    ``requests_waiting``: set it to the length of the queue, if there is one; it is reported.
    """

    def __init__(
        self,
        consent: Consent,
        allocator: Allocator,
        manners: Manners,
        idle_after: Optional[float],
        *,
        is_disabled: bool = False,
    ) -> None:
        self.requests_waiting: Optional[int] = None
        self._consent, self._allocator, self._manners, self._idle_after = (
            consent,
            allocator,
            manners,
            idle_after,
        )
        self._tracking = Tracking(allocator)
        self._handlers = Handlers(self._on_signal)
        self._is_signalled = False
        self._is_closed = is_disabled
        self._link: Optional[Link] = None
        self._begin()
        if not is_disabled:
            self._handlers.set(consent.signals)
            self._link = Link(self._ends())

    def request(self) -> Request:
        """Return a context in which one request is in flight; it is counted, and that is all."""
        return Request(self._load)

    def serving(self) -> Request:
        """Return ``request()`` with a ``safe_point()`` after it, if no other one is in flight then."""
        return Request(self._load, self.safe_point)

    def safe_point(self) -> bool:
        """Clear here and now what was asked for, if anything was. Returns whether anything was done.

        The application calls it where none of its threads is computing: between two requests, between two
        steps of a batch. It costs next to nothing where nothing was asked for.
        """
        if self._is_signalled:
            self._take_signal()
        return self._clearing.is_waiting and self._clearing.carry_out(is_idle=False)

    def hold(self) -> "AbstractContextManager[None]":
        """Return a context in which nothing is cleared: the capture of a graph, a step of training."""
        return self._load.holding()

    def track_kv(self, cache_or_model: Any) -> None:
        """Report the bytes of a cache, or of every cache that a model returns; neither is kept alive by it.

        What is tracked inside ``request()`` belongs to that request: once it is over and the cache still
        lives it is reported as retained, and emptied when asked if "caches" is among what ``enroll`` offers.
        """
        if not self._is_closed:
            quietly(lambda: self._tracking.add(cache_or_model), None)

    def batch_advice(self, sequence_bytes: int, reserve: int = 0) -> Optional[int]:
        """Return how many sequences more fit into what is free at this moment; None: nobody knows.

        ``sequence_bytes``: what one adds on each GPU, as ``vramwatch plan --format json`` says in
        ``added_bytes_per_sequence``; ``reserve``: bytes to leave alone. The least roomy GPU in use decides.
        It is a figure and no promise: other processes take memory too.
        """
        available = getattr(self._allocator, "available", None)  # an application's own may not know
        if available is None or sequence_bytes <= 0:
            return None
        rooms: Sequence[int] = quietly(available, ())
        return max(min(rooms) - reserve, 0) // sequence_bytes if rooms else None

    @property
    def is_closed(self) -> bool:
        """Whether it takes no part: it was closed, or ``VRAMWATCH_DISABLE`` is set."""
        return self._is_closed

    @property
    def requests_running(self) -> int:
        """How many requests are in flight."""
        return self._load.running

    @property
    def is_enrolled(self) -> bool:
        """Whether the daemon knows this process at this moment."""
        return self._link is not None and self._link.is_enrolled

    @property
    def refusal(self) -> str:
        """Why the daemon does not enrol this process, in its words; "": it has not refused."""
        return self._link.refusal if self._link is not None else ""

    def close(self) -> None:
        """Withdraw the consent, take hooks and handlers back; afterwards nothing is done any more."""
        self._is_closed = True
        self._clearing.forget()
        quietly(self._handlers.unset, None)
        quietly(self._tracking.close, None)
        if self._link is not None:
            quietly(self._link.close, None)

    def after_fork(self) -> None:
        """In a child: let go of the parent's connection and locks, and enrol as a process of its own."""
        if self._is_closed:
            return
        if self._link is not None:
            self._link.abandon()
        self._load.is_abandoned = True
        self._begin()
        self._link = Link(self._ends(), delay=SETTLE)

    def _begin(self) -> None:
        """As at the start: no requests, nothing asked for, and locks that nobody holds."""
        self._load = Load()
        self._sequence = itertools.count(1)
        self._signals = itertools.count(1)
        self._idler: Optional[threading.Thread] = None
        self._clearing = Clearing(
            self._actions(),
            self._allocator,
            self._load,
            manners=self._manners,
            answered=self._answered,
            clock=time.monotonic,
        )

    def _actions(self) -> Mapping[str, Callable[[], object]]:
        every: dict[str, Optional[Callable[[], object]]] = {
            "callback": self._consent.on_pressure,
            "caches": self._tracking.release,
            "gc": gc.collect,
            "empty_cache": self._allocator.empty_cache,
        }
        return {what: do for what, do in every.items() if do is not None and what in self._consent.clears}

    def _answered(self, answer: Answer) -> None:
        if self._link is not None:
            self._link.say(answer)

    def _on_signal(self) -> None:
        """In a signal handler: a flag and a wake-up, and no lock."""
        self._is_signalled = True
        if self._link is not None:
            self._link.wake()

    def _take_signal(self) -> None:
        self._is_signalled = False
        asked = Clear(f"{SIGNAL_ID}{next(self._signals)}", self._consent.clears, SIGNALLED)
        self._answered(self._clearing.ask(asked))

    def _is_idle(self) -> bool:
        """Nothing in flight for long enough. Where no request was ever marked this cannot be known."""
        load = self._load
        if self._idle_after is None or not load.total or load.running or load.held:
            return False
        return time.monotonic() - load.idle_since >= self._idle_after

    def _tick(self) -> bool:
        if self._is_signalled:
            self._take_signal()
        self._clearing.tick()
        is_busy = self._idler is not None and self._idler.is_alive()
        if self._clearing.is_waiting and not is_busy and self._is_idle():
            # Not on the thread of the link: a callback that hangs must not silence the worker.
            self._idler = threading.Thread(target=self._clear_idly, name="vramwatch-idle", daemon=True)
            self._idler.start()
        return self._clearing.is_waiting or is_busy

    def _clear_idly(self) -> None:
        quietly(lambda: self._clearing.carry_out(is_idle=True), False)

    def _report(self) -> Report:
        seen = quietly(self._tracking.seen, Seen())
        return Report(
            seq=next(self._sequence),
            monotonic=time.monotonic(),
            devices=_with_kv(quietly(self._allocator.devices, ()), seen.kept),
            requests_running=self._load.running,
            requests_waiting=quietly(self._waiting, None),
            requests_total=self._load.total,
            training=seen.is_training,
            grad_enabled=seen.is_grad_enabled,
            kv_requires_grad=seen.requires_grad,
            capturing=self._load.held > 0,
        )

    def _waiting(self) -> Optional[int]:
        """Any kind of number may have been set."""
        return None if self.requests_waiting is None else int(self.requests_waiting)

    def _ends(self) -> Ends:
        return Ends(self._hello, self._report, self._ask, self._tick, self._lost)

    def _hello(self) -> Hello:
        return self._consent.hello(self._handlers.handled())

    def _ask(self, clear: Clear) -> Answer:
        if ASK not in self._consent.remedies:
            return Answer(clear.id, "refused", "does not accept to be asked")
        return self._clearing.ask(clear)

    def _lost(self) -> None:
        self._clearing.forget()


def _with_kv(devices: Sequence[Device], kept: Mapping[str, Kept]) -> "tuple[Device, ...]":
    """Return ``devices`` with the bytes of caches on them, and those that hold nothing but a cache."""
    known = {device.uuid for device in devices}
    every = [*devices, *(Device(uuid) for uuid in kept if uuid not in known)]
    return tuple(
        replace(device, kv_logical=kv.logical, kv_resident=kv.resident, kv_retained=kv.retained)
        if (kv := kept.get(device.uuid))
        else device
        for device in every[:MAX_ITEMS]
    )
