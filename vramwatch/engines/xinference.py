"""Xinference. Titles: xinference/core/model.py (setproctitle), release 4."""

import re
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import lineage, parse
from vramwatch.core.model import Ancestor, EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_PROGRAMS = {
    "xinference-local": "server",
    "xinference-worker": "server",
    "xinference-supervisor": "supervisor",
    "xinference": "server",
}
# "Model: qwen2.5-instruct-0": the model's uid and the replica's number
_TITLE = re.compile(r"Model: (?P<model>\S+?)(?:-(?P<replica>\d{1,6}))?")


@dataclass(frozen=True, slots=True)
class Xinference:
    """Xinference: its servers, and the models below them, whichever engine runs inside."""

    precedence: ClassVar[Precedence] = Precedence.WRAPPER

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; the model by the nearest title that names one."""
        ancestry = lineage(facts)
        titles = [titled for each in ancestry if (titled := _TITLE.fullmatch(each.title))]
        if titles:
            replica = titles[0]["replica"]
            rank = int(replica) if replica else None
            return EngineFacts("xinference", "worker", titles[0]["model"], rank)
        roles = [role for each in ancestry if (role := _role(each))]
        if not roles:
            return None
        is_below = _role(ancestry[0]) is None
        return EngineFacts("xinference", "worker" if is_below else roles[0])


def _role(each: Ancestor) -> str | None:
    return _PROGRAMS.get(parse(each.argv).program)
