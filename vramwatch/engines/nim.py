"""NVIDIA NIM. Names of variables: "Configure your NIM", NVIDIA NIM for LLMs documentation.

Metrics: "Observability" of the same; those of the vLLM inside keep its names in newer images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import model_name
from vramwatch.core.metric_pages import Asks, Told, first, most, read_page, share, told, total
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_REGISTRY = "nvcr.io/nim/"
_MODEL_VARIABLES = ("NIM_SERVED_MODEL_NAME", "NIM_MODEL_NAME")
_FOLDER = "/opt/nim/"  # where the images keep their own programs

_USED = ("gpu_cache_usage_perc", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_RUNNING = ("num_requests_running", "vllm:num_requests_running")
_WAITING = ("num_requests_waiting", "vllm:num_requests_waiting")
_PAGE = "/v1/metrics"


@dataclass(frozen=True, slots=True)
class Nim:
    """NIM: a container of vLLM, TensorRT-LLM or SGLang, known by its image or its variables."""

    precedence: ClassVar[Precedence] = Precedence.WRAPPER

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; the model as the variables name it, else as the image does."""
        image = (facts.container.image if facts.container else None) or ""
        variables = [value for name in _MODEL_VARIABLES if (value := facts.environment.get(name))]
        is_nim = _REGISTRY in image or bool(variables) or any(_FOLDER in word for word in facts.argv)
        if not is_nim:
            return None
        named = variables[0] if variables else _repository(image)
        return EngineFacts("nim", "server", model_name(named), preallocates=True)

    def asks(self, facts: ProcessFacts) -> Asks:
        return Asks((_PAGE,), (8000,))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        page = read_page(pages.get(_PAGE, ""), (*_USED, *_RUNNING, *_WAITING))
        return tuple(
            told(
                engine_kv_ratio=share(most(first(page, *_USED))),
                requests_running=total(first(page, *_RUNNING)),
                requests_waiting=total(first(page, *_WAITING)),
            )
        )


def _repository(image: str) -> str | None:
    """ "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8" -> "meta/llama-3.1-8b-instruct"."""
    _, found, rest = image.partition(_REGISTRY)
    return rest.partition("@")[0].partition(":")[0] if found else None
