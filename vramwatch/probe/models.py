"""The model of a run: a built-in family with random weights, a path, or a hub id."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from vramwatch.core.errors import UsageError
from vramwatch.probe import families
from vramwatch.probe.experiment import Experiment

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
    fields = families.config_of(experiment.model, experiment.is_full_size)
    try:
        if fields is not None:
            return AutoConfig.for_model(**fields)
        return AutoConfig.from_pretrained(experiment.model)
    except (OSError, ValueError, KeyError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UsageError(
            f"model {experiment.model!r}: {first} Write a directory with a config.json, a hub id that can be "
            f"fetched or is in the cache, or one that is built in: {', '.join(families.names())}"
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
    if families.is_built_in(experiment.model):
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
