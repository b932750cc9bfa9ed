"""ComfyUI. Options: comfy/cli_args.py, release 0.3.64.

Figures: server.py (/system_stats, /prompt) at 002c3fb9a and comfy/model_management.py (get_all_torch_devices,
get_free_memory) at 02b2b3886, both of 2026.
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

# Of these the first that is set counts: main.py makes the option the first variable.
_SEEN = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_ALL = ("all", "void", "none")

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
        """For its statistics it looks at every GPU that it sees, and so opens a context on each."""
        return Asks((_STATS, _QUEUE), (int(_PORT),), opens_every_gpu=frozenset({_STATS}), gpus=_gpus(facts))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        """One prompt runs at a time. What torch has free lies within what it has reserved."""
        device = _device(read_json(pages.get(_STATS)))
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


def _gpus(facts: ProcessFacts) -> int | None:
    """Return how many GPUs it was told to see; None: it was not told."""
    told = (option(working_command(facts).arguments, "--cuda-device"), *map(facts.environment.get, _SEEN))
    named = next((each for each in told if each and each not in _ALL), None)
    return len(named.split(",")) if named else None


def _device(said: Any) -> Mapping[str, Any]:
    """Return the one device on which it has memory, of several that it names; empty: none, or none known."""
    devices = said.get("devices") if isinstance(said, dict) else None
    named = [each for each in devices if isinstance(each, dict)] if isinstance(devices, list) else []
    used = [each for each in named if figure(each.get("torch_vram_total"))] or named[:1]
    return used[0] if len(used) == 1 else {}


def _left(said: Any) -> float | None:
    queue = said.get("exec_info") if isinstance(said, dict) else None
    return figure(queue.get("queue_remaining")) if isinstance(queue, dict) else None
