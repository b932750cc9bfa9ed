"""YAML with places: plain values, and where in the file each of them was written.

The tree is composed once by PyYAML and walked, because the ordinary loader forgets the places, keeps
the last of two duplicate keys, and takes YAML 1.1 at its word (https://yaml.org/type/: ``010`` is 8,
``1:30`` is 90, ``on`` is true).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import yaml
from yaml.reader import Reader

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML built without libyaml: the same trees, eight times slower
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

MAX_DEPTH = 16
"""Three times the depth of the deepest option."""

MAX_NODES = 20_000
"""Keys and values of a file with a thousand owner rules; what aliases repeat counts each time."""

MAX_DIGITS = 32
"""No number of a configuration is longer; Python refuses to read some thousands of digits."""

MAX_SHOWN = 60
"""Characters of the operator's own words that an error repeats."""

Location = tuple[str | int, ...]
"""The way from the root to a value: ``("owners", 0, "match", "user")``."""

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_TRUTHS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
_ORDINARY_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something was written. Line and column count from 1; 0 where there are none."""

    source: str  # a file, "environment:NAME", "command line"
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Mark:
    """The places of one key (or list item) and of its value."""

    key: Place
    value: Place


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, at which option, and a sentence with what is accepted.

    ``of_secret``: a secret is not within reach of this process; for another all may be well.
    """

    place: Place
    location: Location
    text: str
    of_secret: bool = False

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.place), dotted(self.location), self.text) if part)


@dataclass(frozen=True, slots=True)
class Document:
    """Values with their places. ``marks`` has every location of ``values`` that was written."""

    values: Mapping[str, object] = field(default_factory=dict)
    marks: Mapping[Location, Mark] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


def dotted(location: Location) -> str:
    """Return a location for people: ``owners[0].match.user``; odd keys are quoted and cut."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _ORDINARY_KEY.fullmatch(step) else shown(step))
    return text


def shown(value: object) -> str:
    """Return the operator's own words as an error repeats them: printable, on one line, bounded."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def parse(text: str, source: str) -> Document:
    """Return the values of a YAML text with their places, and every fault found on the way.

    The root is a mapping, or nothing at all. Where a key is repeated the first stands. Anything
    that is not YAML, or is too deep or too large, is one fault and no values.
    """
    try:
        _refuse_excess(text, source)
        root = yaml.compose(text, Loader=Loader)
        return _Walk(source).document(root)
    except _Refused as refused:
        return Document(faults=(refused.fault,))
    except yaml.MarkedYAMLError as error:
        place = _place(source, error.problem_mark or error.context_mark)
        wrong = f"not YAML: {error.problem}; write `option: value`, one a line, indented with spaces"
        return Document(faults=(Fault(place, (), wrong),))


class _Pointer(Protocol):
    """A mark of PyYAML's, of either of its two parsers; counts from 0."""

    line: int
    column: int


class _Refused(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _refuse_excess(text: str, source: str) -> None:
    """Look at the events alone, which costs no recursion, before a tree is built from them."""
    odd = Reader.NON_PRINTABLE.search(text)
    if odd:
        line, column = text.count("\n", 0, odd.start()) + 1, odd.start() - text.rfind("\n", 0, odd.start())
        raise _Refused(Fault(Place(source, line, column), (), f"control character {odd[0]!r}; remove it"))
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _Refused(_too_deep(_place(source, event.start_mark), ()))
        if count > 2 * MAX_NODES:
            raise _Refused(_too_large(_place(source, event.start_mark), ()))
        if getattr(event, "tag", None):
            wrong = "a YAML tag; no option needs one, remove it"
            raise _Refused(Fault(_place(source, event.start_mark), (), wrong))


class _Walk:
    """Turns composed nodes into plain values and remembers their places."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._marks: dict[Location, Mark] = {}
        self._faults: list[Fault] = []
        self._nodes = 0

    def document(self, root: yaml.Node | None) -> Document:
        if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == _TAG + "null"):
            return Document()
        if not isinstance(root, yaml.MappingNode):
            text = "a list or a single value; write sections: `poll:` and below it `interval: 1s`"
            raise _Refused(Fault(self._at(root), (), text))
        values = self._mapping(root, ())
        return Document(values, self._marks, tuple(self._faults))

    def _value(self, node: yaml.Node, location: Location) -> object:
        self._nodes += 1
        if len(location) > MAX_DEPTH:
            raise _Refused(_too_deep(self._at(node), location))
        if self._nodes > MAX_NODES:
            raise _Refused(_too_large(self._at(node), location))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _item(self, node: yaml.Node, location: Location) -> object:
        self._marks[location] = Mark(self._at(node), self._at(node))
        return self._value(node, location)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, object]:
        values: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _TAG + "merge":
                text = "a key that is no name (a list, a mapping or `<<`); write each option by its name"
                self._faults.append(Fault(self._at(key), location, text))
                continue
            below = (*location, key.value)
            if key.value in values:
                first = self._marks[below].key
                text = f"duplicate key, first at line {first.line} column {first.column}; keep one of them"
                self._faults.append(Fault(self._at(key), below, text))
                continue
            self._marks[below] = Mark(self._at(key), self._at(value))
            values[key.value] = self._value(value, below)
        return values

    def _scalar(self, node: yaml.Node, location: Location) -> object:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind == "null":
            return None
        if kind == "bool":
            return _TRUTHS[text.lower()]
        if kind == "int" and _WHOLE.fullmatch(text) and len(text) <= MAX_DIGITS:
            return int(text)
        if kind == "float" and text[-1] not in "nN" and ":" not in text and len(text) <= MAX_DIGITS:
            return float(text.lower().replace(".inf", "inf"))  # every form but .nan and 1:30.5
        if kind in ("int", "float"):
            self._faults.append(Fault(self._at(node), location, _number_trap(text)))
        return text

    def _at(self, node: yaml.Node) -> Place:
        return _place(self._source, node.start_mark)


def _number_trap(text: str) -> str:
    if len(text) > MAX_DIGITS:
        return f"a number of {len(text)} characters; write at most {MAX_DIGITS}"
    try:
        number = yaml.safe_load(text)
    except ValueError:  # "0_" matches YAML's pattern of a number and is none
        number = "a number"
    return (
        f"YAML reads {text} as {number}; write a plain number, a duration such as 1m30s, "
        f'or quotes ("{text}") for text'
    )


def _place(source: str, mark: _Pointer | None) -> Place:
    return Place(source, mark.line + 1, mark.column + 1) if mark else Place(source)


def _too_deep(place: Place, location: Location) -> Fault:
    return Fault(place, location[:3], f"nested deeper than {MAX_DEPTH} levels; no option needs that")


def _too_large(place: Place, location: Location) -> Fault:
    return Fault(
        place, location[:3], f"more than {MAX_NODES} keys and values, counted with what aliases repeat"
    )
