"""Calls an engine's own interface to give memory back, where that loses no service, or was named.

What each call does, and that it does it, stands in the engine's released source (its file beside each call).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from vramwatch.core.attempts import Apply
from vramwatch.core.couriers import Answer, Courier, Reach
from vramwatch.core.metric_pages import read_page
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.core.parties import Offer, Party, Unfit
from vramwatch.core.policy import Case
from vramwatch.core.units import Seconds
from vramwatch.options import Glob, Section, Text
from vramwatch.quantities import Duration
from vramwatch.remedying import DONE, Hands, Remedy, Report

TWICE_WITHIN = 1.0
"""Seconds between the two looks that must both find an engine idle."""

SGLANG_LOAD = ("sglang:num_running_reqs", "sglang:num_queue_reqs")
"""Its metrics that say that it works (metrics/collector.py); both are 0 when it is idle."""

CallName = Literal["sglang_flush_cache", "comfyui_free", "ollama_unload"]


def _sglang_idle(courier: Courier, address: str) -> str | None:
    answer = courier.post(f"{address}/metrics", "", method="GET")
    if not isinstance(answer, Answer) or answer.status != 200:
        return "its metrics cannot be read (sglang needs --enable-metrics), so nobody knows that it is idle"
    page = read_page(answer.body.decode(errors="replace"), SGLANG_LOAD)
    for name in SGLANG_LOAD:
        if name not in page:
            return f"it does not export {name}, so nobody knows that it is idle"
        if busy := sum(series.value for series in page[name]):
            return f"{name} is {busy:g}"
    return None


def _comfyui_idle(courier: Courier, address: str) -> str | None:
    answer = courier.post(f"{address}/queue", "", method="GET")
    told = answer.json() if isinstance(answer, Answer) and answer.status == 200 else None
    if not isinstance(told, dict) or not {"queue_running", "queue_pending"} <= told.keys():
        return "its queue cannot be read, so nobody knows that it is idle"
    return "prompts run or wait" if told["queue_running"] or told["queue_pending"] else None


def _ollama_idle(courier: Courier, address: str) -> str | None:
    answer = courier.post(f"{address}/api/ps", "", method="GET")
    told = answer.json() if isinstance(answer, Answer) and answer.status == 200 else None
    return None if isinstance(told, dict) else "its models cannot be read"


@dataclass(frozen=True, slots=True)
class _Call:
    """``engine``: what must run there. ``idle``: returns why it is not idle, or nobody knows; None: it is."""

    engine: str
    path: str
    body: Callable[[str | None], object]
    idle: Callable[[Courier, str], str | None]
    costs_service: bool
    does: str


CALLS: Mapping[str, _Call] = {
    # managers/scheduler.py, flush_cache: refused with 400 unless idle; then torch.cuda.empty_cache()
    "sglang_flush_cache": _Call(
        "sglang", "/flush_cache", lambda _: "", _sglang_idle, False, "flush its cache"
    ),
    # server.py, post_free: sets flags that the worker heeds after the present prompt
    "comfyui_free": _Call(
        "comfyui",
        "/free",
        lambda _: {"unload_models": True, "free_memory": True},
        _comfyui_idle,
        True,
        "unload its models",
    ),
    # server/routes.go, GenerateHandler: an empty prompt and keep_alive 0 unload, after present requests
    "ollama_unload": _Call(
        "ollama",
        "/api/generate",
        lambda model: {"model": model, "keep_alive": 0},
        _ollama_idle,
        True,
        "unload its model",
    ),
}
"""The calls that are known to give memory back to the driver and to end no process.

Left out for good: vLLM's collective_rpc (anything at all), SGLang's release_memory_occupation (the server
ends unless it is idle), and what only moves blocks within a pool, which the driver does not see.
"""


class EngineService(Section):
    """One service that may be called."""

    call: CallName = Field(
        description=(
            "sglang_flush_cache loses nothing; comfyui_free and ollama_unload unload models, which load "
            "again when they are used."
        ),
        examples=["sglang_flush_cache"],
    )
    address: Text = Field(description="Where it listens.", examples=["http://127.0.0.1:30000"])
    model: Text | None = Field(None, description="For ollama_unload: which model.")
    remote: bool = Field(False, description="true: the address may be of another machine.")

    @model_validator(mode="after")
    def _is_near(self) -> "EngineService":
        parts = urlsplit(self.address)
        is_bare = parts.path in ("", "/") and not parts.query
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_bare:
            raise ValueError("address: write http://127.0.0.1:PORT, without a path")
        if not self.remote and not _is_loopback(parts.hostname):
            raise ValueError(f"{parts.hostname} is not this machine; write 127.0.0.1, or remote: true")
        if self.call == "ollama_unload" and not self.model:
            raise ValueError("ollama_unload needs model")
        return self


class Engine(Remedy):
    """Calls an engine's own interface, at services that are named here, once they were seen idle twice."""

    services: Mapping[Glob, Annotated[EngineService, Field()]] = Field(
        {},
        max_length=256,
        description="Owner, by name or key (globs) -> what may be called there.",
        examples=[{"chat": {"call": "sglang_flush_cache", "address": "http://127.0.0.1:30000"}}],
    )
    timeout: Annotated[Seconds, Duration("1s", "5m")] = Field(
        Seconds(20.0), description="How long one call may take."
    )

    def offer(self, case: Case, party: Party) -> Offer | Unfit:
        found = self._service(case.incident.subject.owner or "", _shown(case))
        if found is None:
            return Unfit("no service of that owner is named")
        call = CALLS[found.call]
        if call.engine not in party.engines:
            return Unfit(f"{call.engine} does not run there")
        targets = tuple(sorted(party.processes, key=lambda key: key.pid))
        plan = f"{call.does}: POST {found.address.rstrip('/')}{call.path}"
        return Offer(targets, plan, call.costs_service)

    def carry_out(self, apply: Apply, hands: Hands) -> Report:
        found = self._service(apply.owner, apply.facts.get("OWNER_NAME", ""))
        if found is None:
            return Report("its service is not named any more")
        courier = hands.open_courier(Reach(self.timeout, self.timeout, self.timeout, proxy=""), ())
        try:
            return _call(courier, CALLS[found.call], found)
        finally:
            courier.close()

    def _service(self, key: str, name: str) -> EngineService | None:
        for glob, service in self.services.items():
            if fnmatchcase(key, glob) or (name and fnmatchcase(name, glob)):
                return service
        return None


def _call(courier: Courier, call: _Call, service: EngineService) -> Report:
    """See twice that it is idle, then call it; what it answers proves nothing, and a refusal is heeded."""
    address = service.address.rstrip("/")
    for look in range(2):
        if look:
            time.sleep(TWICE_WITHIN)
        if busy := call.idle(courier, address):
            return Report(busy, refused=True)
    answer = courier.post(f"{address}{call.path}", call.body(service.model))
    match courier.outcome(answer):
        case Delivered():
            return DONE
        case Retry(reason=reason):
            return Report(reason)
        case Rejected(reason=reason):
            return Report(reason, refused=True)
        case other:
            return Report(str(other))


def _shown(case: Case) -> str:
    scene: Any = case.newest.scene
    return (scene.owner if scene else None) or ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
