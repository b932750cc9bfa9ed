"""What ``vramwatch plan`` was asked, read against the model that it was asked of."""

from collections.abc import Callable
from dataclasses import dataclass

from vramwatch.cli.checking import Check, check, expands_latent, missing
from vramwatch.cli.naming import Named, find_model
from vramwatch.cli.views.plan import Answer, named_notes
from vramwatch.core.architecture import Architecture, read_architecture
from vramwatch.core.choices import make_plan, refusal
from vramwatch.core.errors import UsageError
from vramwatch.core.kvmath import Dtype, KvDtype, Latent, Precision
from vramwatch.core.planning import Demand, Quantization, Room, need
from vramwatch.core.units import Bytes

CONTEXT = 4096
"""Tokens of a sequence where nobody says how many."""

AUTO = "auto"

PUBLISHED = {
    "fp8": Quantization.FP8,
    "fbgemm_fp8": Quantization.FP8,
    "mxfp4": Quantization.MXFP4,
    "gptq": Quantization.INT4,
    "awq": Quantization.INT4,
    "bitsandbytes": Quantization.INT4,
    "int8": Quantization.INT8,
}
"""What a checkpoint's ``quant_method`` stores weights as; of methods with several sizes the usual one."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options as they were written; "auto" and None are for the model to say."""

    batch: int
    context: int | None
    prompt: int | None
    dtype: str
    quantize: str
    kv_dtype: str
    ranks: int
    attention: str
    overhead: int
    utilization: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A model and a Demand of it, to be planned for whatever is free at the moment."""

    named: Named
    architecture: Architecture
    demand: Demand
    utilization: float
    check: Check
    notes: tuple[str, ...]

    def answer(self, rooms: Callable[[int], list[Room]]) -> Answer:
        """Return the plan for the GPUs that ``rooms`` gives. Errors: what it raises."""
        least = need(self.architecture, self.demand).peak
        plan = make_plan(self.architecture, self.demand, rooms(least), self.utilization)
        return Answer(self.named, plan, self.check, self.notes)


def ask(written: str, wishes: Wishes, is_exact: bool | None) -> Asked:
    """Return what is asked of the model that ``written`` names.

    ``is_exact`` None: the model's own code is asked where it is installed. Errors: UsageError.
    """
    named = find_model(written)
    architecture = _read(named)
    demand = _demand(architecture, wishes)
    _refuse(architecture, demand, wishes)
    if is_exact or (is_exact is None and not missing()):
        architecture, checked = check(named.config, architecture, demand)
    else:
        lacking = " and ".join(missing()) if is_exact is None else ""
        checked = Check("formula", f"there is no {lacking} to ask" if lacking else "as was asked")
    notes = named_notes([named.note, *architecture.notes, *_notes(architecture, demand)])
    return Asked(named, architecture, demand, wishes.utilization, checked, notes)


def _read(named: Named) -> Architecture:
    try:
        expanded = expands_latent(named.config.get("model_type"))
        return read_architecture(named.config, expands_latent=expanded)
    except ValueError as error:
        raise UsageError(
            f"{named.origin}: nothing can be planned from this configuration: {error}"
        ) from error


def _demand(architecture: Architecture, wishes: Wishes) -> Demand:
    context = wishes.context or min(CONTEXT, architecture.context or CONTEXT)
    return Demand(
        batch=wishes.batch,
        context=context,
        prompt=min(wishes.prompt or context, context),
        precision=Precision(_dtype(architecture, wishes.dtype), KvDtype(wishes.kv_dtype)),
        weights=_weights(architecture, wishes.quantize),
        ranks=wishes.ranks,
        has_scores=architecture.makes_scores if wishes.attention == AUTO else wishes.attention == "eager",
        overhead=Bytes(wishes.overhead),
    )


def _dtype(architecture: Architecture, written: str) -> Dtype:
    if written != AUTO:
        return Dtype(written)
    published = (architecture.dtype or "").removeprefix("torch.")
    return Dtype(published) if published in set(Dtype) else Dtype.FLOAT16


def _weights(architecture: Architecture, written: str) -> Quantization:
    if written != AUTO:
        return Quantization(written)
    return PUBLISHED.get(architecture.quantization or "", Quantization.NONE)


def _refuse(architecture: Architecture, demand: Demand, wishes: Wishes) -> None:
    """Refuse what goes not together. Errors: UsageError."""
    if architecture.context and demand.context > architecture.context:
        raise UsageError(
            f"--context {demand.context}: the model was made for {architecture.context} tokens "
            "(max_position_embeddings)"
        )
    if wishes.prompt and wishes.prompt > demand.context:
        raise UsageError(f"--prompt {wishes.prompt} is more than the whole context, {demand.context} tokens")
    if architecture.heads % demand.ranks:
        raise UsageError(
            f"--tp {demand.ranks} does not divide the {architecture.heads} heads of the model; "
            "every GPU takes whole heads"
        )
    if why := refusal(architecture, demand.precision.kv):
        raise UsageError(f"--kv-dtype {why}; fp8 would do, in an engine that can")


def _notes(architecture: Architecture, demand: Demand) -> list[str]:
    notes = []
    if demand.has_scores:
        notes.append(
            "transformers computes its attention as a matrix of all tokens by all tokens (eager), "
            "which is among the activations; --attention fused is as flash attention and engines do"
        )
    if any(isinstance(cache, Latent) for cache in architecture.caches):
        notes.append("the cache is the latent; transformers before 5.15 kept full keys and values")
    has_experts = any(layer.experts for layer in architecture.layers)
    if has_experts and demand.weights in (Quantization.INT8, Quantization.INT4):
        notes.append(
            "experts count as quantised, as engines do; bitsandbytes in transformers leaves them as they are"
        )
    return notes
