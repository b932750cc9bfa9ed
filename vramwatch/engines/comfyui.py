"""ComfyUI. Options: comfy/cli_args.py, release 0.3.64.

Figures: server.py (/system_stats, /prompt) and comfy/model_management.py (get_free_memory) of the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vramwatch.core.commandline import has_option, option, working_command
from vramwatch.core.metric_pages import Asks, Told, figure, read_json, told
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

_STATS, _QUEUE = "/system_stats", "/prompt"  # /queue tells as much, and every prompt in it


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

    def asks(self, facts: ProcessFacts) -> Asks:
        return Asks((_STATS, _QUEUE), (int(_PORT),))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        """One prompt runs at a time. What torch has free lies within what it has reserved."""
        device = _device(read_json(pages.get(_STATS)))
        if device is None:
            return ()
        reserved, free = figure(device.get("torch_vram_total")), figure(device.get("torch_vram_free"))
        left = _left(read_json(pages.get(_QUEUE)))
        return tuple(
            told(
                torch_reserved_bytes=reserved,
                torch_allocated_bytes=None if reserved is None or free is None else max(0.0, reserved - free),
                requests_running=None if left is None else min(left, 1.0),
                requests_waiting=None if left is None else max(0.0, left - 1.0),
            )
        )


def _device(said: Any) -> dict[str, Any] | None:
    """Return the one device that it uses; None: this is no such page."""
    devices = said.get("devices") if isinstance(said, dict) else None
    one = devices[0] if isinstance(devices, list) and len(devices) == 1 else None
    return one if isinstance(one, dict) and "torch_vram_total" in one else None


def _left(said: Any) -> float | None:
    queue = said.get("exec_info") if isinstance(said, dict) else None
    return figure(queue.get("queue_remaining")) if isinstance(queue, dict) else None
