"""What an experiment needs that this machine lacks."""

from importlib.util import find_spec

import torch

from vramwatch.probe.experiment import Experiment

PACKAGES = {"bitsandbytes": "bitsandbytes", "torchao": "torchao", "quanto": "optimum.quanto"}


def lacks(experiment: Experiment, device: torch.device) -> str:
    """Return why ``experiment`` cannot run here; empty: it can."""
    is_cuda = device.type == "cuda"
    if experiment.attention == "flash_attention_2" and not (is_cuda and _is_there("flash_attn")):
        return "flash_attention_2 needs CUDA and the package flash-attn"
    if experiment.expandable and not is_cuda:
        return "expandable segments are the CUDA allocator's; this run is on the CPU"
    if not experiment.empties and not is_cuda:
        return "the CPU has no cache that empty_cache could empty"
    if experiment.cache == "offloaded" and not is_cuda:
        return "an offloaded cache moves between GPU and host; this run is on the CPU"
    if experiment.cache == "quantized" and not _is_there("optimum.quanto"):
        return "a quantised cache needs the package optimum-quanto"
    package = experiment.weights.partition("-")[0]
    if package != "plain" and not _is_there(PACKAGES[package]):
        return f"weights by {package} need the package {package}"
    if experiment.device_map:
        if not is_cuda:
            return "a device map spreads over GPUs; this run is on the CPU"
        if experiment.device_map == "split" and torch.cuda.device_count() < 2:
            return "a split needs two GPUs; torch sees one"
    return ""


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
