"""vLLM and its forks, which keep the shape of its titles, commands and metrics and change the names.

Titles: vllm/utils/system_utils.py (set_process_title) and its callers; metrics: vllm/v1/metrics/loggers.py;
vLLM 0.33.0. The names with gpu_ are those of before 0.9.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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

_PAGE = "/metrics"
# As in "VLLM::Worker_DP0_TP1". Parts are cut where comm is cut, at 15 characters.
_TITLE = re.compile(
    r"(?P<prefix>[^:]+)::(?P<part>EngineCor|Worker|APIServer|DPCoordin)(?P<ranks>.*)", re.DOTALL
)
_ROLES = {
    "EngineCor": "engine_core",
    "Worker": "worker",
    "APIServer": "api_server",
    "DPCoordin": "coordinator",
}
# The first of these that a title has tells ranks of one server apart best.
_RANKS = tuple(re.compile(rf"_{dimension}(\d{{1,6}})") for dimension in ("TP", "PP", "DP"))
# With any of these but 1 the layers or the tokens of a pool are divided among ranks.
_DIVIDING = (
    ("--pipeline-parallel-size", "-pp"),
    ("--decode-context-parallel-size", "-dcp"),
    ("--prefill-context-parallel-size", "-pcp"),
)

_USED = ("kv_cache_usage_perc", "gpu_cache_usage_perc")
_RUNNING, _WAITING = "num_requests_running", "num_requests_waiting"
_PREEMPTIONS, _FINISHED = "num_preemptions_total", "request_success_total"
_QUERIES = ("prefix_cache_queries_total", "gpu_prefix_cache_queries_total")
_HITS = ("prefix_cache_hits_total", "gpu_prefix_cache_hits_total")
_SLEEP, _CONFIG = "engine_sleep_state", "cache_config_info"
_NAMES = (*_USED, _RUNNING, _WAITING, _PREEMPTIONS, _FINISHED, *_QUERIES, *_HITS, _SLEEP, _CONFIG)
_SLEEP_LEVELS = {"awake": 0.0, "weights_offloaded": 1.0, "discard_all": 2.0}


@dataclass(frozen=True, slots=True)
class Kin:
    """What one of them calls its own. ``programs``, ``modules`` (prefixes), ``subcommands`` start servers.

    ``prefix``: of its titles, unless the variable ``prefix_variable`` says otherwise. ``actors``: titles of
    its processes that Ray runs, with their roles.
    """

    name: str
    programs: frozenset[str]
    modules: tuple[str, ...]
    subcommands: tuple[str, ...]
    prefix: str
    prefix_variable: str
    port: int
    actors: Mapping[str, str]


def recognise(kin: Kin, facts: ProcessFacts) -> EngineFacts | None:
    """Return the claim; an orphaned worker is known by its title, its model then is not."""
    servers = [command for each in lineage(facts) if _serves(kin, command := parse(each.argv))]
    role = _role(kin, facts, bool(servers))
    if role is None:
        return None
    model = next((name for command in servers if (name := _model(kin, command))), None)
    return EngineFacts(kin.name, role, model, _rank(facts), preallocates=True)


def asks(kin: Kin, facts: ProcessFacts) -> Asks:
    """Return what is asked, where, and how the pool of its model is kept, as far as its command says."""
    commands = (command for each in lineage(facts) if _serves(kin, command := parse(each.argv)))
    cache = next((_cache(kin, each.arguments) for each in commands), None)
    return Asks((_PAGE,), (kin.port,), cache=cache)


def read(kin: Kin, pages: Mapping[str, str]) -> tuple[Told, ...]:
    """Return the figures of each engine of the page, by rank; empty where the page has none of its names."""
    prefix = f"{kin.name}:"
    lines = read_page(pages.get(_PAGE, ""), [prefix + name for name in _NAMES])
    page = {name.removeprefix(prefix): series for name, series in lines.items()}
    ranks = tuple(by_rank(page, "engine"))
    return tuple(each for rank, own in ranks for each in _told(rank, own, len(ranks)))


def _told(rank: int | None, page: Page, engines: int) -> Iterator[Told]:
    """Yield the figures; bytes of a pool whose size was given to it (--kv-cache-memory-bytes), else tokens.

    Cached blocks that nobody uses count as free in vLLM's own figure: vllm/v1/core/block_pool.py.
    """
    used = share(most(first(page, *_USED)))
    configs = page.get(_CONFIG, ())
    pool = _first_figure(configs, "kv_cache_memory_bytes")
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
    tokens = None if pool else _tokens(configs, engines)
    yield from (replace(each, pool_tokens=tokens) for each in figures)


def _first_figure(configs: Sequence[Series], label: str) -> float | None:
    """Return the first that is told and not 0; a label says "None" before its engine is up."""
    return next((value for each in configs if (value := figure(each.labels.get(label)))), None)


def _tokens(configs: Sequence[Series], engines: int) -> float | None:
    """Return for how many tokens one engine has blocks; None where it does not say.

    What it says of blocks is the sum of all ``engines`` of the page: vllm/v1/engine/core_client.py.
    """
    tokens = _first_figure(configs, "kv_cache_size_tokens")
    blocks = product(_first_figure(configs, "num_gpu_blocks"), _first_figure(configs, "block_size"))
    return tokens if tokens or blocks is None else blocks / engines


def _cache(kin: Kin, arguments: Sequence[str]) -> Cache | None:
    """Return how the pool is kept; None where its layers or its tokens are divided among ranks."""
    model = option(arguments, "--model") or _operand(kin, arguments)
    is_divided = any(option(arguments, *names) not in (None, "1") for names in _DIVIDING)
    ranks = option(arguments, "--tensor-parallel-size", "-tp") or "1"
    if model is None or is_divided or not (ranks.isascii() and ranks.isdigit() and int(ranks[:5]) > 0):
        return None
    kept = option(arguments, "--kv-cache-dtype") or "auto"
    computed = option(arguments, "--dtype")
    return Cache(model, kept, None if computed == "auto" else computed, int(ranks[:5]))


def _sleep_level(page: Page) -> float | None:
    """Return 0 for one that is awake, else the level of its sleep; None where it does not say."""
    states = [each.labels.get("sleep_state", "") for each in page.get(_SLEEP, ()) if each.value]
    return max((_SLEEP_LEVELS[state] for state in states if state in _SLEEP_LEVELS), default=None)


def _serves(kin: Kin, command: Command) -> bool:
    return command.program in kin.programs or command.program.startswith(kin.modules)


def _role(kin: Kin, facts: ProcessFacts, has_server: bool) -> str | None:
    title = own_title(facts)
    actor = next((role for start, role in kin.actors.items() if title.startswith(start)), None)
    if actor is not None:
        return actor
    named = _TITLE.match(title)
    prefixes = (kin.prefix, facts.environment.get(kin.prefix_variable))
    if named and (named["prefix"] in prefixes or has_server):
        return _ROLES[named["part"]]
    if not _serves(kin, working_command(facts)):
        return None
    # Without setproctitle a forked child keeps the server's argv and a spawned one names none.
    has_server_above = any(_serves(kin, parse(each.argv)) for each in facts.ancestors)
    return "worker" if has_server_above else "server"


def _rank(facts: ProcessFacts) -> int | None:
    named = _TITLE.match(own_title(facts))
    found = (rank.search(named["ranks"]) for rank in _RANKS) if named else ()
    return next((int(each[1]) for each in found if each), None)


def _operand(kin: Kin, arguments: Sequence[str]) -> str | None:
    return next((named for word in kin.subcommands if (named := operand(arguments, word))), None)


def _model(kin: Kin, command: Command) -> str | None:
    served = option(command.arguments, "--served-model-name", "--model")
    return model_name(served or _operand(kin, command.arguments))
