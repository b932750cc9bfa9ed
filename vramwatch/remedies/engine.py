"""Calls an engine's own interface to give memory back, where that loses no service, or was named.

What each call does, and that it does it, stands in the engine's released source (its file beside each call).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from vramwatch.core.attempts import Apply
from vramwatch.core.couriers import Answer, Courier, Reach
from vramwatch.core.metric_pages import Told
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.core.parties import Offer, Party, Unfit
from vramwatch.core.policy import Case
from vramwatch.core.units import Seconds
from vramwatch.options import Glob, Section, Text
from vramwatch.quantities import Duration
from vramwatch.remedying import DONE, Hands, Remedy, Report, Voice

TWICE_WITHIN = 1.0
"""Seconds between the two looks that must both find an engine idle."""

CallName = Literal["sglang_flush_cache", "comfyui_free", "ollama_unload", "vllm_sleep", "lmdeploy_sleep"]


@dataclass(frozen=True, slots=True)
class _Call:
    """``engine``: what must run there. ``path``, ``body``: of the POST; MODEL in ``body`` is the model.

    ``waits``: it ends present requests by itself before it acts, so an engine that tells no load may be
    called. ``awake``: the page that says that it does not sleep yet; None: it has none.
    """

    engine: str
    path: str
    body: Mapping[str, object] | None
    does: str
    costs_service: bool = True
    waits: bool = False
    awake: str | None = None


_MODEL = object()

CALLS: Mapping[str, _Call] = {
    # SGLang 0.5.23, managers/scheduler.py, flush_cache: 400 unless idle; then torch.cuda.empty_cache()
    "sglang_flush_cache": _Call("sglang", "/flush_cache", None, "flush its cache", costs_service=False),
    # ComfyUI at 002c3fb9a, server.py, post_free: sets flags that the worker heeds after the present prompt
    "comfyui_free": _Call(
        "comfyui", "/free", {"unload_models": True, "free_memory": True}, "unload its models"
    ),
    # Ollama 0.33, server/routes.go, GenerateHandler: an empty prompt and keep_alive 0 unload, after present
    # requests
    "ollama_unload": _Call(
        "ollama", "/api/generate", {"model": _MODEL, "keep_alive": 0}, "unload its model", waits=True
    ),
    # vLLM 0.33.0, vllm/entrypoints/serve/dev/sleep/api_router.py: with VLLM_SERVER_DEV_MODE=1 and
    # --enable-sleep-mode alone; without mode=wait it ends requests in flight
    "vllm_sleep": _Call(
        "vllm", "/sleep?level=1&mode=wait", None, "put it to sleep, until POST /wake_up", awake="/is_sleeping"
    ),
    # LMDeploy 0.18.0, lmdeploy/serve/openai/endpoints/management.py: wants a body of JSON, whatever is in it
    "lmdeploy_sleep": _Call(
        "lmdeploy", "/sleep?level=1", {}, "put it to sleep, until POST /wakeup", awake="/is_sleeping"
    ),
}
"""The calls that are known to give memory back to the driver and to end no process.

Left out for good: vLLM's collective_rpc (anything at all), SGLang's release_memory_occupation (the server
ends unless it is idle), and what only moves blocks within a pool, which the driver does not see (vLLM's
reset_prefix_cache, llama.cpp's slots erase).
"""

UNNAMED = tuple(name for name, call in CALLS.items() if not call.costs_service)
"""What is called where no service is named: it loses nothing."""


class EngineService(Section):
    """One service that may be called."""

    call: CallName = Field(
        description=(
            "sglang_flush_cache loses nothing. comfyui_free and ollama_unload unload models, "
            "which load again when used. vllm_sleep and lmdeploy_sleep stop serving until the "
            "engine is woken."
        ),
        examples=["sglang_flush_cache"],
    )
    address: Text | None = Field(
        None,
        description="Its address; null: where the process is found to listen.",
        examples=["http://127.0.0.1:30000"],
    )
    model: Text | None = Field(None, description="For ollama_unload: the model.")
    remote: bool = Field(False, description="true: the address may be on another machine.")

    @model_validator(mode="after")
    def _is_near(self) -> "EngineService":
        if self.address is not None:
            parts = urlsplit(self.address)
            is_bare = parts.path in ("", "/") and not parts.query
            if parts.scheme not in ("http", "https") or not parts.hostname or not is_bare:
                raise ValueError("address: write http://127.0.0.1:PORT, without a path")
            if not self.remote and not _is_loopback(parts.hostname):
                raise ValueError(f"{parts.hostname} is not this machine; write 127.0.0.1, or remote: true")
        if self.call == "ollama_unload" and not self.model:
            raise ValueError("ollama_unload needs model")
        return self

    @property
    def url(self) -> str | None:
        return self.address.rstrip("/") if self.address else None


class Engine(Remedy):
    """Calls an engine's own interface, at an address proven to be its own, after it was seen idle twice."""

    services: Mapping[Glob, Annotated[EngineService, Field()]] = Field(
        {},
        max_length=256,
        description=(
            "Owner, by name or key (globs) -> what may be called there. For an owner that is not named, only "
            f"what loses nothing is called: {', '.join(UNNAMED)}."
        ),
        examples=[{"images": {"call": "comfyui_free"}}],
    )
    timeout: Annotated[Seconds, Duration("1s", "5m")] = Field(
        Seconds(20.0), description="How long one call may take."
    )

    def offer(self, case: Case, party: Party) -> Offer | Unfit:
        found = self._service(case.incident.subject.owner or "", _shown(case), party.engines)
        if found is None:
            return Unfit(
                "no service of that owner is named, and no engine runs there that loses nothing by it"
            )
        call = CALLS[found.call]
        if call.engine not in party.engines:
            return Unfit(f"{call.engine} does not run there")
        targets = tuple(sorted(party.processes, key=lambda key: key.pid))
        where = found.url or "the address that proves to be its own: "
        return Offer(targets, f"{call.does}: POST {where}{call.path}", call.costs_service)

    def carry_out(self, apply: Apply, hands: Hands) -> Report:
        engines = frozenset({apply.facts["ENGINE"]}) if "ENGINE" in apply.facts else frozenset()
        found = self._service(apply.owner, apply.facts.get("OWNER_NAME", ""), engines)
        if found is None:
            return Report("its service is not named any more")
        call = CALLS[found.call]
        voice = _idle_twice(hands, apply, call, found)
        if isinstance(voice, str):
            return Report(voice, refused=True)
        secrets = (voice.token.reveal(),) if voice.token else ()
        courier = hands.open_courier(Reach(self.timeout, self.timeout, self.timeout, proxy=""), secrets)
        try:
            return _call(courier, call, found, voice)
        finally:
            courier.close()

    def _service(self, key: str, name: str, engines: frozenset[str]) -> EngineService | None:
        """Return what may be called: as the owner is named, else what loses nothing."""
        for glob, service in self.services.items():
            if fnmatchcase(key, glob) or (name and fnmatchcase(name, glob)):
                return service
        harmless = (name for name in UNNAMED if CALLS[name].engine in engines)
        return next((EngineService.model_validate({"call": name}) for name in harmless), None)


def _idle_twice(hands: Hands, apply: Apply, call: _Call, service: EngineService) -> Voice | str:
    """Return the engine once it was seen idle twice at one address, each time proven; else why not."""
    first: Voice | None = None
    while True:
        voice = hands.voices.hear(call.engine, apply.targets, service.url)
        if isinstance(voice, str):
            return voice
        if busy := _busy(voice.told, call) or _unloaded(voice.told, service.model):
            return busy
        if first is not None:
            return (
                voice
                if voice.url == first.url
                else f"its address has changed, from {first.url} to {voice.url}"
            )
        first = voice
        time.sleep(TWICE_WITHIN)


def _busy(told: Sequence[Told], call: _Call) -> str | None:
    """Return what runs or waits, or that nobody knows; None: nothing does."""
    for quantity in ("requests_running", "requests_waiting"):
        figures = [each.figures[quantity] for each in told if quantity in each.figures]
        if busy := sum(figures):
            return f"{quantity} is {busy:g}"
        if not figures and not call.waits:
            return f"it does not tell {quantity}, so nobody knows that it is idle"
    return None


def _unloaded(told: Sequence[Told], model: str | None) -> str | None:
    """Return that ``model`` is not among those that it tells by name; None: it is, or none is wanted."""
    names = [each.model for each in told if each.model is not None]
    return f"{model} is not loaded there" if model is not None and model not in names else None


def _call(courier: Courier, call: _Call, service: EngineService, voice: Voice) -> Report:
    """Call it; what it answers proves nothing, and a refusal is heeded."""
    headers = {"Authorization": f"Bearer {voice.token.reveal()}"} if voice.token else {}
    if call.awake and (asleep := _asleep(courier, f"{voice.url}{call.awake}", headers)):
        return Report(asleep, refused=True)
    fields = (call.body or {}).items()
    body = {key: service.model if value is _MODEL else value for key, value in fields}
    answer = courier.post(f"{voice.url}{call.path}", "" if call.body is None else body, headers)
    match courier.outcome(answer):
        case Delivered():
            return DONE
        case Retry(reason=reason):
            return Report(reason)
        case Rejected(reason=reason):
            return Report(reason, refused=True)
        case other:
            return Report(str(other))


def _asleep(courier: Courier, url: str, headers: Mapping[str, str]) -> str | None:
    """Return why it cannot be put to sleep; None: it is awake, and can."""
    answer = courier.post(url, "", headers, method="GET")
    told = answer.json() if isinstance(answer, Answer) and answer.status == 200 else None
    if not isinstance(told, dict) or not isinstance(told.get("is_sleeping"), bool):
        return f"{url} does not say whether it sleeps; sleeping may have to be switched on"
    return "it sleeps already" if told["is_sleeping"] else None


def _shown(case: Case) -> str:
    scene: Any = case.newest.scene
    return (scene.owner if scene else None) or ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
