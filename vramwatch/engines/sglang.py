"""SGLang. Titles: python/sglang/srt/managers/*.py (setproctitle), SGLang 0.5.23."""

import re
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import (
    Command,
    lineage,
    model_name,
    operand,
    option,
    own_title,
    parse,
    working_command,
)
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

# As in "sglang::scheduler_DP0_TP1", "sglang::tokenizer_worker:4242", "sgl_diffusion::scheduler".
_TITLE = re.compile(r"(?:sglang|sgl_diffusion)::(?P<part>[a-z_]*)(?P<ranks>.*)", re.DOTALL)
_PARTS = ("scheduler", "detokenizer", "tokenizer_worker")
_RANKS = tuple(re.compile(rf"{dimension}(\d{{1,6}})") for dimension in ("TP", "PP", "DP"))
_ROUTERS = ("sglang_router", "sglang-router", "sglang.launch_router")


@dataclass(frozen=True, slots=True)
class Sglang:
    """SGLang: servers, schedulers, detokenizers, routers; the model from the launching command."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; an orphaned scheduler is known by its title, its model then is not."""
        command = working_command(facts)
        titled = _TITLE.match(own_title(facts))
        if command.program.startswith(_ROUTERS):
            return EngineFacts("sglang", "router")
        if not titled and not _serves(command):
            return None
        commands = (parse(each.argv) for each in lineage(facts))
        model = next((name for each in commands if _serves(each) and (name := _model(each))), None)
        role = _role(titled["part"]) if titled else "server"
        rank = _rank(titled["ranks"]) if titled else None
        return EngineFacts("sglang", role, model, rank, preallocates=True)


def _serves(command: Command) -> bool:
    return command.program == "sglang" or command.program.startswith("sglang.")


def _role(part: str) -> str:
    """A comm is cut at 15 characters: "sglang::schedul" is a scheduler."""
    role = part.rstrip("_")
    return next((whole for whole in _PARTS if role and whole.startswith(role)), role or "server")


def _rank(ranks: str) -> int | None:
    found = (rank.search(ranks) for rank in _RANKS)
    return next((int(each[1]) for each in found if each), None)


def _model(command: Command) -> str | None:
    arguments = command.arguments
    served = option(arguments, "--served-model-name", "--model-path", "--model")
    return model_name(served or operand(arguments, "serve"))
