"""The key-value caches that the application lets the SDK see: held weakly, measured when a report is due."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Optional

from . import caches
from .allocator import Allocator
from .load import Request, current

MOST = 1024
"""Caches that are followed; of more the oldest are forgotten."""

OUTPUTS = ("cache", "past_key_values", "cache_params", "mems")
"""Fields of a model's output that hold its cache: transformers 5.24 and newer, all, Mamba, XLNet."""


@dataclass
class _Entry:
    """One cache. ``get`` returns it, or what is left of it; ``request``: in which it was last seen."""

    get: Callable[[], Any]
    request: Optional[Request]

    @property
    def is_retained(self) -> bool:
        return self.request is not None and self.request.is_over


@dataclass(frozen=True)
class Kept:
    """Bytes of the tracked caches on one GPU. ``retained``: resident for requests that are over."""

    logical: int = 0
    resident: int = 0
    retained: int = 0


@dataclass(frozen=True)
class Seen:
    """What is known of the tracked caches and models, by the UUID of the GPU."""

    kept: "dict[str, Kept]" = field(default_factory=dict)
    requires_grad: bool = False
    is_training: bool = False
    is_grad_enabled: bool = False


class Tracking:
    """Follows caches without keeping them alive, on any thread."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._entries: dict[int, _Entry] = {}  # the oldest first
        self._models: list[weakref.ReferenceType[Any]] = []
        self._hooks: list[Any] = []
        self._is_grad_enabled = False

    def add(self, cache_or_model: Any) -> None:
        """Follow a cache, or every cache that a model (``register_forward_hook``) returns from now on."""
        hook = getattr(cache_or_model, "register_forward_hook", None)
        if callable(hook):
            self._models.append(weakref.ref(cache_or_model))
            self._hooks.append(hook(self._after_forward))
        else:
            self._see(cache_or_model)

    def seen(self) -> Seen:
        """Return what is known at this moment; the caches are held no longer than that takes."""
        living = self._living()
        every = caches.measure(*(cache for _, cache in living))
        over = self._by_gpu(caches.measure(*(cache for entry, cache in living if entry.is_retained)))
        return Seen(
            {
                uuid: Kept(held.logical, held.resident, over[uuid].resident if uuid in over else 0)
                for uuid, held in self._by_gpu(every).items()
            },
            requires_grad=every.requires_grad,
            is_training=any(getattr(model(), "training", False) for model in list(self._models)),
            is_grad_enabled=self._is_grad_enabled,
        )

    def release(self) -> None:
        """Let the caches of requests that are over hold nothing."""
        for entry, cache in self._living():
            if entry.is_retained:
                caches.release(cache)

    def close(self) -> None:
        """Take the hooks off the models, and follow nothing any more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._models.clear()
        self._entries.clear()

    def _after_forward(self, _module: Any, _inputs: Any, output: Any) -> None:
        """Runs in every forward pass: it notes who came, and measures nothing."""
        try:
            self._is_grad_enabled = self._allocator.is_grad_enabled()
            cache = cache_of(output)
            if cache is not None:
                self._see(cache)
        except Exception:  # noqa: S110 - a forward pass is not the place to say so
            pass

    def _see(self, cache: Any) -> None:
        known = self._entries.get(id(cache))
        if known is not None and known.get() is cache:
            known.request = current.get() or known.request
            return
        self._entries[id(cache)] = _Entry(_weakly(cache), current.get())
        while len(self._entries) > MOST:
            self._entries.pop(next(iter(self._entries)), None)

    def _living(self) -> "list[tuple[_Entry, Any]]":
        found = [(key, entry, entry.get()) for key, entry in list(self._entries.items())]
        for key, entry, cache in found:
            if cache is None and self._entries.get(key) is entry:
                self._entries.pop(key, None)
        return [(entry, cache) for _, entry, cache in found if cache is not None]

    def _by_gpu(self, measured: caches.CacheBytes) -> "dict[str, caches.Held]":
        named = ((self._allocator.uuid_of(place), held) for place, held in measured.devices)
        return {uuid: held for uuid, held in named if uuid is not None}


def _weakly(cache: Any) -> Callable[[], Any]:
    """Return what gives ``cache`` while it lives. Of tuples, lists and mappings the tensors are followed."""
    try:
        return weakref.ref(cache)
    except TypeError:
        tensors = [
            weakref.ref(tensor) for layer in caches.layers_of(cache) for tensor in caches.tensors_of(layer)
        ]
        return lambda: [alive for each in tensors if (alive := each()) is not None] or None


def cache_of(output: Any) -> Any:
    """Return the cache in a model's output, or None; past transformers' look-up, which warns of old names."""
    named = output if isinstance(output, dict) else getattr(output, "__dict__", {})
    found = (dict.get(named, name) for name in OUTPUTS)
    return next((cache for cache in found if cache is not None), None)
