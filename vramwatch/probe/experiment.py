"""What is asked of one run of the probe. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from vramwatch.core.errors import UsageError

DEFAULT_MODEL = "tiny-llama"


class Decoding(StrEnum):
    """Who calls the model."""

    GENERATE = "generate"  # transformers' own loop, which is no_grad itself
    LOOP = "loop"  # model(...) by hand, as many servers do: the only one in which gradients can be left on
    TRAINING = "training"  # a forward and backward pass over the prompt


class Grad(StrEnum):
    ON = "grad"
    NO_GRAD = "no_grad"
    INFERENCE = "inference_mode"


class Planted(StrEnum):
    """A fault that is built in on purpose, to see it found."""

    RETAINED_CACHE = "retained_cache"
    GRAD_LEFT_ON = "grad_left_on"
    IGNORED_WINDOW = "ignored_window"
    STATIC_RATCHET = "static_ratchet"
    SAVED_EXCEPTION = "saved_exception"
    GROWING_BATCH = "growing_batch"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One run in one process. Every field is in its report, so that it can be run again."""

    model: str = DEFAULT_MODEL  # a built-in name, a path, a hub id
    device: str = "auto"  # auto, cpu, cuda, cuda:N
    dtype: str = "auto"  # auto: float32 on the CPU, float16 on a GPU
    batch: int = 1
    prompt: int = 64  # tokens of each sequence
    tokens: int = 50  # new tokens of each sequence
    requests: int = 3  # in a row
    seed: int = 0
    samples: bool = True  # draws the next token; False: takes the likeliest
    decoding: Decoding = Decoding.GENERATE
    grad: Grad = Grad.NO_GRAD
    uses_cache: bool = True
    cache: str = "dynamic"  # dynamic, unaware (without its config), static, offloaded, quantized
    attention: str = "auto"  # what transformers takes for this model
    trains: bool = False  # model.train()
    checkpoints: bool = False  # gradient checkpointing
    retains: bool = False  # keeps every request's cache
    empties: bool = True  # empty_cache between requests
    weights: str = "plain"  # plain, bitsandbytes-int8, bitsandbytes-4bit, torchao-int8, quanto-int8
    device_map: str = ""  # one, split, cpu_offload; empty: none
    expandable: bool = False  # PYTORCH_ALLOC_CONF=expandable_segments:True
    planted: Planted | None = None
    budget_bytes: int | None = None  # more is out of memory; None: what is free
    is_full_size: bool = False  # of a built-in model; False: scaled down

    def __post_init__(self) -> None:
        """Errors: UsageError for a count that makes no run."""
        for name in ("batch", "prompt", "tokens", "requests"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} {getattr(self, name)}: write at least 1")
        if self.tokens < 2 and self.decoding is not Decoding.TRAINING:
            raise UsageError("--tokens 1: the cache grows from the second new token on; write at least 2")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a run."""

    batch: int
    prompt: int
    tokens: int


def requests_of(experiment: Experiment) -> tuple[Asked, ...]:
    """Return the requests in their order, as the planted fault has them."""
    asked = [Asked(experiment.batch, experiment.prompt, experiment.tokens)] * experiment.requests
    if experiment.planted is Planted.GROWING_BATCH:
        asked = [replace(each, batch=each.batch * (place + 1)) for place, each in enumerate(asked)]
    if experiment.planted is Planted.STATIC_RATCHET:
        asked[0] = replace(asked[0], tokens=2 * asked[0].tokens)
    return tuple(asked)


PLANTS: Mapping[Planted, Mapping[str, Any]] = {
    Planted.RETAINED_CACHE: {"retains": True},
    Planted.GRAD_LEFT_ON: {"decoding": Decoding.LOOP, "grad": Grad.ON},
    Planted.IGNORED_WINDOW: {"cache": "unaware"},
    Planted.STATIC_RATCHET: {"cache": "static"},
    Planted.SAVED_EXCEPTION: {},
    Planted.GROWING_BATCH: {},
}
"""What each fault changes in an experiment, beside its requests."""

WINDOWED_MODEL = "tiny-mistral"
"""A model in which a window can be ignored."""


def plant(experiment: Experiment, fault: Planted) -> Experiment:
    """Return the experiment with ``fault`` in it, on a model and with as many requests as it takes."""
    changed = replace(experiment, planted=fault, **PLANTS[fault])
    if fault is Planted.IGNORED_WINDOW and changed.model == DEFAULT_MODEL:
        changed = replace(changed, model=WINDOWED_MODEL)
    fewest = {Planted.GROWING_BATCH: 3, Planted.STATIC_RATCHET: 2}.get(fault, 1)
    return replace(changed, requests=max(changed.requests, fewest))


def to_json(experiment: Experiment) -> dict[str, Any]:
    return asdict(experiment)


def from_json(given: Mapping[str, Any]) -> Experiment:
    """Return the experiment that ``to_json`` wrote; fields that it does not know are passed over."""
    known = {field.name for field in fields(Experiment)}
    values = {name: value for name, value in given.items() if name in known}
    kinds: Mapping[str, type[StrEnum]] = {"decoding": Decoding, "grad": Grad, "planted": Planted}
    for name, kind in kinds.items():
        if values.get(name) is not None:
            values[name] = kind(values[name])
    return Experiment(**values)
