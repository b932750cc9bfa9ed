"""The KV cache of a model, layer by layer, as it grows: three lines in anybody's program.

    from vramwatch_sdk import trace_kv
    with trace_kv(model) as trace:
        model.generate(**inputs)
    print(trace)

A forward hook looks at the cache that each forward pass returns. It works on any cache class, for it asks for
no type: a layer's bytes are those of the tensors found in it. It holds no reference to a cache, so that what
is traced is freed as it would be without. The standard library alone; torch is never imported.
"""

import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from .caches import layers_of, measure_layers
from .tracking import cache_of

SHARE = 0.01
"""Of the time that goes by, that looking may take: forward passes are passed over where it would take more.
The first two of each request are always looked at."""

MOST_SAMPLES = 10_000
"""Kept at a time; of more, every second one is dropped, for the curve stays the same at half the grain."""


MOST_CACHES = 1000
"""Requests that are followed before those whose caches were freed are forgotten."""


class Sample(NamedTuple):
    """A cache after one forward pass. Bytes are by layer, from the first."""

    request: int  # from 0; a new cache begins one
    forward: int  # from 0, within its request: the prompt, as a rule
    batch: int
    tokens: int  # seen by the model in this request
    slots: "tuple[int, ...]"  # token positions that each layer has tensors for
    logical: "tuple[int, ...]"  # numel times itemsize
    resident: "tuple[int, ...]"  # of the storages behind them
    carries_grad: bool


class Fault(NamedTuple):
    """A cache that holds more than it need. ``name`` is fixed, ``sentence`` has the numbers."""

    name: str
    layers: "tuple[int, ...]"
    excess: int  # bytes held beyond what is needed
    sentence: str


class Trace:
    """What was seen. Print it, or read ``samples``, ``faults()`` and ``alive()``."""

    def __init__(self, windows: "Sequence[Optional[int]]" = ()) -> None:
        """``windows``: tokens that each layer attends to; None: all."""
        self.samples: list[Sample] = []
        self.windows = tuple(windows)
        self.overhead_seconds = 0.0
        self.forwards = 0
        self.looks = 0
        self._caches: dict[int, Any] = {}  # request -> weak reference
        self._request = -1
        self._forward = 0
        self._tokens = 0
        self._begun = time.perf_counter(), time.process_time()

    def see(self, cache: Any, batch: int, new_tokens: int, share: "Optional[float]") -> None:
        """Look at ``cache`` after a forward pass over ``new_tokens`` of each of ``batch`` sequences."""
        begun = time.perf_counter()
        self.forwards += 1
        is_new = self._is_new(cache)
        if is_new:
            self._begin(cache)
        self._tokens += new_tokens
        if share is None or self._forward < 2 or self.overhead_seconds <= share * self._elapsed():
            self.looks += 1
            self._keep(Sample(self._request, self._forward, batch, self._tokens, *measure(cache)))
        self._forward += 1
        self.overhead_seconds += time.perf_counter() - begun

    def _elapsed(self) -> float:
        """Return the seconds that went by, at most those this process worked: others may have the machine."""
        return min(time.perf_counter() - self._begun[0], time.process_time() - self._begun[1])

    def _is_new(self, cache: Any) -> bool:
        known = self._caches.get(self._request)
        return known is None or known() is not cache

    def _begin(self, cache: Any) -> None:
        self._request += 1
        if len(self._caches) > MOST_CACHES:
            self._caches = {request: ref for request, ref in self._caches.items() if ref() is not None}
        self._forward = self._tokens = 0
        try:
            self._caches[self._request] = weakref.ref(cache)
        except TypeError:  # a tuple of tuples, as old models return
            self._caches[self._request] = lambda: None

    def _keep(self, sample: Sample) -> None:
        self.samples.append(sample)
        if len(self.samples) > MOST_SAMPLES:
            del self.samples[1::2]

    def alive(self) -> "list[tuple[int, tuple[int, ...]]]":
        """Return each request whose cache is still held by somebody, with its resident bytes by layer."""
        there = ((request, ref()) for request, ref in self._caches.items())
        return [(request, measure(cache)[2]) for request, cache in there if cache is not None]

    def caches(self) -> "Iterator[tuple[int, Any]]":
        """Yield each request whose cache is still held, with that cache: hold it no longer than you need."""
        for request, ref in self._caches.items():
            cache = ref()
            if cache is not None:
                yield request, cache

    def faults(self) -> "list[Fault]":
        """Return what is wrong with the caches seen, most bytes first. Ask when no request is running."""
        return faults(self.samples, self.windows, self.alive())

    def __str__(self) -> str:
        """Return a table: the last sample of each request, what looking took, and what is wrong."""
        last = {each.request: each for each in self.samples}
        lines = ["request  batch  tokens  layers  KV logical  KV resident"]
        lines += [
            f"{each.request:>7}  {each.batch:>5}  {each.tokens:>6}  {len(each.logical):>6}  "
            f"{sum(each.logical):>10}  {sum(each.resident):>11}"
            for each in last.values()
        ]
        took = f"{self.overhead_seconds * 1e3:.1f} ms in all"
        lines.append(f"looked at {self.looks} of {self.forwards} forward passes, {took}")
        return "\n".join(lines + [f"{each.name}: {each.sentence}" for each in self.faults()])


class trace_kv:
    """Trace the KV cache of ``model`` while the ``with`` block runs.

    ``share``: of the time, that tracing may take; None: look at every forward pass, whatever it takes.
    """

    def __init__(self, model: Any, share: "Optional[float]" = SHARE) -> None:
        self.trace = Trace(windows(getattr(model, "config", None)))
        self._model = model
        self._share = share
        self._handle: Any = None

    def __enter__(self) -> Trace:
        self._handle = self._model.register_forward_hook(self._look, with_kwargs=True)
        return self.trace

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
        self._handle = None

    def _look(self, _module: Any, args: "tuple[Any, ...]", kwargs: "Mapping[str, Any]", output: Any) -> None:
        """Called after each forward pass; whatever goes wrong here must not reach the model's caller."""
        try:
            cache = cache_of(output)
            if cache is not None:
                batch, new = _shape(args, kwargs)
                self.trace.see(cache, batch, new, self._share)
        except Exception:  # a tracer that breaks what it traces is worse than none
            self.trace.forwards += 1


def _shape(args: "Sequence[Any]", kwargs: "Mapping[str, Any]") -> "tuple[int, int]":
    """Return batch and tokens of what went in."""
    given = [kwargs.get("input_ids"), kwargs.get("decoder_input_ids"), *args[:1], kwargs.get("inputs_embeds")]
    shapes = (tuple(each.shape) for each in given if hasattr(each, "shape"))
    batch, tokens, *_ = next(shapes, (0, 0))
    return int(batch), int(tokens)


# --- bytes ----------------------------------------------------------------------------------------


def measure(cache: Any) -> "tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool]":
    """Return slots, logical and resident bytes of ``cache`` by layer, and whether any carries gradients."""
    layers = list(layers_of(cache))
    held = measure_layers(layers)
    return (
        tuple(_slots(layer) for layer in layers),
        tuple(each.logical for each in held),
        tuple(each.resident for each in held),
        any(each.requires_grad for each in held),
    )


def _slots(layer: Any) -> int:
    """Return how many token positions a layer has room for; 0: it counts none (state space, shared)."""
    keys = layer[0] if isinstance(layer, (tuple, list)) and layer else getattr(layer, "keys", None)
    shape: Any = getattr(keys, "shape", ())
    return int(shape[-2]) if len(shape) >= 3 else 0


# --- what the configuration says -------------------------------------------------------------------


def windows(config: Any) -> "list[Optional[int]]":
    """Return how many tokens each layer attends to; None: all. Empty: the configuration says nothing."""
    if hasattr(config, "get_text_config"):
        config = config.get_text_config(decoder=True)
    layers = getattr(config, "num_hidden_layers", None)
    if not isinstance(layers, int):
        return []
    kinds = getattr(config, "layer_types", None)
    chunk = getattr(config, "attention_chunk_size", None)
    window = getattr(config, "sliding_window", None)
    if kinds:
        by_kind = {"sliding_attention": window, "chunked_attention": chunk}
        return [by_kind.get(kind) for kind in kinds]
    is_used = getattr(config, "use_sliding_window", True)
    return [window if is_used else None] * layers


# --- faults ----------------------------------------------------------------------------------------

RETAINED = "retained cache"
IGNORED_WINDOW = "ignored window"
GROWN_STATIC = "grown static cache"
CARRIES_GRAD = "cache that carries gradients"
GROWING_BATCH = "growing batch"

FEWEST_GROWING = 3
"""Requests in a row, each with a larger batch, that are called a growth."""


def faults(
    samples: "Sequence[Sample]",
    windows: "Sequence[Optional[int]]",
    alive: "Sequence[tuple[int, Sequence[int]]]",
) -> "list[Fault]":
    """Return what is wrong with caches that were seen, most bytes first.

    ``alive``: requests whose caches are still held though they are over, with resident bytes by layer.
    """
    found = [
        _retained(alive),
        _ignored_window(samples, windows),
        _grown_static(samples),
        _carrying_grad(samples),
        _growing_batch(samples),
    ]
    return sorted((each for each in found if each is not None), key=lambda each: -each.excess)


def _retained(alive: "Sequence[tuple[int, Sequence[int]]]") -> "Optional[Fault]":
    excess = sum(sum(layers) for _, layers in alive)
    if not excess:
        return None
    held = tuple(sorted({place for _, layers in alive for place, size in enumerate(layers) if size}))
    count = len(alive)
    return Fault(
        RETAINED,
        held,
        excess,
        f"KV cache of {count} finished request{'s' if count > 1 else ''} is still held: "
        f"{_bytes(excess)} in {_layers(held)}",
    )


def _ignored_window(samples: "Sequence[Sample]", windows: "Sequence[Optional[int]]") -> "Optional[Fault]":
    """Find layers that hold more tokens than they attend to while decoding.

    After the prompt alone a sliding layer holds all of it until the next step (cache_utils.py, the slice is a
    view), so that first samples tell nothing.
    """
    worst: Optional[Fault] = None
    for each in samples:
        if each.forward == 0:
            continue
        over = [
            place
            for place, (held, window) in enumerate(zip(each.slots, windows))
            if window is not None and held > window
        ]
        excess = sum(
            each.logical[place] * (each.slots[place] - (windows[place] or 0)) // each.slots[place]
            for place in over
        )
        if over and (worst is None or excess > worst.excess):
            place = over[0]
            worst = Fault(
                IGNORED_WINDOW,
                tuple(over),
                excess,
                f"{_layers(over)} attend to {windows[place]} tokens and hold {each.slots[place]}: "
                f"{_bytes(excess)} too much (request {each.request}, forward {each.forward})",
            )
    return worst


def _grown_static(samples: "Sequence[Sample]") -> "Optional[Fault]":
    """Find a cache of fixed size that has the size of an earlier, longer request.

    ``generate`` keeps the largest length it ever made (``_previous_max_cache_length``) and never goes back.
    """
    last = _by_request(samples)
    first = {each.request: each for each in reversed(samples)}
    filled: dict[int, int] = {}  # slots -> the request that filled them
    for request, end in last.items():
        places = [
            place
            for place, slots in enumerate(end.slots)
            if slots and slots == first[request].slots[place] and slots > first[request].tokens
        ]
        if not places or end.forward == 0:
            continue
        slots = max(end.slots[place] for place in places)
        if end.tokens >= slots:
            filled.setdefault(slots, request)
        elif slots in filled:
            excess = sum(end.logical[place] * (slots - end.tokens) // slots for place in places)
            return Fault(
                GROWN_STATIC,
                tuple(places),
                excess,
                f"request {request} used {end.tokens} tokens of a static cache of {slots}, "
                f"the size that request {filled[slots]} needed: "
                f"{_bytes(excess)} too much in {_layers(places)}",
            )
    return None


def _carrying_grad(samples: "Sequence[Sample]") -> "Optional[Fault]":
    carrying = [each for each in samples if each.carries_grad]
    if not carrying:
        return None
    most = max(carrying, key=lambda each: sum(each.resident))
    return Fault(
        CARRIES_GRAD,
        tuple(place for place, size in enumerate(most.resident) if size),
        sum(most.resident),
        f"keys and values require gradients, so that every step's graph stays as long as the cache: "
        f"{len(carrying)} of {len(samples)} forward passes seen, from request {carrying[0].request} on",
    )


def _growing_batch(samples: "Sequence[Sample]") -> "Optional[Fault]":
    last = list(_by_request(samples).values())
    run = last[-1:]
    for each in reversed(last[:-1]):
        if each.batch >= run[0].batch:
            break
        run.insert(0, each)
    if len(run) < FEWEST_GROWING:
        return None
    excess = sum(run[-1].resident) - sum(run[0].resident)
    return Fault(
        GROWING_BATCH,
        tuple(range(len(run[-1].resident))),
        excess,
        f"the batch grew from {run[0].batch} to {run[-1].batch} over {len(run)} requests, "
        f"the KV cache of one from {_bytes(sum(run[0].resident))} to {_bytes(sum(run[-1].resident))}",
    )


def _by_request(samples: "Sequence[Sample]") -> "dict[int, Sample]":
    """Return the last sample of each request."""
    return {each.request: each for each in samples}


def _layers(places: "Sequence[int]") -> str:
    """Return "layer 3", "layers 0 to 5", "layers 0, 2, 4"."""
    if len(places) == 1:
        return f"layer {places[0]}"
    if list(places) == list(range(places[0], places[-1] + 1)):
        return f"layers {places[0]} to {places[-1]}"
    return "layers " + ", ".join(str(place) for place in places)


def _bytes(size: int) -> str:
    """Return ``size`` as ``core.units.show_bytes`` does, which cannot be imported here."""
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if abs(size) >= unit:
            return f"{size / unit:.1f} {name}" if abs(size) < 100 * unit else f"{size / unit:.0f} {name}"
    return f"{size} B"
