"""Which of several places decides an option: command line, then environment, then file.

Each is a Document: plain values with the places where they were written, so that a fault in the
effective configuration is shown where the operator can mend it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path

from vramwatch.config.places import Document, Fault, Location, Mark, Place, parse

PREFIX = "VRAMWATCH_"
SEPARATOR = "__"


def from_environment(environment: Mapping[str, str]) -> Document:
    """Return what ``VRAMWATCH_<SECTION>__<KEY>`` variables say; names without ``__`` are not ours.

    A value that is a whole YAML list or mapping is read as one, everything else is text. An empty
    value says nothing.
    """
    return _merge(
        _read_variable(name, value)
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX) and SEPARATOR in name and value
    )


def from_overrides(overrides: Mapping[str, object]) -> Document:
    """Return what the command line says: dotted option (``store.path``) -> value; None says nothing.

    A relative path counts from where the command was given.
    """
    place = Place("command line")
    return _merge(
        _written_at(tuple(option.split(".")), value.absolute() if isinstance(value, Path) else value, place)
        for option, value in overrides.items()
        if value is not None
    )


def decide(layers: Iterable[Document]) -> Document:
    """Return what holds of several layers, the later deciding over those before it.

    Mappings are merged key by key and everything else is replaced; another ``source`` replaces the
    one before with all its options.
    """
    return reduce(lambda below, above: _lay(above, _without_other_source(below, above)), layers, Document())


def _merge(parts: Iterable[Document]) -> Document:
    """Return the parts of one layer as one; two sources stay two, which is a fault."""
    return reduce(lambda below, above: _lay(above, below), parts, Document())


def _lay(above: Document, below: Document) -> Document:
    replaced: set[Location] = set()
    values = _together(below.values, _with_source_as_mapping(above.values), (), replaced)
    kept = {at: mark for at, mark in below.marks.items() if not _within(at, replaced)}
    added = {at: mark for at, mark in above.marks.items() if at not in kept}
    return Document(values, kept | added, below.faults + above.faults)


def _together(
    below: Mapping[str, object], above: Mapping[str, object], location: Location, replaced: set[Location]
) -> dict[str, object]:
    """Return ``above`` laid over ``below``; ``replaced`` takes the locations that changed hands."""
    together = dict(below)
    for key, value in above.items():
        here, current = (*location, key), below.get(key)
        if isinstance(current, dict) and isinstance(value, dict):
            together[key] = _together(current, value, here, replaced)
        else:
            together[key] = value
            replaced.add(here)
    return together


def _within(location: Location, places: set[Location]) -> bool:
    return any(location[:length] in places for length in range(1, len(location) + 1))


def _with_source_as_mapping(values: Mapping[str, object]) -> Mapping[str, object]:
    """Write ``source: nvml`` as ``source: {nvml: {}}``, which it is short for."""
    source = values.get("source")
    return {**values, "source": {source: {}}} if isinstance(source, str) else values


def _without_other_source(below: Document, above: Document) -> Document:
    chosen = _with_source_as_mapping(above.values).get("source")
    before = below.values.get("source")
    if isinstance(chosen, dict) and isinstance(before, dict) and not chosen.keys() & before.keys():
        return replace(
            below, values={name: value for name, value in below.values.items() if name != "source"}
        )
    return below


def _read_variable(name: str, text: str) -> Document:
    location = tuple(name.removeprefix(PREFIX).lower().split(SEPARATOR))
    place = Place(f"environment:{name}")
    if text[0] in "[{":
        read = parse(f"value: {text}", str(place))
        if read.values:  # else it only begins like a list, as the address [::1]:9478 does
            faults = tuple(Fault(place, location + fault.location[1:], fault.text) for fault in read.faults)
            return _written_at(location, read.values["value"], place, faults)
    return _written_at(location, text, place)


def _written_at(
    location: tuple[str, ...], value: object, place: Place, faults: tuple[Fault, ...] = ()
) -> Document:
    marks: dict[Location, Mark] = {}
    for length in range(len(location), 0, -1):
        marks[location[:length]] = Mark(place, place)
        value = {location[length - 1]: value}
    return Document(value if isinstance(value, dict) else {}, marks, faults)
