"""What did not come back after a request, by layer, and who holds it."""

import gc
import sys
from collections.abc import Iterator
from types import FrameType, ModuleType, TracebackType
from typing import Any

from vramwatch.probe.results import Remnant
from vramwatch.probe.tensors import LiveTensors
from vramwatch.sdk.caches import layers_of, tensors_of
from vramwatch.sdk.tracing import Trace, measure

MOST_HOLDERS = 2000
"""Objects that are looked at on the way to a holder."""

FEWEST_BYTES = 1024
"""Smaller remnants are not told: the ids of a prompt, a seed's state."""


def caches(trace: Trace) -> list[Remnant]:
    """Return the caches of finished requests that are still held."""
    found = []
    for request, cache in trace.caches():
        resident = measure(cache)[2]
        places = [place for place, size in enumerate(resident) if size]
        held_by = holder(cache)
        if places:
            found.append(Remnant(f"KV cache of request {request}", _span(places), sum(resident), held_by))
        del cache
    return found


def others(tensors: LiveTensors, mark: int, trace: Trace) -> list[Remnant]:
    """Return what was made since ``mark``, lives, and is no traced cache: by the module that made it."""
    known = set()
    for _, cache in trace.caches():
        known |= {id(storage) for storage in _storages(cache)}
        del cache
    by_place: dict[tuple[str, str], int] = {}
    for key, made in tensors.since(mark):
        if key not in known:
            name = made.place, made.operator
            by_place[name] = by_place.get(name, 0) + made.size
    found = [
        Remnant(f"tensors made by {operator}", place or "outside of the model", size, "")
        for (place, operator), size in by_place.items()
        if size >= FEWEST_BYTES
    ]
    return sorted(found, key=lambda each: -each.size)


def _storages(cache: Any) -> Iterator[Any]:
    for layer in layers_of(cache):
        for each in tensors_of(layer):
            yield each.untyped_storage()


def _span(places: list[int]) -> str:
    if len(places) == 1:
        return f"layer {places[0]}"
    is_run = places == list(range(places[0], places[-1] + 1))
    return f"layers {places[0]} to {places[-1]}" if is_run else "layers " + ", ".join(map(str, places))


def holder(target: object) -> str:
    """Return who holds ``target``, in words; empty: nobody that the garbage collector knows.

    Referrers are followed upwards until a saved traceback is found; else the nearest container is told.
    """
    own: FrameType | None = sys._getframe()
    skipped = {id(target)}
    while own is not None:
        skipped |= {id(own), id(own.f_locals)}
        own = own.f_back
    nearest = ""
    waiting: list[object] = [target]
    skipped.add(id(waiting))
    looked = 0
    while waiting and looked < MOST_HOLDERS:
        current = waiting.pop(0)
        for each in gc.get_referrers(current):
            looked += 1
            if id(each) in skipped or isinstance(each, ModuleType | type):
                continue
            skipped.add(id(each))
            if isinstance(each, TracebackType):
                return _exception(each)
            if isinstance(each, list | tuple | set) and not nearest:
                nearest = f"a {type(each).__name__} of {len(each)}"
            waiting.append(each)
    return nearest


def _exception(traceback: TracebackType) -> str:
    """Return the exception that a traceback belongs to, in words."""
    waiting: list[object] = [traceback]
    for _ in range(
        50
    ):  # a traceback is held by the one of the frame outside of it, the outermost by its exception
        if not waiting:
            break
        for each in gc.get_referrers(waiting.pop(0)):
            if isinstance(each, BaseException):
                return f"a saved {type(each).__name__}: {each}"
            if isinstance(each, TracebackType):
                waiting.append(each)
    return "a saved traceback"
