"""What an experiment needs that this machine lacks."""

from importlib.util import find_spec

import torch

from vramwatch.probe.experiment import Experiment

PACKAGES = {
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "torchao": ("torchao", "torchao"),
    "quanto": ("optimum-quanto", "optimum.quanto"),
}
"""What quantises weights -> what is installed for it, and what is imported."""


def lacks(experiment: Experiment, device: torch.device) -> str:
    """Return why ``experiment`` cannot run here; empty: it can."""
    package = experiment.weights.partition("-")[0]
    distribution, library = PACKAGES.get(package, ("", ""))  # plain weights need none
    is_on_cpu = device.type != "cuda"
    reasons = {
        "flash_attention_2 needs CUDA and the package flash-attn": (
            experiment.attention == "flash_attention_2" and (is_on_cpu or not _is_there("flash_attn"))
        ),
        "expandable segments are the CUDA allocator's; this run is on the CPU": (
            experiment.expandable and is_on_cpu
        ),
        "the CPU has no cache that empty_cache could empty": not experiment.empties and is_on_cpu,
        "an offloaded cache moves between GPU and host; this run is on the CPU": (
            experiment.cache == "offloaded" and is_on_cpu
        ),
        f"weights by {package} need the package {distribution}": (bool(library) and not _is_there(library)),
        "a device map spreads over GPUs; this run is on the CPU": bool(experiment.device_map) and is_on_cpu,
        "a split needs two GPUs; torch sees fewer": (
            experiment.device_map == "split" and torch.cuda.device_count() < 2
        ),
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
