"""Xinference 4.1. Titles: xinference/core/model.py, xinference/model/llm/vllm/distributed_executor.py.

Metrics: xinference/core/metrics.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import lineage, parse
from vramwatch.core.metric_pages import Asks, Series, Told, known, read_page, total
from vramwatch.core.model import Ancestor, EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_PROGRAMS = {
    "xinference-local": "server",
    "xinference-worker": "server",
    "xinference-supervisor": "supervisor",
    "xinference": "server",
}
# The model's uid and its replica's number: "Model: qwen3-rep0", before 4.1 "Model: qwen3-0"; of a model over
# several machines "Xinf vLLM worker: 1 [qwen3-rep0]".
_UID = r"(?P<model>\S+?)(?:-(?:rep)?(?P<replica>\d{1,6}))?"
_TITLES = (re.compile(rf"Model: {_UID}"), re.compile(rf"Xinf vLLM worker: \d{{1,6}} \[{_UID}\]"))

_RUNNING, _REQUESTS = "xinference:model_serve_count", "xinference:model_request_total"


@dataclass(frozen=True, slots=True)
class Xinference:
    """Xinference: its servers, and the models below them, whichever engine runs inside."""

    precedence: ClassVar[Precedence] = Precedence.WRAPPER

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; the model by the nearest title that names one."""
        ancestry = lineage(facts)
        titles = [titled for each in ancestry for one in _TITLES if (titled := one.fullmatch(each.title))]
        if titles:
            replica = titles[0]["replica"]
            rank = int(replica) if replica else None
            return EngineFacts("xinference", "worker", titles[0]["model"], rank)
        roles = [role for each in ancestry if (role := _role(each))]
        if not roles:
            return None
        is_below = _role(ancestry[0]) is None
        return EngineFacts("xinference", "worker" if is_below else roles[0])

    def asks(self, facts: ProcessFacts) -> Asks:
        return Asks(("/metrics",), (), ("--metrics-exporter-port",))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        """Return a Told for each replica of each model."""
        page = read_page(pages.get("/metrics", ""), (_RUNNING, _REQUESTS))
        replicas = dict.fromkeys(_replica(line) for lines in page.values() for line in lines)
        return tuple(
            Told(
                known(
                    requests_running=total(x for x in page.get(_RUNNING, ()) if _replica(x) == each),
                    requests_total=total(x for x in page.get(_REQUESTS, ()) if _replica(x) == each),
                ),
                int(each[1]) if each[1].isascii() and each[1].isdigit() and len(each[1]) < 7 else None,
                each[0],
            )
            for each in replicas
            if each[0]
        )


def _role(each: Ancestor) -> str | None:
    return _PROGRAMS.get(parse(each.argv).program)


def _replica(line: Series) -> tuple[str, str]:
    return line.labels.get("model_uid", ""), line.labels.get("replica_index", "")
