"""ComfyUI. Options: comfy/cli_args.py, release 0.3.64."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import has_option, option, working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_SCRIPT = "main.py"
_FOLDER = "comfyui"
_PORT = "8188"
# Options that hardly another main.py has.
_OPTIONS = frozenset(
    {
        "--extra-model-paths-config",
        "--disable-smart-memory",
        "--gpu-only",
        "--highvram",
        "--normalvram",
        "--lowvram",
        "--novram",
        "--reserve-vram",
        "--preview-method",
        "--use-split-cross-attention",
        "--use-quad-cross-attention",
        "--use-pytorch-cross-attention",
        "--use-sage-attention",
        "--disable-all-custom-nodes",
    }
)


@dataclass(frozen=True, slots=True)
class Comfyui:
    """ComfyUI: ``python main.py``, told from other main.py by its folder, port or options."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim, without a model: models come and go with the workflows."""
        command = working_command(facts)
        is_comfyui = command.program == _SCRIPT and (
            _FOLDER in command.path.lower()
            or option(command.arguments, "--port") == _PORT
            or has_option(command.arguments, _OPTIONS)
        )
        return EngineFacts("comfyui") if is_comfyui else None
