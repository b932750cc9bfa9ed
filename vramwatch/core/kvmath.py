"""How many bytes a model's cache takes, layer by layer, from what its configuration says.

Formulas: keys and values of every token, arXiv:2309.06180 section 3; the latent of MLA, arXiv:2405.04434
section 2.1; the states of Mamba and Mamba-2, arXiv:2312.00752 and 2405.21060. What a window keeps, what a
quantised cache holds and when, is as in transformers' cache_utils.py (5.24).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Dtype(StrEnum):
    """How weights and caches are computed with."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"

    @property
    def itemsize(self) -> int:
        return 4 if self is Dtype.FLOAT32 else 2


class KvDtype(StrEnum):
    """How keys and values are kept. ``AUTO``: as they are computed."""

    AUTO = "auto"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"


GROUP = 64
"""Values of an integer cache that share a scale and a shift, both of the computing dtype (q_group_size)."""

RESIDUAL = 128
"""Tokens that an integer cache keeps unquantised before it quantises them too (``residual_length``)."""

_GROUP_BITS = {KvDtype.INT8: 8, KvDtype.INT4: 4}


@dataclass(frozen=True, slots=True)
class Attention:
    """Keys and values of every token, or of those within ``window``.

    ``keys``, ``values``: numbers per token, of all ``heads`` (KV heads, which tensor parallelism divides).
    """

    heads: int
    keys: int
    values: int
    window: int | None = None

    @property
    def width(self) -> int:
        return self.keys + self.values


@dataclass(frozen=True, slots=True)
class Latent:
    """One compressed vector per token for all heads (MLA): every GPU of a tensor-parallel group keeps it."""

    width: int  # kv_lora_rank + qk_rope_head_dim


@dataclass(frozen=True, slots=True)
class State:
    """What a recurrent layer carries: as large after one token as after a million."""

    heads: int
    convolution: int  # numbers, in the computing dtype
    recurrent: int  # numbers, in float32 whatever the dtype of the model


LayerCache = Attention | Latent | State | None
"""What one layer keeps between tokens; None: nothing, or what another layer keeps."""


@dataclass(frozen=True, slots=True)
class Precision:
    """How a cache is kept: the computing dtype, and what keys and values are stored as."""

    dtype: Dtype = Dtype.FLOAT16
    kv: KvDtype = KvDtype.AUTO


def kept_tokens(cache: LayerCache, tokens: int) -> int:
    """Return how many of ``tokens`` a layer attends to at the next one, hence keeps.

    A window of W counts the token that is asked for, so W - 1 are kept; a State and None keep none.
    """
    match cache:
        case Attention(window=int(window)):
            return min(tokens, window - 1)
        case Attention() | Latent():
            return tokens
        case _:
            return 0


def layer_bytes(cache: LayerCache, tokens: int, precision: Precision, ranks: int = 1) -> int:
    """Return the bytes that one layer keeps of one sequence of ``tokens``, on one of ``ranks`` GPUs.

    Of an integer cache: with as many tokens still unquantised as there ever are at that length.
    """
    if isinstance(cache, State):
        return _state_bytes(cache, precision, ranks) if tokens else 0
    return kept_bytes(cache, kept_tokens(cache, tokens), precision, ranks)


def prefilled_bytes(cache: LayerCache, prompt: int, precision: Precision, ranks: int = 1) -> int:
    """Return the bytes that one layer holds right after a prompt: all of it, windows or not.

    What a window keeps is a view of the whole, which goes with the next token alone. An integer cache
    quantises a prompt at once.
    """
    if isinstance(cache, State):
        return layer_bytes(cache, prompt, precision, ranks)
    return _stored(_width(cache, ranks) * prompt, precision)


def kept_bytes(cache: LayerCache, kept: int, precision: Precision, ranks: int = 1) -> int:
    """Return the bytes of ``kept`` tokens of one sequence in a layer that keeps tokens; of others 0."""
    width = _width(cache, ranks)
    if precision.kv not in _GROUP_BITS:
        return _stored(width * kept, precision)
    waiting = min(kept, RESIDUAL - 1)
    return _stored(width * (kept - waiting), precision) + width * waiting * precision.dtype.itemsize


def kv_bytes(caches: Iterable[LayerCache], tokens: int, precision: Precision, ranks: int = 1) -> int:
    """Return the bytes that all layers keep of one sequence of ``tokens``, on one of ``ranks`` GPUs."""
    return sum(layer_bytes(cache, tokens, precision, ranks) for cache in caches)


def bytes_per_token(
    caches: Iterable[LayerCache], precision: Precision, tokens: int = 0, ranks: int = 1
) -> int:
    """Return by how much the cache of one sequence grows with the token after ``tokens``. Bytes.

    Of an integer cache: what a token takes once it is quantised, to the nearest byte.
    """
    growing = [cache for cache in caches if kept_tokens(cache, tokens + 1) > kept_tokens(cache, tokens)]
    return sum(_stored(_width(cache, ranks), precision) for cache in growing)


def constant_bytes(caches: Iterable[LayerCache], precision: Precision, ranks: int = 1) -> int:
    """Return the bytes of a sequence's recurrent states, whatever its length."""
    return sum(_state_bytes(cache, precision, ranks) for cache in caches if isinstance(cache, State))


def transient_bytes(caches: Iterable[LayerCache], tokens: int, precision: Precision, ranks: int = 1) -> int:
    """Return what one token more needs for a moment beside the cache of one sequence of ``tokens``.

    A cache grows by copying: a layer's keys stand twice until the old ones are let go. A quantised layer is
    read back first: keys and values in the computing dtype (from 8-bit floats by way of float32), and those
    of an integer cache copied once more, to be joined with what waits.
    """
    item = precision.dtype.itemsize
    match precision.kv:
        case KvDtype.AUTO:
            per_value, shared = item, 2  # keys first, values after them: half of the layer at a time
        case KvDtype.FP8:
            per_value, shared = Dtype.FLOAT32.itemsize + item, 1
        case _:
            per_value, shared = 2 * item, 1
    widest = max((_width(each, ranks) * kept_tokens(each, tokens) for each in caches), default=0)
    return widest * per_value // shared


def _width(cache: LayerCache, ranks: int) -> int:
    """Return the numbers per token that one GPU keeps: whole heads, at least one."""
    match cache:
        case Attention():
            return cache.width * -(-cache.heads // ranks) // cache.heads
        case Latent():
            return cache.width
        case _:
            return 0


def _stored(values: int, precision: Precision) -> int:
    """Return the bytes of ``values`` numbers as they are stored, rounded up."""
    item = precision.dtype.itemsize
    match precision.kv:
        case KvDtype.AUTO:
            return values * item
        case KvDtype.FP8:
            return values
        case kv:
            return -(-values * (GROUP * _GROUP_BITS[kv] // 8 + 2 * item) // GROUP)


def _state_bytes(cache: State, precision: Precision, ranks: int) -> int:
    item = precision.dtype.itemsize
    numbers = cache.convolution * item + cache.recurrent * Dtype.FLOAT32.itemsize
    return numbers * -(-cache.heads // ranks) // cache.heads
