"""TensorRT-LLM. Commands: tensorrt_llm/commands/ and tensorrt_llm/executor/, release 1.2.

Metrics: tensorrt_llm/metrics/collector.py, 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import Command, lineage, model_name, operand, option, parse, working_command
from vramwatch.core.metric_pages import Asks, Told, most, ratio, read_page, share, told, total
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_SERVER = "trtllm-serve"
_MODULES = ("tensorrt_llm.",)
_SUBCOMMANDS = frozenset({"serve", "mm_embedding_serve", "disaggregated", "disaggregated_mpi_worker"})
_MPI_WORKER = "mpi4py.futures.server"

_USED, _HITS = "trtllm_kv_cache_utilization", "trtllm_kv_cache_hit_rate"
_USED_BLOCKS, _ALL_BLOCKS = "trtllm_kv_cache_used_blocks", "trtllm_kv_cache_max_blocks"
_RUNNING, _WAITING = "trtllm_num_requests_running", "trtllm_num_requests_waiting"
_FINISHED = "trtllm_request_success_total"
_NAMES = (_USED, _HITS, _USED_BLOCKS, _ALL_BLOCKS, _RUNNING, _WAITING, _FINISHED)
_PAGE = "/prometheus/metrics"  # /metrics hands out each iteration once: whoever else reads it would miss it


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

    def asks(self, facts: ProcessFacts) -> Asks:
        return Asks((_PAGE,), (8000,))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        page = read_page(pages.get(_PAGE, ""), _NAMES)
        blocks = ratio(most(page.get(_USED_BLOCKS, ())), most(page.get(_ALL_BLOCKS, ())))
        used = share(most(page.get(_USED, ())))
        return tuple(
            told(
                engine_kv_ratio=blocks if used is None else used,
                engine_prefix_hit_ratio=share(most(page.get(_HITS, ()))),
                requests_running=total(page.get(_RUNNING, ())),
                requests_waiting=total(page.get(_WAITING, ())),
                requests_total=total(page.get(_FINISHED, ())),
            )
        )


def _serves(command: Command) -> bool:
    return command.program == _SERVER or command.program.startswith(_MODULES)


def _model(command: Command) -> str | None:
    arguments = command.arguments
    served = option(arguments, "--served-model-name", "--model")
    named = arguments[1:] if arguments[:1] and arguments[0] in _SUBCOMMANDS else arguments
    return model_name(served or operand(named))
