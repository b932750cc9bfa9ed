"""The model of a run: a built-in family with random weights, a path, or a hub id."""

import json
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vramwatch.core.architecture import read_architecture
from vramwatch.core.errors import UsageError
from vramwatch.core.kvmath import Dtype, Precision, kv_bytes
from vramwatch.probe import families
from vramwatch.probe.experiment import Experiment
from vramwatch.probe.tensors import plain

HOST = 1 << 40
"""Bytes that layers may take of the host's memory: more than there are, for accelerate asks for a number."""

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
    """Return the attention that is asked for; None: transformers chooses what the model has.

    Errors: UsageError for a name that transformers does not know. With a slash in it is a kernel of the hub.
    """
    name = experiment.attention
    if name == "auto":
        return None
    known = ["eager", *sorted(ALL_ATTENTION_FUNCTIONS.valid_keys())]
    if name not in known and "/" not in name:
        raise UsageError(f"--attention {name!r}: write one of auto, {', '.join(known)}")
    return name


def build(experiment: Experiment, config: Any, device: torch.device) -> torch.nn.Module:
    """Return the model on its device, in eval mode unless it is to train.

    A built-in model has random weights, drawn from the seed; another is loaded with its own. Errors:
    UsageError where those cannot be read.
    """
    dtype = dtype_of(experiment, device)
    torch.manual_seed(experiment.seed)
    is_plain = experiment.weights == "plain" and not experiment.device_map
    try:
        model = (_plain if is_plain else _placed)(experiment, config, device, dtype)
    except OSError as error:  # a folder with a configuration and no weights, a file that cannot be read
        raise UsageError(f"model {experiment.model!r}: {' '.join(str(error).split())}") from error
    if experiment.checkpoints:
        model.gradient_checkpointing_enable()
    return model.train(experiment.trains)


def _plain(experiment: Experiment, config: Any, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    attention = attention_of(experiment)
    if families.is_built_in(experiment.model):
        with torch.device(device):
            return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    return AutoModelForCausalLM.from_pretrained(
        experiment.model, dtype=dtype, attn_implementation=attention, low_cpu_mem_usage=True
    ).to(device)


def _placed(experiment: Experiment, config: Any, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """Return the model as a loader makes it that quantises or spreads it: that works from files alone."""
    with tempfile.TemporaryDirectory(prefix="vramwatch-probe-") as folder:
        source = experiment.model
        if families.is_built_in(source):
            source = folder
            AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
        free = [torch.cuda.mem_get_info(place)[0] for place in range(torch.cuda.device_count())]
        return AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            attn_implementation=attention_of(experiment),
            quantization_config=_quantization(experiment.weights),
            **_placement(experiment, config, dtype, device, free),
        )


def _quantization(weights: str) -> Any:
    """Return transformers' configuration of a quantisation; None: plain weights."""
    makers: dict[str, Callable[[], Any]] = {
        "plain": lambda: None,
        "bitsandbytes-int8": lambda: transformers.BitsAndBytesConfig(load_in_8bit=True),
        "bitsandbytes-4bit": lambda: transformers.BitsAndBytesConfig(load_in_4bit=True),
        "torchao-int8": _torchao,
        "quanto-int8": lambda: transformers.QuantoConfig(weights="int8"),
    }
    return makers[weights]()


def _torchao() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig  # noqa: PLC0415 -- not everybody has it

    return transformers.TorchAoConfig(Int8WeightOnlyConfig())


def _placement(
    experiment: Experiment, config: Any, dtype: torch.dtype, device: torch.device, free: Sequence[int]
) -> dict[str, Any]:
    """Return the device map and what each device may take: its free memory, less its share of the KV cache.

    accelerate's infer_auto_device_map counts weights alone, and would leave the cache no room.
    """
    if not experiment.device_map:
        return {"device_map": {"": device}}
    caches = read_architecture(json.loads(config.to_json_string(use_diff=False))).caches
    precision = Precision(Dtype(str(dtype).removeprefix("torch.")))
    kv = experiment.batch * kv_bytes(caches, experiment.prompt + experiment.tokens, precision)
    room: dict[int | str, int] = {place: each - kv // len(free) for place, each in enumerate(free)}
    if experiment.device_map == "cpu_offload":
        room = {device.index or 0: room[device.index or 0] // 2, "cpu": HOST}
    return {"device_map": "auto", "max_memory": room}


def weight_bytes(model: torch.nn.Module) -> int:
    """Return the bytes of parameters and buffers by their storages, so that shared ones count once."""
    storages = {}
    for each in (*model.parameters(), *model.buffers()):
        for tensor in plain(each):
            storage = tensor.untyped_storage()
            storages[id(storage)] = storage.nbytes()
    return sum(storages.values())
