"""TensorRT-LLM. Commands: tensorrt_llm/commands/ and tensorrt_llm/executor/, release 1.2."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import Command, lineage, model_name, operand, option, parse, working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_SERVER = "trtllm-serve"
_MODULES = ("tensorrt_llm.",)
_SUBCOMMANDS = frozenset({"serve", "mm_embedding_serve", "disaggregated", "disaggregated_mpi_worker"})
_MPI_WORKER = "mpi4py.futures.server"


@dataclass(frozen=True, slots=True)
class TensorrtLlm:
    """TensorRT-LLM: trtllm-serve and the MPI workers below it."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; an MPI worker counts when a TensorRT-LLM server is above it."""
        own = working_command(facts)
        servers = [command for each in lineage(facts) if _serves(command := parse(each.argv))]
        is_worker = own.program == _MPI_WORKER and bool(servers)
        if not is_worker and not _serves(own):
            return None
        model = next((name for command in servers if (name := _model(command))), None)
        return EngineFacts("tensorrt_llm", "worker" if is_worker else "server", model, preallocates=True)


def _serves(command: Command) -> bool:
    return command.program == _SERVER or command.program.startswith(_MODULES)


def _model(command: Command) -> str | None:
    arguments = command.arguments
    served = option(arguments, "--served-model-name", "--model")
    named = arguments[1:] if arguments[:1] and arguments[0] in _SUBCOMMANDS else arguments
    return model_name(served or operand(named))
