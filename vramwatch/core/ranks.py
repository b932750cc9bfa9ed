"""Which of several data-parallel engines a process belongs to, by its title."""

import re

# "VLLM::EngineCore_DP1", "VLLM::Worker_DP1_TP0": vllm/utils/system_utils.py; "sglang::scheduler_DP1_TP0":
# python/sglang/srt/managers/scheduler.py
_DATA_PARALLEL = re.compile(r"_DP(\d{1,6})(?!\d)")


def data_parallel_rank(title: str) -> int | None:
    """Return the rank that a title tells; None where it tells none."""
    found = _DATA_PARALLEL.search(title)
    return int(found[1]) if found else None
