"""Asks the real code of a model, in a process of its own, and compares what it says with the formulas."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vramwatch.core.architecture import Architecture
from vramwatch.core.errors import UsageError
from vramwatch.core.kvmath import Dtype, Precision, State, layer_bytes
from vramwatch.core.planning import Demand

NEEDED = ("torch", "transformers")

DTYPE = Dtype.BFLOAT16

SHORT = 8
"""Tokens of the prompts that are compared: this many, and one more."""

PATIENCE = 300.0
"""Seconds that the real code may take; the largest model of the catalogue takes under ten."""


@dataclass(frozen=True, slots=True)
class Check:
    """How the formulas compare with the real code. ``by`` "formula": it was not asked, and ``why``."""

    by: str
    why: str = ""
    differences: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool | None:
        return None if self.by == "formula" else not self.differences


def missing() -> list[str]:
    """Return what of PyTorch and transformers is not installed; neither is imported."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def expands_latent(model_type: object) -> bool:
    """Return whether the installed transformers caches a latent as full keys and values; without it: not.

    Source: transformers pull requests 47761 (5.15) and, for DeepSeek-V3.2 and GLM-DSA, 48761 (5.18).
    """
    try:
        parts = version("transformers").split(".")
        installed = (int(parts[0]), int(parts[1]))
    except (PackageNotFoundError, ValueError, IndexError):
        return False
    return installed < ((5, 18) if model_type in ("deepseek_v32", "glm_moe_dsa") else (5, 15))


def check(
    config: Mapping[str, Any], architecture: Architecture, demand: Demand
) -> tuple[Architecture, Check]:
    """Return ``architecture`` with the parameters that the real code has, and how the two compare.

    Errors: UsageError where PyTorch or transformers is not installed.
    """
    lacking = missing()
    if lacking:
        raise UsageError(
            f"--exact runs the model's own code, and {' and '.join(lacking)} cannot be imported by "
            f"{sys.executable}; install 'vramwatchd[probe]' there, or leave --exact out"
        )
    asked = questions(config, architecture, demand)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vramwatch.probe.meta"],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return architecture, Check("formula", f"the real code took more than {PATIENCE:.0f} s")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        return architecture, Check("formula", f"the real code could not be run: {said[-1][:300]}")
    return compare(architecture, asked["prompts"], json.loads(done.stdout))


def questions(config: Mapping[str, Any], architecture: Architecture, demand: Demand) -> dict[str, Any]:
    """Return what ``vramwatch.probe.meta`` is asked: in bfloat16, for not all experts' code takes float32."""
    return {"config": dict(config), "dtype": DTYPE.value, "prompts": _prompts(architecture, demand)}


def compare(
    architecture: Architecture, prompts: Sequence[int], found: Mapping[str, Any]
) -> tuple[Architecture, Check]:
    """Return ``architecture`` with the parameters that were ``found``, and where the formulas part."""
    differences = [
        *_parameter_difference(architecture, found["parameters"]),
        *_cache_differences(architecture, dict(zip(prompts, found["cache_bytes"], strict=True))),
    ]
    missed = found["parameters"] - architecture.parameters
    by = f"transformers {found['transformers']} on the meta device"
    corrected = replace(architecture, others=architecture.others + missed)
    return corrected, Check(by, differences=tuple(differences))


def _prompts(architecture: Architecture, demand: Demand) -> list[int]:
    """Return the lengths to compare at; recurrent layers are read token by token, so not at the context."""
    lengths = {min(SHORT, demand.context), min(SHORT + 1, demand.context)}
    if not any(isinstance(cache, State) for cache in architecture.caches):
        lengths.add(demand.context)
    return sorted(lengths)


def _parameter_difference(architecture: Architecture, real: int) -> list[str]:
    if real == architecture.parameters:
        return []
    return [f"it has {real:,} parameters, by formula {architecture.parameters:,}; the real number is used"]


def _cache_differences(architecture: Architecture, real: Mapping[int, list[int]]) -> list[str]:
    """Return a sentence for the first layer of each prompt in which the two part."""
    told = []
    for prompt, layers in real.items():
        expected = [layer_bytes(cache, prompt, Precision(DTYPE)) for cache in architecture.caches]
        if layers == expected:
            continue
        if len(layers) != len(expected):
            told.append(f"its cache has {len(layers)} layers, by formula {len(expected)}")
            continue
        place = next(at for at, pair in enumerate(zip(layers, expected, strict=True)) if pair[0] != pair[1])
        told.append(
            f"after {prompt:,} tokens layer {place} keeps {layers[place]:,} bytes, "
            f"by formula {expected[place]:,}"
        )
    return told
