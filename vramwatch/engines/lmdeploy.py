"""LMDeploy 0.18.0. Command: lmdeploy/cli/serve.py; metrics: lmdeploy/metrics/loggers.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import model_name, operand, option, working_command
from vramwatch.core.metric_pages import Asks, Told, by_rank, most, read_page, share, told, total
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_USED, _HITS = "lmdeploy:gpu_cache_usage_perc", "lmdeploy:prefix_cache_hit_rate"
_RUNNING = "lmdeploy:num_requests_running"
_WAITING = ("lmdeploy:num_requests_waiting", "lmdeploy:num_api_requests_waiting")  # in the engine, before it
_FINISHED = "lmdeploy:request_success_total"
_NAMES = (_USED, _HITS, _RUNNING, *_WAITING, _FINISHED)


@dataclass(frozen=True, slots=True)
class Lmdeploy:
    """LMDeploy: ``lmdeploy serve api_server MODEL`` and ``lmdeploy chat MODEL``."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; the name it serves under is preferred to the model's path."""
        command = working_command(facts)
        if command.program != "lmdeploy" and not command.program.startswith("lmdeploy."):
            return None
        served = option(command.arguments, "--model-name")
        path = operand(command.arguments, "serve", "api_server") or operand(command.arguments, "chat")
        return EngineFacts("lmdeploy", "server", model_name(served or path), preallocates=True)

    def asks(self, facts: ProcessFacts) -> Asks:
        """Data-parallel ranks serve at a port each, and no title tells which is whose: they are not asked."""
        ranks = option(working_command(facts).arguments, "--dp") or "1"
        return Asks(("/metrics",) if ranks == "1" else (), (23333,), ("--server-port", "--port"))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        page = read_page(pages.get("/metrics", ""), _NAMES)
        return tuple(
            each
            for rank, own in by_rank(page, "engine")
            for each in told(
                rank,
                engine_kv_ratio=share(most(own.get(_USED, ()))),
                engine_prefix_hit_ratio=share(most(own.get(_HITS, ()))),
                requests_running=total(own.get(_RUNNING, ())),
                requests_waiting=total(line for name in _WAITING for line in own.get(name, ())),
                requests_total=total(own.get(_FINISHED, ())),
            )
        )
