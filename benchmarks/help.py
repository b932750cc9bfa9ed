"""How long the shortest answer takes, beside Python's own start."""

from collections.abc import Iterator

from benchmarks.findings import Figures, Finding, at_most, told
from benchmarks.house import VRAMWATCH
from benchmarks.timing import BARE, milliseconds

TIMES = 20
GOAL = 150.0  # ms


def measure() -> Iterator[Finding]:
    """Yield the time of --help and of a Python that does nothing, turn by turn."""
    pairs = [(milliseconds([*VRAMWATCH, "--help"]), milliseconds(BARE)) for _ in range(TIMES)]
    answer, bare = (Figures(values) for values in zip(*pairs, strict=True))
    yield at_most("vramwatch --help", answer, GOAL, "ms")
    yield told("python -c pass", bare, "ms")
    yield told("vramwatch --help as a multiple of it", answer.over(bare))
