"""vLLM. Titles: vllm/utils/system_utils.py (set_process_title) and its callers, vLLM 0.33.0."""

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

# As in "VLLM::Worker_DP0_TP1". Parts are cut where comm is cut, at 15 characters.
_TITLE = re.compile(
    r"(?P<prefix>[^:]+)::(?P<part>EngineCor|Worker|APIServer|DPCoordin)(?P<ranks>.*)", re.DOTALL
)
_PREFIX = "VLLM"
_PREFIX_VARIABLE = "VLLM_PROCESS_NAME_PREFIX"
_ROLES = {
    "EngineCor": "engine_core",
    "Worker": "worker",
    "APIServer": "api_server",
    "DPCoordin": "coordinator",
}
# Classes of vllm/v1/executor/ray_*.py; Ray titles an actor by its class.
_RAY_WORKERS = ("ray::RayWorkerWrapper", "ray::RayWorkerProc")
# The first of these that a title has tells ranks of one server apart best.
_RANKS = tuple(re.compile(rf"_{dimension}(\d{{1,6}})") for dimension in ("TP", "PP", "DP"))


@dataclass(frozen=True, slots=True)
class Vllm:
    """vLLM: API servers, engine cores and workers; the model from the command that started them."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; an orphaned worker is known by its title, its model then is not."""
        servers = [command for each in lineage(facts) if _serves(command := parse(each.argv))]
        role = _role(facts, bool(servers))
        if role is None:
            return None
        model = next((name for command in servers if (name := _model(command))), None)
        return EngineFacts("vllm", role, model, _rank(facts), preallocates=True)


def _serves(command: Command) -> bool:
    return command.program == "vllm" or command.program.startswith("vllm.entrypoints.")


def _role(facts: ProcessFacts, has_server: bool) -> str | None:
    title = own_title(facts)
    if title.startswith(_RAY_WORKERS):
        return "worker"
    named = _TITLE.match(title)
    prefixes = (_PREFIX, facts.environment.get(_PREFIX_VARIABLE))
    if named and (named["prefix"] in prefixes or has_server):
        return _ROLES[named["part"]]
    if not _serves(working_command(facts)):
        return None
    # Without setproctitle a forked child keeps the server's argv and a spawned one names none.
    has_server_above = any(_serves(parse(each.argv)) for each in facts.ancestors)
    return "worker" if has_server_above else "server"


def _rank(facts: ProcessFacts) -> int | None:
    named = _TITLE.match(own_title(facts))
    found = (rank.search(named["ranks"]) for rank in _RANKS) if named else ()
    return next((int(each[1]) for each in found if each), None)


def _model(command: Command) -> str | None:
    arguments = command.arguments
    served = option(arguments, "--served-model-name", "--model")
    return model_name(served or operand(arguments, "serve"))
