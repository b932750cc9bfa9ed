"""A program: reads a picture of curves (``views.probe_plot``) as JSON, writes it as PNG. Needs matplotlib."""

import io
import json
import sys
from typing import Any

INCHES, DOTS = (9.0, 3.4), 120
"""Of one panel; the picture is as many high."""


def draw(picture: dict[str, Any]) -> bytes:
    """Return the panels, one above the other, as PNG."""
    import matplotlib  # noqa: PLC0415 - slow and large, and an extra

    matplotlib.use("Agg")
    matplotlib.rcParams.update(
        {"text.parse_math": False, "axes.spines.right": False, "axes.spines.top": False}
    )
    from matplotlib import pyplot  # noqa: PLC0415

    panels = picture["panels"]
    size = INCHES[0], INCHES[1] * len(panels)
    figure, axes = pyplot.subplots(len(panels), figsize=size, dpi=DOTS, layout="constrained", squeeze=False)
    figure.suptitle(picture["title"], fontsize=9)
    for each, panel in zip(axes[:, 0], panels, strict=True):
        _draw(each, panel)
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def _draw(axes: Any, panel: dict[str, Any]) -> None:
    marker = "" if panel["ticks"] is None else "o"
    for name, curve in panel["curves"].items():
        known = [float("nan") if each is None else each for each in curve]
        axes.plot(range(len(known)), known, label=name, marker=marker, linewidth=2)
    if panel["ticks"] is not None:
        axes.set_xticks(range(len(panel["ticks"])), panel["ticks"])
    axes.set_title(panel["title"], loc="left", fontsize=11)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} {panel['unit']}")
    axes.legend(fontsize=8, frameon=False)


if __name__ == "__main__":
    sys.stdout.buffer.write(draw(json.load(sys.stdin.buffer)))
