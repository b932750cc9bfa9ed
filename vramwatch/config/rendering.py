"""A configuration as text: the example with all options and their meaning, and the effective one."""

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from vramwatch.config.places import Location, Place
from vramwatch.config.sections import DEFAULT_SOURCE
from vramwatch.config.shape import Config
from vramwatch.config.telling import ChannelOptions
from vramwatch.families import discover

WIDTH = 96

_HEAD = """\
Configuration of vramwatch: every option with its default. Keep only the options that you change.
`vramwatch check` reports every mistake with its line and column.
An environment variable (VRAMWATCH_POLL__INTERVAL=2s) overrides this file; the command line overrides
both. To use a commented block, write it in place of the line that follows it, with the options that
you need. Durations: 200ms, 5s, 15m, 1h30m, 7d. Sizes: 512MiB, 2GiB, 1.5TB."""


def example() -> str:
    """Return a configuration file with every option, its meaning, what it takes and its default.

    It loads as it stands and gives the defaults. It is kept as ``config.example.yaml``.
    """
    lines = [f"# {line}" for line in _HEAD.splitlines()]
    for name, field in Config.model_fields.items():
        lines += ["", *_comment(field)]
        if name == "source":
            lines += ["source:", *_indented(_sources())]
        elif name == "channels":
            lines += [*_commented(["channels:", *_indented(_channels())]), "channels: {}"]
        else:
            lines += _option(name, field, _default)
    return "\n".join(lines) + "\n"


def effective(config: Config) -> str:
    """Return ``config`` as a file that loads alike, without comments; secrets are masked."""
    written = {
        "source": {config.source_name: to_jsonable_python(config.source)},
        "channels": {
            name: entry.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
            for name, entry in config.channels.items()
        },
        "owners": [entry.model_dump(mode="json", exclude_none=True) for entry in config.owners],
    }
    values = {name: to_jsonable_python(getattr(config, name)) for name in Config.model_fields} | written
    return _yaml(values)


def effective_with_origins(config: Config, origins: Mapping[Location, Place]) -> str:
    """Return ``effective(config)`` with the place behind each value where it was written, else "default"."""
    text = effective(config)
    lines = text.splitlines()
    for location, number in _lines_of(yaml.compose(text, yaml.SafeLoader), ()):
        place = origins.get(location)
        if place is not None or not any(location[:length] in origins for length in range(2, len(location))):
            lines[number] += f"  # {place or 'default'}"
    return "".join(f"{line}\n" for line in lines)


def _lines_of(node: yaml.Node | None, location: Location) -> Iterator[tuple[Location, int]]:
    """Yield each option with the number of its line, from 0: what is no mapping counts as one value."""
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, item in node.value:
            yield from _lines_of(item, (*location, key.value))
    elif node is not None:
        is_below = isinstance(node, yaml.SequenceNode) and node.value  # on the lines after its key
        yield location, node.start_mark.line - bool(is_below)


def _sources() -> list[str]:
    """Return the default source as it is written, and the others as comments."""
    lines: list[str] = []
    plugins = discover("vramwatch.sources")
    for name in sorted(plugins, key=lambda name: (name != DEFAULT_SOURCE, name)):
        options = _options(plugins[name], _default)
        block = [f"{name}:", *_indented(options)] if options else [f"{name}: {{}}"]
        lines += block if name == DEFAULT_SOURCE else _commented(block)
    return lines


def _channels() -> list[str]:
    """Return a sample channel, with every notifier that it may have."""
    return ["on-call:", *_indented(_options(ChannelOptions, _default))]


def _options(model: type[BaseModel], value: Callable[[FieldInfo], object]) -> list[str]:
    return [
        line
        for name, field in model.model_fields.items()
        for line in (*_comment(field), *_option(name, field, value))
    ]


def _option(name: str, field: FieldInfo, value: Callable[[FieldInfo], object]) -> list[str]:
    section = _section(field)
    if section and field.default == ():
        return [*_commented([f"{name}:", "-", *_indented(_options(section, _sample))]), f"{name}: []"]
    if section and field.default is None:
        return [*_commented([f"{name}:", *_indented(_options(section, _sample))]), f"{name}: null"]
    if section:
        return [f"{name}:", *_indented(_options(section, value))]
    return _yaml({name: value(field)}).splitlines()


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kinds = (field.annotation, *get_args(field.annotation))  # an optional one is a section with a default
    if isinstance(field.default, BaseModel):
        kinds = (type(field.default), *kinds)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _default(field: FieldInfo) -> object:
    """Return the default as it is written; None where there is none."""
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return None
    written: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(written).dump_python(default, mode="json")


def _sample(field: FieldInfo) -> object:
    """Return what an option may look like: the example that it gives, else its default."""
    return field.examples[0] if field.examples else _default(field)


def _comment(field: FieldInfo) -> list[str]:
    """Return what an option means and takes, as comment lines."""
    accepted = [note.accepted for note in field.metadata if hasattr(note, "accepted")]
    bounds = [note.ge for note in field.metadata if hasattr(note, "ge")]
    bounds += [note.le for note in field.metadata if hasattr(note, "le")]
    if len(bounds) == 2:
        accepted.append(f"{bounds[0]:.12g} to {bounds[1]:.12g}")
    if get_origin(field.annotation) is Literal:
        accepted.append(", ".join(get_args(field.annotation)))
    text = " ".join([field.description or "", *(f"Accepted: {words}." for words in accepted)])
    return _commented(textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False))


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _commented(lines: Iterable[str]) -> list[str]:
    return [f"# {line}" for line in lines]


def _yaml(values: object) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=math.inf)
