"""vLLM. Titles: vllm/utils/system_utils.py (set_process_title) and its callers, vLLM 0.33.0.

Metrics: vllm/v1/metrics/loggers.py of the same; the names with gpu_ are those of before 0.9.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    Cache,
    Page,
    Series,
    Told,
    by_rank,
    figure,
    first,
    most,
    product,
    ratio,
    read_page,
    share,
    told,
    total,
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

_USED = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_RUNNING, _WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
_PREEMPTIONS = "vllm:num_preemptions_total"
_FINISHED = "vllm:request_success_total"
_QUERIES = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
_HITS = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")
_SLEEP = "vllm:engine_sleep_state"
_CONFIG = "vllm:cache_config_info"
_NAMES = (*_USED, _RUNNING, _WAITING, _PREEMPTIONS, _FINISHED, *_QUERIES, *_HITS, _SLEEP, _CONFIG)
_SLEEP_LEVELS = {"awake": 0.0, "weights_offloaded": 1.0, "discard_all": 2.0}


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

    def asks(self, facts: ProcessFacts) -> Asks:
        commands = (command for each in lineage(facts) if _serves(command := parse(each.argv)))
        return Asks(("/metrics",), (8000,), cache=next((_cache(each.arguments) for each in commands), None))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        page = read_page(pages.get("/metrics", ""), _NAMES)
        return tuple(each for rank, own in by_rank(page, "engine") for each in _told(rank, own))


def _told(rank: int | None, page: Page) -> Iterator[Told]:
    """Yield the figures; bytes of a pool whose size was given to it (--kv-cache-memory-bytes), else tokens.

    Cached blocks that nobody uses count as free in vLLM's own figure: vllm/v1/core/block_pool.py.
    """
    used = share(most(first(page, *_USED)))
    sizes = [figure(each.labels.get("kv_cache_memory_bytes")) for each in page.get(_CONFIG, ())]
    pool = next((size for size in sizes if size), None)
    counts = [_tokens(each) for each in page.get(_CONFIG, ())]
    tokens = None if pool else next((count for count in counts if count), None)
    figures = told(
        rank,
        engine_kv_ratio=used,
        engine_pool_bytes=pool,
        engine_kv_bytes=product(used, pool),
        engine_prefix_hit_ratio=ratio(total(first(page, *_HITS)), total(first(page, *_QUERIES))),
        engine_sleep_level=_sleep_level(page),
        requests_running=total(page.get(_RUNNING, ())),
        requests_waiting=total(page.get(_WAITING, ())),
        requests_total=total(page.get(_FINISHED, ())),
        preemptions_total=total(page.get(_PREEMPTIONS, ())),
    )
    yield from (replace(each, pool_tokens=tokens) for each in figures)


def _tokens(config: Series) -> float | None:
    """Return for how many tokens there are blocks; None where it does not say (before its engine is up)."""
    return product(figure(config.labels.get("num_gpu_blocks")), figure(config.labels.get("block_size")))


def _cache(arguments: Sequence[str]) -> Cache | None:
    """Return how the pool is kept; None where its layers or its tokens are divided among ranks."""
    model = option(arguments, "--model") or operand(arguments, "serve")
    divided = option(
        arguments, "--pipeline-parallel-size", "-pp", "--decode-context-parallel-size", "-dcp"
    ) not in (None, "1")
    ranks = option(arguments, "--tensor-parallel-size", "-tp") or "1"
    if model is None or divided or not (ranks.isascii() and ranks.isdigit() and int(ranks[:5]) > 0):
        return None
    kept = option(arguments, "--kv-cache-dtype") or "auto"
    computed = option(arguments, "--dtype")
    return Cache(model, kept, None if computed == "auto" else computed, int(ranks[:5]))


def _sleep_level(page: Page) -> float | None:
    """Return 0 for one that is awake, else the level of its sleep; None where it does not say."""
    states = [each.labels.get("sleep_state", "") for each in page.get(_SLEEP, ()) if each.value]
    return max((_SLEEP_LEVELS[state] for state in states if state in _SLEEP_LEVELS), default=None)


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
