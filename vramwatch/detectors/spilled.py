"""Spilled: models lie partly in the host's memory, because they did not fit the GPU."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.model import SubjectKind
from vramwatch.core.traits import Traits
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Cause, Clear, Evidence, Found, Unknown, Verdict
from vramwatch.core.windows import Window


class Spilled(BaseModel):
    """A part of its models is not on the GPU, by the sums of Ollama's ``size`` and ``size_vram``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(
        0.02, ge=0.0, le=1.0, description="Share of the model outside the GPU from which it is reported."
    )

    TRAITS: ClassVar = Traits(precedence=140, sees=frozenset({SubjectKind.PROCESS}), always_told=True)

    def examine(self, window: Window) -> Verdict:
        size, on_gpu = window.told.get("model_bytes"), window.told.get("model_gpu_bytes")
        if not size or on_gpu is None:
            return Unknown("it does not say where its model lies")
        beside = size - on_gpu
        if beside <= self.share * size:
            return Clear()
        return Found(
            Evidence(
                f"{show_bytes(round(beside))} of the {show_bytes(round(size))} that it has loaded "
                "lie in the host's memory: it answers slowly",
                {"model_bytes": size, "model_gpu_bytes": on_gpu},
                window.at(window.now),
                window.at(window.now),
                1,
            ),
            None,
            (Cause.UNKNOWN,),
        )
