"""How many bytes a KV pool has that its engine tells in tokens, for models of the catalogue."""

from dataclasses import replace
from functools import lru_cache

from vramwatch import models
from vramwatch.core.architecture import read_architecture
from vramwatch.core.kvmath import Attention, Dtype, KvDtype, Latent, Precision, bytes_per_token
from vramwatch.core.metric_pages import Cache, Told, known, product

_COMPUTED = {"half": Dtype.FLOAT16, "float": Dtype.FLOAT32, **{each.value: each for each in Dtype}}
_KEPT = {
    "auto": KvDtype.AUTO,
    **dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2"), KvDtype.FP8),
}
"""Names of ModelDType and CacheDType (vllm/config); no others count."""


def in_bytes(told: Told, cache: Cache | None) -> Told:
    """Return ``told`` with the bytes of its pool on each GPU, if it tells tokens and their size is known."""
    per_token = _per_token(cache) if cache is not None and told.pool_tokens else None
    pool = product(told.pool_tokens, per_token)
    if pool is None:
        return told
    used = product(told.figures.get("engine_kv_ratio"), pool)
    return replace(told, figures={**told.figures, **known(engine_pool_bytes=pool, engine_kv_bytes=used)})


@lru_cache(maxsize=64)
def _per_token(cache: Cache) -> int | None:
    """Return the bytes of a token on one GPU. None: the model is none of the catalogue, or not all of its
    layers keep every token, so that blocks of several kinds share the pool.
    """
    model = models.read(cache.model)
    kept = _KEPT.get(cache.dtype)
    if model is None or kept is None:
        return None
    architecture = read_architecture(model.config)
    computed = _COMPUTED.get(cache.computed or architecture.dtype or "")
    caches = architecture.caches
    is_uniform = all(
        isinstance(each, Latent) or (isinstance(each, Attention) and each.window is None) for each in caches
    )
    if computed is None or not is_uniform:
        return None
    return bytes_per_token(caches, Precision(computed, kept), ranks=cache.ranks)
