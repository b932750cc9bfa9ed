"""What the formula says of a cache that was traced, and where the two part. Pure."""

from dataclasses import dataclass

from vramwatch.core.architecture import read_architecture
from vramwatch.core.kvmath import Dtype, LayerCache, Precision, layer_bytes
from vramwatch.probe.results import Result
from vramwatch.sdk.tracing import Sample


@dataclass(frozen=True, slots=True)
class Parting:
    """The first layer and forward pass at which a cache is not as large as the formula says. Bytes."""

    layer: int
    sample: Sample
    seen: int
    foreseen: int


def formula(result: Result) -> tuple[LayerCache, ...] | None:
    """Return what each layer of the traced model keeps; None: the formulas do not know such a model."""
    try:
        return read_architecture(result.config).caches
    except ValueError:
        return None


def dtype_of(result: Result) -> Dtype:
    """Return the dtype that the run computed with."""
    name = result.experiment.dtype
    if name != "auto":
        return Dtype(name)
    return Dtype.FLOAT32 if result.environment.get("device") == "cpu" else Dtype.FLOAT16


def layers_at(caches: tuple[LayerCache, ...], sample: Sample, dtype: Dtype) -> tuple[int, ...]:
    """Return the logical bytes of each layer after ``sample``'s forward pass, as the formula has them."""
    precision = Precision(dtype)
    return tuple(sample.batch * layer_bytes(cache, sample.tokens, precision) for cache in caches)


def parting(result: Result) -> Parting | None:
    """Return where trace and formula part first; None: nowhere, or the formulas do not know the model."""
    caches = formula(result)
    if caches is None:
        return None
    dtype = dtype_of(result)
    for sample in result.samples:
        layers = layers_at(caches, sample, dtype)
        for place, (seen, foreseen) in enumerate(zip(sample.logical, layers, strict=False)):
            if seen != foreseen:
                return Parting(place, sample, seen, foreseen)
    return None
