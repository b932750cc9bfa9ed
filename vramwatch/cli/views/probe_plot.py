"""What a run's picture shows: memory at its stages, and each kind of layer over time.

It is drawn by ``extras.plotting``.
"""

from vramwatch.cli.views.kv import layer_curves
from vramwatch.cli.views.probe import COLUMNS, about
from vramwatch.core.records import Json
from vramwatch.core.texts import clean
from vramwatch.core.units import GIB, KIB, MIB
from vramwatch.probe.results import Result

AT_STAGES = ("driver", "reserved", "live", "peak", "KV held")
"""Columns of the table that are drawn: RSS holds the libraries too, and would dwarf the rest."""


UNITS = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))


def picture(result: Result) -> Json:
    """Return the title and two panels; memory in the unit that each names."""
    stages = [each.stage for each in result.readings]
    by_stage = {
        title: [value(each) for each in result.readings]
        for title, value in COLUMNS
        if title in AT_STAGES and any(value(each) is not None for each in result.readings)
    }
    layers = layer_curves(result)
    panels = [_panel("Memory at the end of each stage", stages, by_stage)]
    if layers:
        panels.append(
            _panel("Resident bytes of a layer, by forward pass of all requests", None, dict(layers))
        )
    return {"title": clean(about(result)), "panels": panels}


def _panel(
    title: str, ticks: list[str] | None, curves: "dict[str, list[int | None]] | dict[str, list[int]]"
) -> Json:
    most = max((each or 0 for curve in curves.values() for each in curve), default=0)
    unit, word = next((each for each in UNITS if most >= each[0]), UNITS[-1])
    scaled = {
        name: [None if each is None else each / unit for each in curve] for name, curve in curves.items()
    }
    return {"title": title, "unit": word, "ticks": ticks, "curves": scaled}
