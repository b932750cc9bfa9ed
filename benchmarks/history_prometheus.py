"""What Prometheus makes of the same samples: its own blocks, built by its own tool in the same run."""

import shutil
import subprocess
from pathlib import Path

from benchmarks.history_load import BEGIN, Load

BLOCK = "24h"
"""One block for the whole day: the largest, hence the fewest bytes a sample that Prometheus can reach."""


def blocks_bytes(load: Load, seconds: int, folder: Path) -> int | None:
    """Return the bytes of the blocks that hold every sample of ``load``; None: there is no promtool.

    Source of the form: OpenMetrics 1.0, https://prometheus.io/docs/specs/om/open_metrics_spec/.
    Errors: CalledProcessError.
    """
    promtool = shutil.which("promtool")
    if promtool is None:
        return None
    text, blocks = folder / "samples.om", folder / "blocks"
    _write_text(load, seconds, text)
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration", BLOCK]
    subprocess.run([*command, text, blocks], check=True, capture_output=True)
    text.unlink()
    return sum(each.stat().st_size for each in blocks.rglob("*") if each.is_file())


def _write_text(load: Load, seconds: int, file: Path) -> None:
    """Write what a Prometheus that scrapes every second would have stored."""
    with file.open("w", encoding="ascii") as text:
        text.write("# TYPE vramwatch_used_bytes gauge\n# UNIT vramwatch_used_bytes bytes\n")
        labels: list[str] = []
        for second, _ in enumerate(load.polls(seconds)):
            told = list(load.values())
            labels = labels or [
                f'vramwatch_used_bytes{{gpu="{gpu}",owner="{owner}"}}' for gpu, owner, _ in told
            ]
            wall = round(BEGIN) + second
            text.writelines(
                f"{label} {used} {wall}\n" for label, (_, _, used) in zip(labels, told, strict=True)
            )
        text.write("# EOF\n")
