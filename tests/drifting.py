"""Runs of the probe, as they are handed in."""

from vramwatch.core.probe_runs import COMPLETE, Figures, ProbeRun
from vramwatch.core.units import MIB

FIGURES = Figures(COMPLETE, peak=120 * MIB, weights=100 * MIB, kv=10 * MIB, held=100 * MIB, speed=50.0)


def probe_run(number=0, figures=FIGURES, **changes):
    """A run a day, all of the same experiment on the same device with the same libraries."""
    facts = {
        "id": f"202611{number + 1:02d}T000000Z",
        "made": 1_793_500_000.0 + number * 86400,
        "digest": "0a65b03f3f86",
        "asked": {"model": "tiny-llama", "batch": 1},
        "environment": {"torch": "2.13.0", "transformers": "5.24.0", "device": "cpu"},
        "figures": {"reference": figures},
    }
    return ProbeRun(**facts | changes)
