"""Kill the reader at random moments and compare every reading with the truth: is one ever wrong?"""

from collections.abc import Iterator

from benchmarks.findings import Finding
from benchmarks.machine import GPUS
from tests.nvml.driver import FakeDriver
from tests.nvml_polls import kill_at_random

KILLS, SEED = 1000, 1
TOLD_MOST = 200  # characters of what was wrong


def measure() -> Iterator[Finding]:
    """Yield what became of the polls: each is the driver's truth to the byte, or a gap with its reason."""
    name, goal = f"{KILLS} kills of the reader (seed {SEED})", "true, or a gap with a reason"
    with FakeDriver(gpus=GPUS) as driver:
        try:
            counts = kill_at_random(driver, KILLS, SEED)
        except AssertionError as wrong:
            yield Finding(name, f"a wrong poll: {str(wrong)[:TOLD_MOST]}", goal, False)
            return
    yield Finding(name, ", ".join(f"{count} {what}" for what, count in counts.items()), goal, True)
