"""Triton Inference Server. Programs: triton-inference-server/server and python_backend."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

# The stub's name is also given as comm cuts it.
_ROLES = {"tritonserver": "server", "triton_python_backend_stub": "worker", "triton_python_b": "worker"}


@dataclass(frozen=True, slots=True)
class Triton:
    """Triton: the server and its Python backends, which together serve many models."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim, without a model: one server holds a whole repository of them."""
        role = _ROLES.get(working_command(facts).program)
        return EngineFacts("triton", role) if role else None
