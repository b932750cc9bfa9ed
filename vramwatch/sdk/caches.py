"""How many bytes a key-value cache holds, and letting go of them: by duck typing, without importing PyTorch.

Two figures for everything, for they differ. *Logical* is what the values need: elements times their size.
*Resident* is what the storages behind them take: a sliding layer right after the prefill of a long prompt
keeps the whole prompt behind a view of its window, and a static cache holds all of its slots from the first
token on.

Known forms: ``layers`` (transformers 5, ``cache_utils.py``), ``self_attention_cache`` with
``cross_attention_cache`` (its EncoderDecoderCache), ``key_cache`` with ``value_cache`` (transformers 4), a
tuple, list or mapping of layers (older models; engines' own lists). Whatever else has attributes is one
layer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

NOT_CACHED = frozenset({"_sliding_window_tensor", "cumulative_length", "indexer_cumulative_length"})
"""Tensors of a layer that are counters or bounds, no cached values (transformers 5, ``cache_utils.py``)."""

DEPTH = 6
"""Containers within containers of a layer; HQQ's quantised keys, the deepest known, need three."""

INITIALIZED = ("is_initialized", "is_indexer_initialized")
"""What a layer of transformers 5 looks at before it writes: False makes it allocate anew."""


@dataclass(frozen=True)
class Held:
    """Bytes of some cached tensors. ``resident`` counts every storage once."""

    logical: int = 0
    resident: int = 0
    requires_grad: bool = False  # a cached value holds the graph it came from


@dataclass(frozen=True)
class CacheBytes(Held):
    """Bytes of a whole cache: its ``layers`` in order, and the same by where they lie.

    ``devices`` is by ``str(tensor.device)``, as in "cuda:0". The resident bytes of layers that share a
    storage add up to more than the cache's.
    """

    layers: tuple[Held, ...] = ()
    devices: tuple[tuple[str, Held], ...] = ()


def measure(*caches: Any) -> CacheBytes:
    """Return what ``caches`` hold together; storages that they share count once.

    Nothing is copied, moved or waited for: shapes and storages alone are looked at. A cache that changes
    meanwhile is measured as it is found, layer by layer.
    """
    layers = [layer for cache in caches for layer in layers_of(cache)]
    found = [list(tensors_of(layer)) for layer in layers]
    everything = [each for tensors in found for each in tensors]
    whole = _held(everything)
    places: dict[str, list[Any]] = {}
    for each in everything:
        places.setdefault(str(each.device), []).append(each)
    return CacheBytes(
        logical=whole.logical,
        resident=whole.resident,
        requires_grad=whole.requires_grad,
        layers=tuple(_held(tensors) for tensors in found),
        devices=tuple((place, _held(tensors)) for place, tensors in sorted(places.items())),
    )


def measure_layers(layers: Iterable[Any]) -> "list[Held]":
    """Return what each of ``layers`` holds, without the sums: for whoever asks at every token."""
    return [_held(tensors_of(layer)) for layer in layers]


def layers_of(cache: Any) -> Sequence[Any]:
    """Return the layers of ``cache`` in order; may be empty, as before the first forward pass."""
    halves = [getattr(cache, name, None) for name in ("self_attention_cache", "cross_attention_cache")]
    if any(half is not None for half in halves):
        return [layer for half in halves for layer in layers_of(half)]
    layers = getattr(cache, "layers", None)
    if isinstance(layers, (list, tuple)):
        return list(layers)
    keys, values = getattr(cache, "key_cache", None), getattr(cache, "value_cache", None)
    if isinstance(keys, (list, tuple)) and isinstance(values, (list, tuple)):
        return list(zip(list(keys), list(values)))
    if isinstance(cache, (Mapping, list, tuple)):
        return list(cache.values() if isinstance(cache, Mapping) else cache)
    return [] if cache is None else [cache]


def tensors_of(layer: Any) -> Iterator[Any]:
    """Yield the cached tensors of ``layer``, each once; of quantised ones those they consist of."""
    yield from _unique(_walk(_parts(layer), DEPTH))


def release(cache: Any) -> None:
    """Let ``cache`` hold nothing: its layers are as before their first token; used again they allocate anew.

    It is for a cache that nobody reads any more. Its own ``reset()`` sets the counters back, and is not
    enough: before transformers 5.18 it fills with zeroes, and a static cache does so still.
    """
    for layer in layers_of(cache):
        _empty(layer)
    for name in ("key_cache", "value_cache"):
        if isinstance(held := getattr(cache, name, None), list):
            held.clear()
    if isinstance(cache, (list, dict)):
        cache.clear()


def is_tensor(thing: Any) -> bool:
    """Whether it can be measured: it has a storage, elements and their size."""
    return all(hasattr(thing, name) for name in ("untyped_storage", "numel", "element_size", "device"))


def _held(tensors: Iterable[Any]) -> Held:
    logical, requires_grad, storages = 0, False, {}
    for each in tensors:
        logical += each.numel() * each.element_size()
        requires_grad = requires_grad or bool(getattr(each, "requires_grad", False))
        storage = each.untyped_storage()
        storages[_identity(storage)] = storage.nbytes()
    return Held(logical, sum(storages.values()), requires_grad)


def _identity(storage: Any) -> int:
    """The address of its implementation: unlike the data's it differs between storages without data too."""
    identity = getattr(storage, "_cdata", None)
    return int(storage.data_ptr() if identity is None else identity)


def _parts(layer: Any) -> Any:
    """The attributes of a layer that may hold cached values; of a tensor or a container: itself."""
    if is_tensor(layer) or isinstance(layer, (Mapping, list, tuple)):
        return layer
    return {name: value for name, value in _attributes(layer).items() if name not in NOT_CACHED}


def _attributes(layer: Any) -> dict[str, Any]:
    return dict(getattr(layer, "__dict__", None) or {})


def _walk(thing: Any, depth: int) -> Iterator[Any]:
    """Yield tensors in containers alone: a layer's other objects, as its configuration, hold no cache."""
    if depth == 0 or thing is None or isinstance(thing, (str, bytes, int, float)):
        return
    if is_tensor(thing):
        yield from _plain(thing, depth)
    elif isinstance(thing, Mapping):
        for value in list(thing.values()):
            yield from _walk(value, depth - 1)
    elif isinstance(thing, (list, tuple)):
        for value in list(thing):
            yield from _walk(value, depth - 1)


def _plain(tensor: Any, depth: int) -> Iterator[Any]:
    """The tensors that a wrapping subclass consists of (``torch.utils._python_dispatch``), else itself."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield tensor
        return
    names, _ = flatten()
    for name in names:
        yield from _walk(getattr(tensor, name), depth - 1)


def _unique(tensors: Iterable[Any]) -> Iterator[Any]:
    seen: dict[int, Any] = {}  # held, so that no address is used again meanwhile
    for each in tensors:
        if id(each) not in seen:
            seen[id(each)] = each
            yield each


def _empty(layer: Any) -> None:
    reset = getattr(layer, "reset", None)
    if callable(reset):
        reset()
    for name, value in _attributes(layer).items():
        if name in NOT_CACHED:
            continue
        emptied, held = _emptied(value)
        if held:
            setattr(layer, name, emptied)
    for name in INITIALIZED:
        if getattr(layer, name, None) is True:
            setattr(layer, name, False)


def _emptied(value: Any) -> tuple[Optional[Any], bool]:
    """Return what stands instead of ``value``, and whether it held a tensor. Mappings keep their keys."""
    if isinstance(value, dict):
        held = [key for key, each in value.items() if next(_walk(each, DEPTH), None) is not None]
        return {**value, **dict.fromkeys(held)}, bool(held)
    held_one = next(_walk(value, DEPTH), None) is not None
    return (type(value)() if isinstance(value, list) else None), held_one
