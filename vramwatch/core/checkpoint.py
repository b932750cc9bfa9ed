"""All that is remembered between polls as plain JSON, and back to the bit.

Only the classes in ``_KNOWN`` are ever made from what was read, and none of their code runs meanwhile:
whoever can write a checkpoint can make vramwatch wrong, and nothing more.
"""

import math
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any

from vramwatch.core import diagnosis, folding, forecast, incidents, model, recurrence, verdicts, windows

VERSION = 1
"""Of the state: one more whenever a class below gains, loses or renames a field."""

_CLASSES: tuple[type, ...] = (
    *(windows.Envelope, windows.Points, windows.Lane, windows.Load, windows.Window),
    *(windows.Members, windows.Departure, windows.Accident),
    *(recurrence.Recurrence, recurrence.Ballot),
    *(folding.Watched, folding.GpuWindows),
    *(diagnosis.Diagnosis, forecast.Exhaustion, forecast.Abstention),
    *(verdicts.Evidence, verdicts.Rate, verdicts.Found, verdicts.RuledOut),
    *(incidents.Subject, incidents.Judgement, incidents.Incident, incidents.Standing),
    *(model.Instant, model.ProcessKey),
)
_ENUMS: tuple[type[StrEnum], ...] = (
    *(windows.Layer, verdicts.Cause, forecast.Reason, model.SubjectKind),
    *(incidents.State, incidents.Severity),
)
_KNOWN: Mapping[str, type] = {each.__name__: each for each in _CLASSES}
_KNOWN_ENUMS: Mapping[str, type[StrEnum]] = {each.__name__: each for each in _ENUMS}
_TYPECODES = frozenset("dfl")
_KIND = "~"


def put_down(value: Any) -> Any:
    """Return ``value`` as JSON has it. Errors: TypeError for what is none of the known classes."""
    if value is None or isinstance(value, bool | int) or type(value) is str:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_KIND: "float", "is": repr(value)}
    if isinstance(value, StrEnum) and type(value).__name__ in _KNOWN_ENUMS:
        return {_KIND: type(value).__name__, "is": value.value}
    if isinstance(value, array):
        return {_KIND: "array", "of": value.typecode, "is": b64encode(value.tobytes()).decode()}
    if isinstance(value, list):
        return [put_down(each) for each in value]
    if isinstance(value, tuple):
        return {_KIND: "tuple", "is": [put_down(each) for each in value]}
    if isinstance(value, Mapping):
        return {_KIND: "map", "is": [[put_down(key), put_down(each)] for key, each in value.items()]}
    if _KNOWN.get(type(value).__name__) is not type(value):
        raise TypeError(f"{type(value).__name__} is not known to a checkpoint")
    return {_KIND: type(value).__name__, **{name: put_down(getattr(value, name)) for name in _names(type(value))}}


def take_up(told: Any) -> Any:
    """Return what ``put_down`` was given. Errors: ValueError where it did not write this."""
    try:
        return _take_up(told)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no checkpoint of this version ({error!r})") from error


def _take_up(told: Any) -> Any:
    if isinstance(told, list):
        return [_take_up(each) for each in told]
    if not isinstance(told, dict):
        return told
    kind = told[_KIND]
    if kind in _KNOWN:
        return _made(_KNOWN[kind], told)
    if kind in _KNOWN_ENUMS:
        return _KNOWN_ENUMS[kind](told["is"])
    if kind == "tuple":
        return tuple(_take_up(each) for each in told["is"])
    if kind == "map":
        return {_take_up(key): _take_up(each) for key, each in told["is"]}
    if kind == "array":
        if told["of"] not in _TYPECODES:
            raise ValueError(f"an array of {told['of']!r}")
        return array(told["of"], b64decode(told["is"], validate=True))
    if kind == "float":
        return float(told["is"])
    raise ValueError(f"it holds a {kind!r}, which is not known")


def _made(known: type, told: Mapping[str, Any]) -> Any:
    made: Any = object.__new__(known)
    for name in _names(known):
        object.__setattr__(made, name, _take_up(told[name]))
    return made


def _names(known: type) -> tuple[str, ...]:
    if is_dataclass(known):
        return tuple(field.name for field in fields(known))
    return tuple(known.__slots__)  # type: ignore[attr-defined]
