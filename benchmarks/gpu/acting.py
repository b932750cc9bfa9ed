"""A worker on the GPU, in a process of its own: plays one role, and says what it does and when.

python -m benchmarks.gpu.acting ROLE --device cuda:0 --seconds 80 --gauges FILE [--small]
"""

import argparse
import contextlib
import threading
from pathlib import Path
from typing import Any

from benchmarks.gpu.roles import ROLES
from benchmarks.gpu.stage import Mirrored, Stage

TOLD_EVERY = 0.2  # seconds: several times between two polls


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.acting")
    parser.add_argument("role")
    parser.add_argument("--device", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--gauges", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    stage = Stage(asked.device, asked.seconds, asked.gauges, asked.small)
    over = threading.Event()

    def keep_telling() -> None:
        while not over.wait(TOLD_EVERY):
            stage.tell()

    counted = stage.memory.live if isinstance(stage.memory, Mirrored) else contextlib.nullcontext()
    teller = threading.Thread(target=keep_telling, name="gauges")
    stage.tell()
    teller.start()
    try:
        with counted:
            play(ROLES[asked.role], stage)
    finally:
        over.set()
        teller.join()


def play(role: Any, stage: Stage) -> None:
    stage.did("began")
    role(stage)
    stage.did("ended")


if __name__ == "__main__":
    main()
