"""The model of a run: a built-in family with random weights, a path, or a hub id."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from vramwatch.core.errors import UsageError
from vramwatch.probe.experiment import Experiment
from vramwatch.probe.families import BUILT_IN, MODEL_TYPES, scaled

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def device_of(experiment: Experiment) -> torch.device:
    """Return where the run takes place. Errors: UsageError for one that is not there."""
    if experiment.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(experiment.device)
    except RuntimeError:
        raise UsageError(f"--device {experiment.device!r}: write cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {experiment.device}: torch sees {torch.cuda.device_count()} CUDA devices")
    return device


def dtype_of(experiment: Experiment, device: torch.device) -> torch.dtype:
    """Errors: UsageError for a name that is none of DTYPES."""
    name = experiment.dtype
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if name not in DTYPES:
        raise UsageError(f"--dtype {name!r}: write one of auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def config_of(experiment: Experiment) -> Any:
    """Return the transformers configuration of the model.

    Errors: UsageError with what is accepted, where there is no such model or it cannot be read.
    """
    if experiment.model in BUILT_IN:
        fields = BUILT_IN[experiment.model]
        fields = fields if experiment.is_full_size else scaled(fields)
        return _named(experiment.model, fields)
    try:
        return AutoConfig.from_pretrained(experiment.model)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"model {experiment.model!r}: {first} Write a directory with a config.json, a hub id that can be "
            f"fetched or is in the cache, or one that is built in: {', '.join(BUILT_IN)}"
        ) from error


def _named(name: str, fields: dict[str, Any]) -> Any:
    fields = dict(fields)
    kind = fields.pop("model_type")
    try:
        return AutoConfig.for_model(kind, **fields)
    except ValueError as error:
        raise UsageError(
            f"model {name!r}: this transformers knows no {kind!r} ({MODEL_TYPES.get(kind, 'newer')})"
        ) from error


def attention_of(experiment: Experiment) -> str | None:
    """Return the attention that is asked for; None: transformers chooses what the model has."""
    return None if experiment.attention == "auto" else experiment.attention


def build(experiment: Experiment, config: Any, device: torch.device) -> torch.nn.Module:
    """Return the model on its device, in eval mode unless it is to train.

    A built-in model has random weights, drawn from the seed; another is loaded with its own.
    """
    dtype = dtype_of(experiment, device)
    torch.manual_seed(experiment.seed)
    if experiment.model in BUILT_IN:
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(
                config, dtype=dtype, attn_implementation=attention_of(experiment)
            )
    else:
        model = AutoModelForCausalLM.from_pretrained(
            experiment.model,
            dtype=dtype,
            attn_implementation=attention_of(experiment),
            low_cpu_mem_usage=True,
        ).to(device)
    if experiment.checkpoints:
        model.gradient_checkpointing_enable()
    return model.train(experiment.trains)


def weight_bytes(model: torch.nn.Module) -> int:
    """Return the bytes of parameters and buffers by their storages, so that shared ones count once."""
    storages = {}
    for each in (*model.parameters(), *model.buffers()):
        storage = each.untyped_storage()
        storages[id(storage)] = storage.nbytes()
    return sum(storages.values())
