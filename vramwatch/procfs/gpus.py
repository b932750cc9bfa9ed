"""How many GPUs the machine has: "proc file system interface" in the README of NVIDIA's driver."""

from pathlib import Path


def gpus_of_the_machine(root: str) -> int | None:
    """Return how many GPUs the driver has, ``root`` being /proc; None where it does not tell."""
    try:
        return sum(1 for _ in Path(root, "driver/nvidia/gpus").iterdir())
    except OSError:
        return None
