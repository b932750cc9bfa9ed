"""SGLang. Titles: python/sglang/srt/managers/*.py (setproctitle), SGLang 0.5.23.

Metrics: python/sglang/srt/observability/metrics_collector.py of the same.
"""

import re
from collections.abc import Iterator, Mapping
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
from vramwatch.core.metric_pages import (
    Asks,
    Page,
    Told,
    by_rank,
    most,
    product,
    read_page,
    share,
    told,
    total,
)
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import ROUTER_ROLE, Precedence

# As in "sglang::scheduler_DP0_TP1", "sglang::tokenizer_worker:4242", "sgl_diffusion::scheduler".
_TITLE = re.compile(r"(?:sglang|sgl_diffusion)::(?P<part>[a-z_]*)(?P<ranks>.*)", re.DOTALL)
_PARTS = ("scheduler", "detokenizer", "tokenizer_worker")
_RANKS = tuple(re.compile(rf"{dimension}(\d{{1,6}})") for dimension in ("TP", "PP", "DP"))
_ROUTERS = ("sglang_router", "sglang-router", "sglang.launch_router")
_ACTOR = "ray::SchedulerActor.run_event_loop"  # python/sglang/srt/ray/scheduler_actor.py

_USED = "sglang:token_usage"
_RUNNING, _WAITING = "sglang:num_running_reqs", "sglang:num_queue_reqs"
_RETRACTED = "sglang:num_retracted_requests_total"
_REQUESTS = "sglang:num_requests_total"
_HITS = "sglang:cache_hit_rate"
_POOL, _TOKENS = "sglang:kv_cache_memory_usage_gb", "sglang:max_total_num_tokens"
_EVICTABLE, _BUSY = "sglang:kv_evictable_tokens", "sglang:kv_used_tokens"
# Of the pools that a hybrid model has beside; of others told as 0, or not at all.
_POOLS_USED = ("sglang:full_token_usage", "sglang:swa_token_usage", "sglang:mamba_usage")
_OTHER_POOLS = (
    "sglang:max_total_num_tokens_swa",
    *(f"sglang:mamba_{kind}_tokens" for kind in ("available", "evictable", "used")),
)
_NAMES = (
    *(_USED, _RUNNING, _WAITING, _RETRACTED, _REQUESTS, _HITS, _POOL, _TOKENS, _EVICTABLE, _BUSY),
    *_POOLS_USED,
    *_OTHER_POOLS,
)
_GB = float(1 << 30)  # python/sglang/srt/mem_cache/memory_pool.py: GB = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sglang:
    """SGLang: servers, schedulers, detokenizers, routers; the model from the launching command."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; an orphaned scheduler is known by its title, its model then is not."""
        command = working_command(facts)
        titled = _TITLE.match(own_title(facts))
        if command.program.startswith(_ROUTERS):
            return EngineFacts("sglang", ROUTER_ROLE)
        if own_title(facts) == _ACTOR:
            return EngineFacts("sglang", "scheduler", preallocates=True)
        if not titled and not _serves(command):
            return None
        commands = (parse(each.argv) for each in lineage(facts))
        model = next((name for each in commands if _serves(each) and (name := _model(each))), None)
        role = _role(titled["part"]) if titled else "server"
        rank = _rank(titled["ranks"]) if titled else None
        return EngineFacts("sglang", role, model, rank, preallocates=True)

    def asks(self, facts: ProcessFacts) -> Asks:
        return Asks(("/metrics",), (30000,))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        page = read_page(pages.get("/metrics", ""), _NAMES)
        return tuple(each for rank, own in by_rank(page, "dp_rank") for each in _told(rank, own))


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


def _told(rank: int | None, page: Page) -> Iterator[Told]:
    """Yield the figures of one rank; its tensor-parallel parts tell the same, if they tell at all.

    ``token_usage`` is the fullest of its pools, rounded to a hundredth; the pools themselves are not rounded.
    They leave out what the prefix cache could drop; as bytes both are told, each for itself.
    """
    fullest = most(line for name in _POOLS_USED for line in page.get(name, ()))
    used = share(_one(page, _USED) if fullest is None else fullest)
    pool = product(_one(page, _POOL), _GB)
    is_only = not most(line for name in _OTHER_POOLS for line in page.get(name, ()))
    tokens = _one(page, _TOKENS) if is_only else None
    each = pool / tokens if pool and tokens else None
    evictable = product(_one(page, _EVICTABLE), each)
    busy = product(_one(page, _BUSY), each)
    yield from told(
        rank,
        engine_kv_ratio=used,
        engine_pool_bytes=pool or None,
        engine_kv_bytes=None if busy is None or evictable is None else busy + evictable,
        engine_evictable_bytes=None if busy is None else evictable,
        engine_prefix_hit_ratio=share(_one(page, _HITS)),
        requests_running=_one(page, _RUNNING),
        requests_waiting=_one(page, _WAITING),
        requests_total=total(page.get(_REQUESTS, ())),
        preemptions_total=_one(page, _RETRACTED),
    )


def _one(page: Page, name: str) -> float | None:
    return most(page.get(name, ()))
