"""Triton Inference Server. Programs: triton-inference-server/server and python_backend.

Metrics: docs/user_guide/metrics.md of the server; README.md of tensorrtllm_backend, "Triton Metrics".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import working_command
from vramwatch.core.metric_pages import Asks, Page, Told, most, ratio, read_page, share, told, total
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

# The stub's name is also given as comm cuts it.
_ROLES = {"tritonserver": "server", "triton_python_backend_stub": "worker", "triton_python_b": "worker"}

_PENDING = "nv_inference_pending_request_count"
_DONE = ("nv_inference_request_success", "nv_inference_request_failure")
_BLOCKS = "nv_trt_llm_kv_cache_block_metrics"  # of its TensorRT-LLM backend alone, as is the next
_REQUESTS = "nv_trt_llm_request_metrics"
_NAMES = (_PENDING, *_DONE, _BLOCKS, _REQUESTS)


@dataclass(frozen=True, slots=True)
class Triton:
    """Triton: the server and its Python backends, which together serve many models."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim, without a model: one server holds a whole repository of them."""
        role = _ROLES.get(working_command(facts).program)
        return EngineFacts("triton", role) if role else None

    def asks(self, facts: ProcessFacts) -> Asks:
        return Asks(("/metrics",), (8002,), ("--metrics-port",))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        page = read_page(pages.get("/metrics", ""), _NAMES)
        kinds = ("used", "max", "fraction")
        used, blocks, fraction = (_of_type(page, _BLOCKS, "kv_cache_block_type", kind) for kind in kinds)
        counted = ratio(used, blocks)  # the README shows a fraction that is not that of its blocks
        waiting = _of_type(page, _REQUESTS, "request_type", "waiting")
        return tuple(
            told(
                engine_kv_ratio=share(fraction) if counted is None else counted,
                requests_running=_of_type(page, _REQUESTS, "request_type", "scheduled"),
                requests_waiting=total(page.get(_PENDING, ())) if waiting is None else waiting,
                requests_total=total(line for name in _DONE for line in page.get(name, ())),
            )
        )


def _of_type(page: Page, name: str, label: str, kind: str) -> float | None:
    return most(line for line in page.get(name, ()) if line.labels.get(label) == kind)
