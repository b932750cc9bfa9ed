"""NVIDIA NIM. Names of variables: "Configure your NIM", NVIDIA NIM for LLMs documentation."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import model_name
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_REGISTRY = "nvcr.io/nim/"
_MODEL_VARIABLES = ("NIM_SERVED_MODEL_NAME", "NIM_MODEL_NAME")
_FOLDER = "/opt/nim/"  # where the images keep their own programs


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


def _repository(image: str) -> str | None:
    """ "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8" -> "meta/llama-3.1-8b-instruct"."""
    _, found, rest = image.partition(_REGISTRY)
    return rest.partition("@")[0].partition(":")[0] if found else None
