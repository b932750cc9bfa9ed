"""The section that has the probe run on a schedule, on a GPU with room to spare."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from pydantic.functional_validators import AfterValidator

from vramwatch.core.room import Need
from vramwatch.core.units import GIB, Bytes, Seconds
from vramwatch.options import AbsolutePath, Name, Section
from vramwatch.quantities import Duration, Size

_DEVICE = re.compile(r"auto|cpu|cuda")


def _device(written: str) -> str:
    if not _DEVICE.fullmatch(written):
        raise ValueError(f"{written!r} is no device; write auto, cpu or cuda, and with gpu which one")
    return written


class ProbeOptions(Section):
    """The reference experiment, every so often: figures that drift become an incident."""

    every: Annotated[Seconds, Duration("10m", "30d")] | None = Field(
        None,
        description=(
            "How often it runs; null: never. Under systemd vramwatch-probe.timer runs it, which "
            "`vramwatch service install` writes; elsewhere it is a child of the daemon."
        ),
    )
    python: AbsolutePath | None = Field(
        None,
        description=(
            "A Python interpreter (3.11 or newer) with torch and transformers; null: the one that "
            "runs vramwatch."
        ),
        examples=["/opt/torch/bin/python"],
    )
    model: Name = Field("tiny-llama", description="A built-in model, a directory, or a hub id.")
    full_size: bool = Field(False, description="Whether a built-in model is used at its real size.")
    batch: int = Field(1, ge=1, le=65536, description="Batch size: sequences at a time.")
    prompt: int = Field(64, ge=1, le=1 << 20, description="Tokens in each prompt.")
    tokens: int = Field(50, ge=2, le=1 << 20, description="New tokens for each sequence.")
    requests: int = Field(3, ge=1, le=1000, description="Requests in a row.")
    device: Annotated[str, AfterValidator(_device)] = Field(
        "auto", description="auto (a GPU if torch sees one), cpu, or cuda."
    )
    gpu: Name | None = Field(
        None, description="The GPU to run on, by index or UUID; null: the one with the most free memory."
    )
    budget: Annotated[Bytes, Size("64MiB", "64TiB")] = Field(
        Bytes(2 * GIB),
        description="The most GPU memory that a run may use; beyond that it ends as out of memory.",
    )
    spare: Annotated[Bytes, Size("64MiB", "64TiB")] = Field(
        Bytes(4 * GIB),
        description=(
            "What must be free on that GPU in addition to budget, by the newest reading; "
            "otherwise the run is skipped. It is also skipped while an incident is firing on the "
            "GPU."
        ),
    )
    memory: Annotated[Bytes, Size("512MiB", "64TiB")] = Field(
        Bytes(8 * GIB), description="The most host memory that a run may use."
    )
    timeout: Annotated[Seconds, Duration("1m", "6h")] = Field(
        Seconds(1800.0), description="How long a run may take before it is ended."
    )

    def need(self) -> Need:
        return Need(self.gpu, self.budget, self.spare)

    def environment(self) -> Mapping[str, str]:
        """Return the options that are set, as environment variables of a configuration."""
        written = self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        return {f"VRAMWATCH_PROBE__{name.upper()}": str(value) for name, value in written.items()}
