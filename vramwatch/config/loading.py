"""Reading and checking the configuration, with every fault at once."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from vramwatch.config.faults import one_of, place_of, placed
from vramwatch.config.files import read
from vramwatch.config.places import Document, Fault, Location, Place
from vramwatch.config.precedence import decide, from_environment, from_overrides
from vramwatch.config.sections import DEFAULT_SOURCE
from vramwatch.config.shape import Config, SourceOptions
from vramwatch.core.errors import ConfigError
from vramwatch.families import PluginError, discover

MAX_FAULTS = 100
"""Lines that a person still reads."""


def load(path: Path | None, environment: Mapping[str, str], overrides: Mapping[str, object]) -> Config:
    """Return the effective configuration: ``overrides`` over ``environment`` over the file at ``path``.

    ``overrides`` maps a dotted option (``store.path``) to its value; None is an option not given.
    Errors: ConfigError, whose text is one line a fault, in the order of the file; PluginError when
    the sources themselves are broken.
    """
    config, faults = _checked(decide([read(path), from_environment(environment), from_overrides(overrides)]))
    if config is None:
        raise ConfigError("\n".join(_lines(faults)))
    return config


def origins(path: Path | None, environment: Mapping[str, str]) -> Mapping[Location, Place]:
    """Return where each option that is written anywhere was written; the others have their defaults."""
    document = decide([read(path), from_environment(environment)])
    return {location: mark.key for location, mark in document.marks.items()}


def load_sound(
    path: Path | None, environment: Mapping[str, str], *, needs_secrets: bool = False
) -> tuple[Config, str]:
    """Return the configuration in which the sections that hold a fault count by their defaults.

    For verbs that read or ask, and need little of it, secrets least of all. With it the faults, one a line,
    without those of secrets that are out of this process's reach, unless it ``needs_secrets``; "": there is
    none.
    Errors: PluginError.
    """
    document = decide([read(path), from_environment(environment)])
    config, faults = _checked(document)
    if config is not None:
        return config, ""
    at_fault = {fault.location[0] for fault in faults if fault.location}
    sound = {name: value for name, value in document.values.items() if name not in at_fault}
    config, _ = _checked(replace(document, values=sound, faults=()))
    told = [fault for fault in faults if needs_secrets or not fault.of_secret]
    return config or Config(source=_source(Document())[0]), "\n".join(_lines(told))


def _checked(document: Document) -> tuple[Config | None, list[Fault]]:
    """Return the configuration that ``document`` is, or None and what is wrong with it."""
    source, faults = _source(document)
    others = {name: value for name, value in document.values.items() if name != "source"}
    config = None
    try:
        config = Config.model_validate({**others, "source": source})
    except ValidationError as error:
        faults += [fault for fault in placed(error, Config, document) if fault.location[:1] != ("source",)]
    faults = [*document.faults, *faults]
    return (None if faults else config), faults


def _source(document: Document) -> tuple[SourceOptions | None, list[Fault]]:
    """Return the one source that is chosen, with its options; or None and what is wrong with it."""
    plugins = discover("vramwatch.sources")
    chosen = document.values.get("source")
    chosen = {DEFAULT_SOURCE: {}} if chosen is None else chosen
    if not isinstance(chosen, dict) or len(chosen) != 1:
        text = f"not exactly one source; write one name and its options below it, {one_of('', plugins)}"
        return None, [Fault(place_of(document, ("source",)), ("source",), text)]
    name, options = next(iter(chosen.items()))
    if name not in plugins:
        here = ("source", name)
        return None, [
            Fault(place_of(document, here, of_key=True), here, f"no such source; {one_of(name, plugins)}")
        ]
    plugin = plugins[name]
    if not issubclass(plugin, BaseModel) or not issubclass(plugin, SourceOptions):
        raise PluginError(
            f"vramwatch.sources.{name}: {plugin.__name__} is no pydantic model with an open method"
        )
    try:
        return plugin.model_validate({} if options is None else options), []
    except ValidationError as error:
        return None, placed(error, plugin, document, ("source", name))


def _lines(faults: Iterable[Fault]) -> list[str]:
    """Return one line a fault, the file's first and in its order; the first of several of one value."""
    first: dict[tuple[Place, Location], Fault] = {}
    for fault in faults:
        first.setdefault((fault.place, fault.location), fault)
    ordered = sorted(first.values(), key=lambda fault: (not fault.place.line, fault.place))
    lines = [str(fault) for fault in ordered[:MAX_FAULTS]]
    if len(ordered) > MAX_FAULTS:
        lines.append(f"and {len(ordered) - MAX_FAULTS} faults more; mend these first")
    return lines
