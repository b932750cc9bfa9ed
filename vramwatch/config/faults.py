"""What pydantic found wrong, as sentences: what is wrong, what is accepted, what may have been meant."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from vramwatch.config.places import Document, Fault, Location, Place, shown
from vramwatch.credentials import SecretOutOfReach
from vramwatch.options import Misfit

_NOT_A_LIST = frozenset({"tuple_type", "list_type", "set_type", "frozen_set_type"})
_QUOTED = re.compile(r"'([^']*)'")  # pydantic lists the accepted words as: 'a', 'b' or 'c'


def placed(
    error: ValidationError, model: type[BaseModel], document: Document, root: Location = ()
) -> list[Fault]:
    """Return pydantic's findings about ``model``, which stands at ``root`` of ``document``, with places.

    Never empty. The value of an unknown option is not repeated: it may be a secret under a mistyped name.
    """
    return [
        Fault(
            place_of(document, root + location, detail["type"] == "extra_forbidden"),
            root + location,
            text,
            isinstance(detail.get("ctx", {}).get("error"), SecretOutOfReach),
        )
        for detail in error.errors(include_url=False)
        for location, text in _sentences(detail, model)
    ]


def one_of(word: object, accepted: Iterable[str]) -> str:
    """Return "accepted: a, b" and, where ``word`` is close to one of them, a guess at what was meant."""
    names = list(accepted)
    close = difflib.get_close_matches(word, names, n=1) if isinstance(word, str) else []
    guess = f"; did you mean {close[0]}?" if close else ""
    return f"accepted: {', '.join(names)}{guess}"


def place_of(document: Document, location: Location, of_key: bool = False) -> Place:
    """Return where the value (or its key) was written; where nobody did, the key that lacks it."""
    if location in document.marks and not of_key:
        return document.marks[location].value
    for length in range(len(location), 0, -1):
        if location[:length] in document.marks:
            return document.marks[location[:length]].key
    return Place("configuration")


def _sentences(detail: ErrorDetails, model: type[BaseModel]) -> Iterator[tuple[Location, str]]:
    """Yield where one finding applies, within ``model``, and what to say of it."""
    location: Location = tuple(detail["loc"])
    kind, value = detail["type"], detail["input"]
    context: dict[str, Any] = detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, Misfit):
        yield from (((*location, option), text) for option, text in cause.sentences.items())
    elif isinstance(cause, ValueError):
        yield location, f"{cause}{_switch_trap(value)}"
    elif kind == "extra_forbidden":
        yield location, f"no such option; {_options_beside(model, location)}"
    elif kind == "missing":
        yield location, "missing; it has no default, write it"
    elif kind == "model_type":
        names = ", ".join(_options_at(model, location))
        yield location, f"not a mapping; write options below it, accepted: {names}"
    elif kind in _NOT_A_LIST:
        yield location, "not a list; write one item a line, each after `- `"
    elif kind == "string_type":
        advice = "write one line of text" if isinstance(value, dict | list) else "put it in quotes"
        yield location, f"not text; {advice}{_switch_trap(value)}"
    elif kind in ("literal_error", "enum"):
        choices = _QUOTED.findall(context["expected"])
        yield location, f"{shown(value)} is not accepted; {one_of(value, choices)}{_switch_trap(value)}"
    else:
        yield location, detail["msg"].replace("Input should be", "must be")


def _switch_trap(value: object) -> str:
    """Return a hint where YAML may have turned a word into a truth value, else nothing."""
    return (
        " (YAML reads on, yes, off and no as true and false, unless quoted)"
        if isinstance(value, bool)
        else ""
    )


def _options_beside(model: type[BaseModel], location: Location) -> str:
    """Return what may stand in place of an unknown option, with a guess; also of another section."""
    names, key = list(_options_at(model, location[:-1])), location[-1]
    homes = [name for name in model.model_fields if key in _options_at(model, (name,))]
    if len(location) == 1 and homes:
        return f"accepted: {', '.join(names)}; did you mean {homes[0]}.{key}?"
    return one_of(key, names)


def _options_at(model: type[BaseModel], location: Location) -> Mapping[str, FieldInfo]:
    """Return the options of the mapping at ``location``; empty: there is none of fixed options."""
    current: type[BaseModel] | None = model
    is_named_freely = False
    for step in location:
        if is_named_freely or not (isinstance(step, str) and current):
            is_named_freely = False  # a list's or a mapping's items are found with the whole
            continue
        field = current.model_fields.get(step)
        current = next(_models_in(field.annotation), None) if field else None
        is_named_freely = field is not None and get_origin(field.annotation) is Mapping
    return current.model_fields if current and not is_named_freely else {}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
