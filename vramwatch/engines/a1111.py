"""AUTOMATIC1111's Stable Diffusion web UI and its forks. Options: modules/cmd_args.py."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import has_option, lineage, working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_SCRIPTS = frozenset({"launch.py", "webui.py"})
_FOLDER = "stable-diffusion-webui"
_STARTER = "webui.sh"
# Options that hardly another launch.py or webui.py has.
_OPTIONS = frozenset(
    {
        "--medvram",
        "--medvram-sdxl",
        "--lowvram",
        "--no-half-vae",
        "--ckpt-dir",
        "--opt-sdp-attention",
        "--skip-torch-cuda-test",
        "--nowebui",
        "--hypernetwork-dir",
    }
)


@dataclass(frozen=True, slots=True)
class A1111:
    """A1111: ``launch.py`` or ``webui.py``, told from others by folder, starter or options."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim, without a model: the checkpoint is chosen in the page."""
        command = working_command(facts)
        if command.program not in _SCRIPTS:
            return None
        words = [word for each in lineage(facts) for word in each.argv]
        is_web_ui = any(_FOLDER in word or word.endswith(_STARTER) for word in words)
        return EngineFacts("a1111") if is_web_ui or has_option(command.arguments, _OPTIONS) else None
