"""A program: reads a picture (see ``charts.picture``) as JSON, writes its chart as PNG. Needs matplotlib."""

import io
import json
import os
import sys
from typing import Any

INCHES, DOTS = (6.0, 3.75), 150
"""900 to 562 dots: a phone shows it whole, at about a third of a millimetre a point of type."""

HELD, FULL, AHEAD = "#1f5fbf", "#b3261e", "#e07b00"


def draw(picture: dict[str, Any]) -> bytes:
    """Return the chart as PNG."""
    import matplotlib  # noqa: PLC0415 - slow and large, and an extra

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"text.parse_math": False, "font.size": 13, "axes.spines.right": False})
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=INCHES, dpi=DOTS, layout="constrained")
    title = figure.suptitle(picture["title"], ha="left", fontsize=16, fontweight="bold")
    axes.set_title(picture["words"], loc="left", fontsize=12.5, color=AHEAD if picture["cone"] else "#333333")
    axes.spines["top"].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    _held(axes, picture)
    _full(axes, picture)
    _cone(axes, picture)
    axes.set_xlim(*picture["span"])
    axes.set_ylim(0, 1.12 * max(picture["full"] or 0, *(each or 0 for each in picture["held"])))
    axes.set_xticks([at for at, _ in picture["ticks"]], [word for _, word in picture["ticks"]])
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} {picture['unit']}")
    figure.draw_without_rendering()  # only now is it known where the axes begin
    title.set_x(axes.get_position().x0)
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def _held(axes: Any, picture: dict[str, Any]) -> None:
    held = [float("nan") if each is None else each for each in picture["held"]]
    axes.plot(picture["times"], held, color=HELD, linewidth=2.5)
    axes.fill_between(picture["times"], held, color=HELD, alpha=0.15, linewidth=0)


def _full(axes: Any, picture: dict[str, Any]) -> None:
    if picture["full"] is None:
        return
    axes.axhline(picture["full"], color=FULL, linewidth=2, linestyle="--")
    place = (picture["span"][0], picture["full"])
    axes.annotate(
        picture["full_words"], place, xytext=(4, 4), textcoords="offset points", color=FULL, fontsize=12
    )


def _cone(axes: Any, picture: dict[str, Any]) -> None:
    """Draw the straight ways from the newest value to the full GPU, at the early and at the late bound."""
    known = [each for each in zip(picture["times"], picture["held"], strict=True) if each[1] is not None]
    if not picture["cone"] or picture["full"] is None or not known:
        return
    (begin, level), full = known[-1], picture["full"]
    low, median, high = picture["cone"]
    axes.fill([begin, low, high], [level, full, full], color=AHEAD, alpha=0.3, linewidth=0)
    axes.plot([begin, median], [level, full], color=AHEAD, linewidth=2, linestyle=":")
    axes.axvline(0, color="#888888", linewidth=1)


if __name__ == "__main__":
    os.nice(10)  # it runs beside what is being watched, and nobody waits for it
    sys.stdout.buffer.write(draw(json.load(sys.stdin.buffer)))
