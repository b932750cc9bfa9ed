"""llama.cpp, in the tree of llama-cpp-python 0.3.36. Programs: tools/*/CMakeLists.txt and app/llama.cpp.

Options: tools/server/README.md; metrics: tools/server/server-task.cpp (to_metrics); slots:
tools/server/server-context.cpp (to_json).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vramwatch.core.commandline import Command, has_option, model_name, option, working_command
from vramwatch.core.metric_pages import (
    Asks,
    Told,
    figure,
    most,
    ratio,
    read_json,
    read_page,
    share,
    told,
    total,
)
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import ROUTER_ROLE, Precedence

_PYTHON = "llama_cpp.server"  # the server of llama-cpp-python
_PROGRAMS = {
    "llama-server": "server",
    _PYTHON: "server",
    **dict.fromkeys(("llama-cli", "llama-completion", "llama-run", "llama-mtmd-cli", "llama-tts"), "cli"),
    **dict.fromkeys(("llama-embedding", "llama-imatrix"), "cli"),
    **dict.fromkeys(("llama-bench", "llama-batched-bench", "llama-perplexity"), "bench"),
    "ggml-rpc-server": "worker",  # lends its GPUs to a server elsewhere
}
_APP = "llama"  # all of them in one, since 2026
_COMMANDS = {
    **dict.fromkeys(("serve", "server"), "server"),
    **dict.fromkeys(("cli", "client", "completion", "complete"), "cli"),
    **dict.fromkeys(("bench", "batched-bench", "perplexity"), "bench"),
}
_ALIAS = ("-a", "--alias", "--model-alias")
_MODEL = ("-m", "--model", "-hf", "-hfr", "--hf-repo", "-mu", "--model-url", "-dr", "--docker-repo")
_MODEL_VARIABLES = ("LLAMA_ARG_MODEL", "LLAMA_ARG_HF_REPO")
_KNOWN_MODEL = "-default"  # ends the options that name a model of its authors: "--gpt-oss-20b-default"

_RUNNING, _WAITING = "llamacpp:requests_processing", "llamacpp:requests_deferred"
_USED = "llamacpp:kv_cache_usage_ratio"  # until 2025: ggml-org/llama.cpp#13660
_METRICS, _SLOTS = "/metrics", "/slots"
_SLEEPS = frozenset({"--sleep-idle-seconds"})


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """llama.cpp and llama-cpp-python: one process a model, or a router that starts such processes."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; a model is named by its alias, else by its file or repository."""
        command = working_command(facts)
        role = _role(command)
        if role is None:
            return None
        named = option(command.arguments, *_ALIAS) or option(command.arguments, *_MODEL)
        model = model_name(named) or _model_of_environment(facts)
        is_router = role == "server" and model is None and _may_route(command)
        held = ROUTER_ROLE if is_router else role
        return EngineFacts("llama_cpp", held, model, preallocates=held not in (ROUTER_ROLE, "worker"))

    def asks(self, facts: ProcessFacts) -> Asks:
        """A look at its slots would wake one that sleeps, and keep others from ever falling asleep."""
        sleeps = has_option(working_command(facts).arguments, _SLEEPS)
        return Asks((_METRICS,) if sleeps else (_METRICS, _SLOTS), (8080, 9931))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        page = read_page(pages.get(_METRICS, ""), (_RUNNING, _WAITING, _USED))
        slots = _slots(read_json(pages.get(_SLOTS)))
        running = total(page.get(_RUNNING, ()))
        used = share(most(page.get(_USED, ())))
        return tuple(
            told(
                engine_kv_ratio=_used(slots) if used is None else used,
                requests_running=_busy(slots) if running is None else running,
                requests_waiting=total(page.get(_WAITING, ())),
            )
        )


def _role(command: Command) -> str | None:
    if command.program == _APP:
        return _COMMANDS.get(next(iter(command.arguments), ""))
    return _PROGRAMS.get(command.program)


def _model_of_environment(facts: ProcessFacts) -> str | None:
    named = (model_name(facts.environment.get(name)) for name in _MODEL_VARIABLES)
    return next((name for name in named if name), None)


def _may_route(command: Command) -> bool:
    """A server that no model is named to starts one for each model that it is asked for: server.cpp."""
    return command.program != _PYTHON and not any(
        word.startswith("--") and word.endswith(_KNOWN_MODEL) for word in command.arguments
    )


def _slots(said: Any) -> list[dict[str, Any]]:
    """Return the slots; empty where the page is not one of slots."""
    slots = said if isinstance(said, list) else []
    are_slots = all(
        isinstance(each, dict) and {"id", "n_ctx", "is_processing"} <= each.keys() for each in slots
    )
    return slots if are_slots else []


def _busy(slots: list[dict[str, Any]]) -> float | None:
    return float(sum(each["is_processing"] is True for each in slots)) if slots else None


def _used(slots: list[dict[str, Any]]) -> float | None:
    """Return the share of the context in use, of a single slot: several do not say whether they share theirs.

    What a slot keeps when its request is over is a prefix cache that the next one may drop.
    """
    if len(slots) != 1:
        return None
    if slots[0]["is_processing"] is not True:
        return 0.0
    return ratio(figure(slots[0].get("n_prompt_tokens")), figure(slots[0]["n_ctx"]))
