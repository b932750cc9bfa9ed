"""What each option of a plan saves: the same plan with one thing changed; and what vLLM would keep."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vramwatch.core.architecture import Architecture
from vramwatch.core.kvmath import Attention, KvDtype, kept_tokens, kv_bytes
from vramwatch.core.planning import (
    Demand,
    Need,
    Part,
    Quantization,
    Room,
    activation_bytes,
    max_batch,
    max_context,
    need,
    place,
    weight_bytes,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One change of a Demand. ``saved``: bytes per GPU at the fullest moment; negative: it costs more."""

    option: str  # as it is written for ``vramwatch plan``, or "" where it is a matter of code
    what: str
    saved: int
    max_batch: int
    max_context: int


@dataclass(frozen=True, slots=True)
class Pool:
    """What vLLM would keep for its KV cache on each GPU at one ``gpu_memory_utilization``.

    ``pool``: bytes, 0 where the weights leave nothing. ``sequences``: how many of the planned context it
    holds at once. ``starts``: whether so much is free as vLLM asks for before it loads.
    """

    utilization: float
    pool: int
    sequences: float
    tokens: int
    starts: bool
    highest: float  # the largest utilization with which it starts, to a hundredth


@dataclass(frozen=True, slots=True)
class Plan:
    """What a Demand comes to in these rooms.

    ``parts`` None: it does not fit. ``need`` is of one GPU that holds all, or its rank's part of it.
    """

    architecture: Architecture
    demand: Demand
    rooms: tuple[Room, ...]
    need: Need
    sequence: int  # bytes per GPU that one sequence more adds at the fullest moment
    parts: tuple[Part, ...] | None
    max_batch: int
    max_context: int
    pool: Pool | None  # None: several GPUs that share no layers, which vLLM would
    choices: tuple[Choice, ...]


def make_plan(architecture: Architecture, demand: Demand, rooms: Sequence[Room], utilization: float) -> Plan:
    """Return what ``demand`` comes to on ``rooms``; with tensor parallelism there are as many as ranks."""
    parts, now = place(architecture, demand, rooms), need(architecture, demand)
    one_more = replace(demand, batch=demand.batch + 1)
    shares_layers = demand.ranks == len(rooms)
    return Plan(
        architecture,
        demand,
        tuple(rooms),
        now,
        need(architecture, one_more).peak - now.peak,
        None if parts is None else tuple(parts),
        max_batch(architecture, demand, rooms),
        max_context(architecture, demand, rooms),
        vllm_pool(architecture, demand, rooms, utilization) if shares_layers else None,
        tuple(_choices(architecture, demand, rooms)),
    )


def vllm_pool(architecture: Architecture, demand: Demand, rooms: Sequence[Room], utilization: float) -> Pool:
    """Return what vLLM would leave for KV: its share of the whole GPU less weights, activations, overhead.

    As its ``determine_available_memory`` does (vllm/v1/worker/gpu_worker.py), which measures what is
    estimated here; the least roomy GPU decides. Its attention makes no matrix of scores.
    """
    fused = replace(demand, has_scores=False, batch=1)
    rest = (
        weight_bytes(architecture, demand)
        + activation_bytes(architecture, fused, demand.prompt)
        + demand.overhead
    )
    pool = max(min(int(room.total * utilization) for room in rooms) - rest, 0)
    each = kv_bytes(architecture.caches, demand.context, demand.precision, demand.ranks)
    return Pool(
        utilization,
        pool,
        pool / each,
        int(pool / each * demand.context),
        all(room.free >= room.total * utilization for room in rooms),
        min(room.free * 100 // room.total for room in rooms) / 100,
    )


def _choices(architecture: Architecture, demand: Demand, rooms: Sequence[Room]) -> Iterator[Choice]:
    now = need(architecture, demand).peak
    for option, what, changed in _changes(architecture, demand):
        batch, context = max_batch(architecture, changed, rooms), max_context(architecture, changed, rooms)
        yield Choice(option, what, now - need(architecture, changed).peak, batch, context)
    if any(isinstance(cache, Attention) and cache.window for cache in architecture.caches):
        yield _ignoring_windows(architecture, demand, rooms)


def _changes(architecture: Architecture, demand: Demand) -> Iterator[tuple[str, str, Demand]]:
    """Yield each change that there is to make: its option, words, and the demand it leads to."""
    if demand.weights is Quantization.NONE:
        for weights in (Quantization.FP8, Quantization.INT8, Quantization.INT4):
            changed = replace(demand, weights=weights)
            yield f"--quantize {weights}", f"weights in {weights}", changed
    if demand.precision.kv is KvDtype.AUTO and any(kept_tokens(cache, 1) for cache in architecture.caches):
        for kv in (KvDtype.FP8, KvDtype.INT4):
            if refusal(architecture, kv) is None:
                changed = replace(demand, precision=replace(demand.precision, kv=kv))
                yield f"--kv-dtype {kv}", f"keys and values in {kv}", changed
    if demand.has_scores:
        changed = replace(demand, has_scores=False)
        yield "--attention fused", "attention without a matrix of scores", changed
    if demand.prompt == demand.context > 1:
        half = demand.context // 2
        yield f"--prompt {half}", "half of the context written, not read", replace(demand, prompt=half)


def _ignoring_windows(architecture: Architecture, demand: Demand, rooms: Sequence[Room]) -> Choice:
    """Return what it costs to keep what windows let go of: at the last token, for a prompt is kept whole."""
    layers = tuple(
        replace(layer, cache=replace(layer.cache, window=None))
        if isinstance(layer.cache, Attention)
        else layer
        for layer in architecture.layers
    )
    without, written = replace(architecture, layers=layers), replace(demand, prompt=1)
    return Choice(
        "",
        "windows ignored, as by DynamicCache() without config=",
        need(architecture, written).peak - need(without, written).peak,
        max_batch(without, demand, rooms),
        max_context(without, demand, rooms),
    )


def refusal(architecture: Architecture, kv: KvDtype) -> str | None:
    """Return why keys and values cannot be kept so; None: they can.

    transformers quantises full attention alone (``QuantizedCache``), to integers; 8-bit floats are what
    engines keep windows and latents in too.
    """
    if kv in (KvDtype.INT8, KvDtype.INT4):
        others = [each for each in architecture.caches if not isinstance(each, Attention) or each.window]
        if others:
            count = f"{len(others)} of {len(architecture.layers)}"
            return f"{kv} keeps layers of full attention alone, and {count} are others"
    return None
