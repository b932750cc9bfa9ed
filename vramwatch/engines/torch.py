"""PyTorch and transformers inside somebody's own program."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import lineage, parse
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import PROGRAM_ROLE, Precedence

_COMM = "pt_main_thread"  # set at import: torch/csrc/Module.cpp, THPModule_initExtension
_VARIABLES = ("PYTORCH_", "TORCHELASTIC_")  # read by torch alone
_LAUNCHERS = frozenset(
    {
        "torchrun",
        "torch.distributed.run",
        "torch.distributed.launch",
        "accelerate",
        "deepspeed",
        "transformers",
        "transformers-cli",
    }
)
_RANK_VARIABLES = ("RANK", "LOCAL_RANK")  # "Environment Variables" of torchrun's documentation
_LARGEST_RANK_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Torch:
    """PyTorch: told by its thread's name, its variables or its launcher. Does not preallocate."""

    precedence: ClassVar[Precedence] = Precedence.FRAMEWORK

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim, without a model; a Python program that shows no sign of torch is unknown."""
        is_torch = (
            facts.name == _COMM
            or any(name.startswith(_VARIABLES) for name in facts.environment)
            or any(parse(each.argv).program in _LAUNCHERS for each in lineage(facts))
        )
        return EngineFacts("torch", PROGRAM_ROLE, rank=_rank(facts)) if is_torch else None


def _rank(facts: ProcessFacts) -> int | None:
    values = (facts.environment.get(name, "") for name in _RANK_VARIABLES)
    return next(
        (int(each) for each in values if each.isdecimal() and len(each) <= _LARGEST_RANK_DIGITS), None
    )
