"""Which of several data-parallel engines a process belongs to, by its title or one above it."""

import re
from collections.abc import Iterable

# "VLLM::EngineCore_DP1", "VLLM::Worker_DP1_TP0": vllm/utils/system_utils.py; "sglang::scheduler_DP1_TP0", but
# "_MOE_DP1" of its experts: python/sglang/srt/managers/scheduler.py
_DATA_PARALLEL = re.compile(r"(?<!_MOE)_DP(\d{1,6})(?!\d)")


def data_parallel_rank(titles: Iterable[str]) -> int | None:
    """Return the rank that the first of ``titles`` tells which tells one, its own first; None: none does.

    Workers of a dense model name no rank where their engine core does: vllm/config/parallel.py,
    reconfigure_for_independent_dp_rank.
    """
    found = (_DATA_PARALLEL.search(title) for title in titles)
    return next((int(each[1]) for each in found if each), None)
