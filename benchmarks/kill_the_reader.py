"""Kill the reader at random moments and compare every reading with the truth: is one ever wrong?

    python -m benchmarks.kill_the_reader [ROUNDS] [SEED]

Uses the test driver of tests/nvml; needs a C compiler and no GPU.
"""

import sys
import time

from tests.nvml.driver import FakeDriver
from tests.nvml_polls import kill_at_random

ROUNDS, SEED = 1000, 1


def main(rounds: int, seed: int) -> None:
    began = time.monotonic()
    with FakeDriver(gpus=8) as driver:
        counts = kill_at_random(driver, rounds, seed)
    words = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"seed {seed}, 8 GPUs, {time.monotonic() - began:.0f} s: {words}; no reading was wrong")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*given, *(ROUNDS, SEED)[len(given) :])
