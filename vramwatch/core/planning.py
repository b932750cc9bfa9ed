"""Whether a model fits before it is loaded: weights, cache, activations, and what each option changes.

Two moments decide. When the prompt has been read, every layer holds all of it and one layer computes; at the
last token the cache is at its longest, and is copied to grow. The larger of the two counts, on every GPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from vramwatch.core.architecture import Architecture
from vramwatch.core.kvmath import (
    LayerCache,
    Precision,
    layer_bytes,
    prefilled_bytes,
    transient_bytes,
)
from vramwatch.core.model_layers import Layer
from vramwatch.core.units import MIB, Bytes


class Quantization(StrEnum):
    """What the matrices of the layers are stored as; embeddings, head and norms keep the dtype."""

    NONE = "none"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"
    MXFP4 = "mxfp4"


_WEIGHT = {
    Quantization.FP8: 1 + Fraction(4, 128 * 128),  # a float32 scale for each block (DeepSeek-V3)
    Quantization.INT8: Fraction(1),  # bitsandbytes; its scale for each row is below a thousandth
    Quantization.INT4: Fraction(1, 2) + Fraction(4, 64),  # bitsandbytes nf4: float32 absmax for each 64
    Quantization.MXFP4: Fraction(1, 2) + Fraction(1, 32),  # OCP Microscaling 1.0: a byte for each 32
}
"""Bytes that one parameter takes, with its share of the scales."""

OVERHEAD = Bytes(1024 * MIB)
"""What no formula of a model holds: the CUDA context, libraries' workspaces, the allocator's rounding."""

SCORES = 5
"""Numbers per pair of tokens and head where attention is made as a matrix: the scores, masked, their softmax
in float32, and back."""

LOGIT_BYTES = 8
"""Beside the logit itself: its float32 copy, and its probability (transformers' ``_sample``)."""

MOST_BATCH = 2**20
MOST_CONTEXT = 2**24
"""Where a search ends."""


@dataclass(frozen=True, slots=True)
class Room:
    """The memory of one GPU. Bytes."""

    name: str
    free: Bytes
    total: Bytes


@dataclass(frozen=True, slots=True)
class Demand:
    """What shall run: ``batch`` sequences of ``context`` tokens each, of which ``prompt`` are read at once.

    ``ranks``: GPUs that share every layer (tensor parallelism). ``has_scores``: attention is a matrix.
    """

    batch: int
    context: int
    prompt: int
    precision: Precision
    weights: Quantization = Quantization.NONE
    ranks: int = 1
    has_scores: bool = False
    overhead: Bytes = OVERHEAD


@dataclass(frozen=True, slots=True)
class Need:
    """What one GPU needs at its fullest moment. Bytes; ``peak`` is their sum."""

    weights: int
    cache: int
    activations: int
    overhead: int

    @property
    def peak(self) -> int:
        return self.weights + self.cache + self.activations + self.overhead


@dataclass(frozen=True, slots=True)
class Part:
    """What one GPU is given of a model, and its Need. ``layers``: first and one past the last."""

    room: Room
    layers: tuple[int, int]
    has_embeddings: bool
    has_head: bool
    need: Need


# --- weights ---------------------------------------------------------------------------------------


def layer_weight_bytes(layer: Layer, demand: Demand) -> int:
    """Return the bytes of one layer's weights on one GPU: matrices are shared among the ranks, norms not."""
    item = demand.precision.dtype.itemsize
    per_matrix = Fraction(item) if demand.weights is Quantization.MXFP4 else _per_parameter(demand)
    matrices = layer.matrices * per_matrix + layer.experts * _per_parameter(demand)
    return _share(matrices, demand.ranks) + layer.others * item


def _per_parameter(demand: Demand) -> Fraction:
    return _WEIGHT.get(demand.weights, Fraction(demand.precision.dtype.itemsize))


def _share(value: Fraction, ranks: int) -> int:
    return -((-value) // ranks)


def embedding_bytes(architecture: Architecture, demand: Demand) -> int:
    """Return the bytes of the embeddings on one GPU."""
    return _share(Fraction(architecture.embeddings * demand.precision.dtype.itemsize), demand.ranks)


def head_bytes(architecture: Architecture, demand: Demand) -> int:
    """Return the bytes of the head, and of what else follows the last layer, on one GPU."""
    item = demand.precision.dtype.itemsize
    return _share(Fraction(architecture.head * item), demand.ranks) + architecture.others * item


def weight_bytes(architecture: Architecture, demand: Demand) -> int:
    """Return the bytes of all weights on one GPU of ``demand.ranks``."""
    inner = sum(layer_weight_bytes(layer, demand) for layer in architecture.layers)
    return embedding_bytes(architecture, demand) + inner + head_bytes(architecture, demand)


# --- what comes and goes ---------------------------------------------------------------------------


def activation_bytes(architecture: Architecture, demand: Demand, tokens: int) -> int:
    """Return the bytes that stand at once while every sequence reads ``tokens``, beside its cache.

    The widest layer, or the logits of the last token, which come after it.
    """
    item = demand.precision.dtype.itemsize
    widest = max((layer.live for layer in architecture.kinds), default=0)
    numbers = tokens * _share(Fraction(widest), demand.ranks)
    if demand.has_scores:
        numbers += SCORES * _share(Fraction(architecture.heads), demand.ranks) * tokens * demand.context
    return demand.batch * max(numbers * item, architecture.vocabulary * (item + LOGIT_BYTES))


@dataclass(frozen=True, slots=True)
class _Moment:
    """One of the moments that decide: what each layer keeps of one sequence, and what else there is."""

    cached: Callable[[LayerCache], int]
    passing: int  # bytes on every GPU, of the whole batch


def _moments(architecture: Architecture, demand: Demand) -> tuple[_Moment, _Moment]:
    precision, ranks = demand.precision, demand.ranks
    copied = transient_bytes((layer.cache for layer in architecture.kinds), demand.context, precision, ranks)
    return (
        _Moment(
            lambda cache: prefilled_bytes(cache, demand.prompt, precision, ranks),
            activation_bytes(architecture, demand, demand.prompt),
        ),
        _Moment(
            lambda cache: layer_bytes(cache, demand.context, precision, ranks),
            activation_bytes(architecture, demand, 1) + demand.batch * copied,
        ),
    )


# --- does it fit -----------------------------------------------------------------------------------


def place(architecture: Architecture, demand: Demand, rooms: Sequence[Room]) -> list[Part] | None:
    """Return which layers go to which of ``rooms``, in their order; None: they do not all fit.

    Each GPU takes as many layers as fit with their cache, so what can be placed in this order is. With
    ``ranks`` above 1 every GPU takes its part of every layer.
    """
    if demand.ranks > 1:
        alike = [_part(architecture, demand, room, (0, len(architecture.layers))) for room in rooms]
        return alike if all(part.need.peak <= part.room.free for part in alike) else None
    parts: list[Part] = []
    first = 0
    for room in rooms:
        part = _fullest(architecture, demand, room, first, is_first=not parts)
        if part is None:
            continue
        parts.append(part)
        first = part.layers[1]
        if part.has_head:
            return parts
    return None


def _fullest(
    architecture: Architecture, demand: Demand, room: Room, first: int, *, is_first: bool
) -> Part | None:
    """Return the part from layer ``first`` on that fills ``room``; None where nothing fits."""
    count = len(architecture.layers)

    def part(last: int, head: bool) -> Part:
        return _part(architecture, demand, room, (first, last), has_embeddings=is_first, has_head=head)

    def fits(candidate: Part) -> bool:
        return candidate.need.peak <= room.free

    whole = part(count, head=True)
    if fits(whole):
        return whole
    layers = largest(lambda many: fits(part(first + many, head=False)), count - first)
    chosen = part(first + layers, head=False)
    return chosen if fits(chosen) and (layers or is_first) else None


def _part(
    architecture: Architecture,
    demand: Demand,
    room: Room,
    layers: tuple[int, int],
    *,
    has_embeddings: bool = True,
    has_head: bool = True,
) -> Part:
    """Return what ``layers`` need in ``room``, at the moment that needs more."""
    inner = architecture.kinds_within(*layers)
    weights = sum(count * layer_weight_bytes(layer, demand) for layer, count in inner.items())
    # A head that is the embeddings is needed with them and after the last layer.
    if has_embeddings or (has_head and not architecture.head):
        weights += embedding_bytes(architecture, demand)
    if has_head:
        weights += head_bytes(architecture, demand)
    needs = [
        Need(
            weights,
            demand.batch * sum(count * moment.cached(layer.cache) for layer, count in inner.items()),
            moment.passing,
            demand.overhead,
        )
        for moment in _moments(architecture, demand)
    ]
    return Part(room, layers, has_embeddings, has_head, max(needs, key=lambda need: need.peak))


def need(architecture: Architecture, demand: Demand) -> Need:
    """Return what one GPU needs that holds all layers, or its part of each."""
    nowhere = Room("", Bytes(0), Bytes(0))
    return _part(architecture, demand, nowhere, (0, len(architecture.layers))).need


def fits(architecture: Architecture, demand: Demand, rooms: Sequence[Room]) -> bool:
    return place(architecture, demand, rooms) is not None


def max_batch(architecture: Architecture, demand: Demand, rooms: Sequence[Room]) -> int:
    """Return the largest batch that fits with this context; 0: not even one sequence."""
    return largest(
        lambda batch: fits(architecture, replace(demand, batch=batch), rooms) if batch else True, MOST_BATCH
    )


def max_context(architecture: Architecture, demand: Demand, rooms: Sequence[Room]) -> int:
    """Return the longest context that fits with this batch, at most what the model was made for; 0: none.

    A prompt that fills the context goes on filling it; a shorter one keeps its length.
    """

    def fitting(context: int) -> bool:
        return not context or fits(architecture, with_context(demand, context), rooms)

    return largest(fitting, architecture.context or MOST_CONTEXT)


def with_context(demand: Demand, context: int) -> Demand:
    """Return ``demand`` with another context, of which the prompt takes all if it did before."""
    prompt = context if demand.prompt == demand.context else min(demand.prompt, context)
    return replace(demand, context=context, prompt=prompt)


def largest(holds: Callable[[int], bool], most: int) -> int:
    """Return the largest number up to ``most`` for which ``holds``, which once false stays so; 0: none."""
    step = 1
    while step < most and holds(step):
        step *= 2
    low, high = step // 2 if step > 1 else 0, min(step, most)
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
