"""Finding, reading and checking the configuration, with every fault at once."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from vramwatch.config.faults import one_of, place_of, placed
from vramwatch.config.places import Document, Fault, Location, Place, parse
from vramwatch.config.precedence import decide, from_environment, from_overrides
from vramwatch.config.shape import DEFAULT_SOURCE, Config, SourceOptions
from vramwatch.core.errors import ConfigError
from vramwatch.families import PluginError, discover

FILE = "config.yaml"
MAX_BYTES = 1024 * 1024
"""A thousand owner rules take a fifth of it."""

MAX_FAULTS = 100
"""Lines that a person still reads."""


def find(explicit: Path | None = None, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the configuration file to load; None: there is none, and every default holds.

    The first that applies: ``explicit`` (``--config``), VRAMWATCH_CONFIG, the service's or the
    system's (CONFIGURATION_DIRECTORY of systemd.exec(5), else /etc/vramwatch), the user's
    ($XDG_CONFIG_HOME or ~/.config). The first two need not exist: ``load`` says so.
    """
    environment = os.environ if environment is None else environment
    if explicit:
        return explicit
    if named := environment.get("VRAMWATCH_CONFIG"):
        return Path(named)
    system = environment.get("CONFIGURATION_DIRECTORY", "").split(":")[0] or "/etc/vramwatch"
    user = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME") or "/") / ".config")
    return next((path for path in (Path(system, FILE), Path(user, "vramwatch", FILE)) if _exists(path)), None)


def load(path: Path | None, environment: Mapping[str, str], overrides: Mapping[str, object]) -> Config:
    """Return the effective configuration: ``overrides`` over ``environment`` over the file at ``path``.

    ``overrides`` maps a dotted option (``store.path``) to its value; None is an option not given.
    Errors: ConfigError, whose text is one line a fault, in the order of the file; PluginError when
    the sources themselves are broken.
    """
    config, faults = _checked(decide([_read(path), from_environment(environment), from_overrides(overrides)]))
    if config is None:
        raise ConfigError("\n".join(_lines(faults)))
    return config


def origins(path: Path | None, environment: Mapping[str, str]) -> Mapping[Location, Place]:
    """Return where each option that is written anywhere was written; the others have their defaults."""
    document = decide([_read(path), from_environment(environment)])
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
    document = decide([_read(path), from_environment(environment)])
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


def _exists(path: Path) -> bool:
    """Whether there is such a file, also one that may not be looked at: ``load`` then says so."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _read(path: Path | None) -> Document:
    """Return the file's values with their places; a file that cannot be read is one fault."""
    if path is None:
        return Document()
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        return _unread(path, f"cannot be read: {error.strerror}; name a file that this user can read")
    if len(content) > MAX_BYTES:
        return _unread(
            path, f"larger than {MAX_BYTES} bytes; no configuration needs that, is it the right file?"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _unread(path, "not UTF-8; save the file as UTF-8", line)
    return parse(text, str(path))


def _unread(path: Path, text: str, line: int = 0) -> Document:
    return Document(faults=(Fault(Place(str(path), line, 1 if line else 0), (), text),))


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
