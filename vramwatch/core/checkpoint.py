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

from vramwatch.core import (
    diagnosis,
    folding,
    forecast,
    hindcasts,
    incidents,
    lanes,
    model,
    recurrence,
    verdicts,
    windows,
)

VERSION = 5
"""Of the state: one more whenever a class below gains, loses or renames a field, or its arrays change."""

READABLE = frozenset({3, 4, VERSION})
"""Versions that are gone on from: in the third, arrays were wider and ballots reached to the last bin; up to
the fourth, windows did not tell ``ran``."""

_ADDED = frozenset({"ran"})
"""Fields that earlier versions lack and that are None until they are told."""

_CLASSES: tuple[type, ...] = (
    *(lanes.Envelope, lanes.Points, lanes.Lane, windows.Load, windows.Window),
    *(windows.Members, windows.Life, windows.Departure, windows.Accident),
    *(recurrence.Recurrence, recurrence.Ballot, recurrence.Plateaus),
    *(folding.Watched, folding.GpuWindows),
    *(diagnosis.Diagnosis, forecast.Exhaustion, forecast.Abstention),
    *(hindcasts.Hindcast, forecast.Straight),
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
_KIND = "~"


def put_down(value: Any, *, late: bool = False) -> Any:
    """Return ``value`` as JSON has it. Errors: TypeError for what is none of the known classes.

    ``late``: what is watched within it is left as it is, to be put down by itself when its turn has come; a
    thousand series take a hundred MiB as text.
    """
    told: Any = value
    match value:
        case float() if not math.isfinite(value):
            told = {_KIND: "float", "is": repr(value)}
        case StrEnum():
            told = {_KIND: _name(value), "is": value.value}
        case None | bool() | int() | float() | str():
            pass
        case array():
            told = {_KIND: "array", "of": value.typecode, "is": b64encode(value.tobytes()).decode()}
        case list():
            told = [put_down(each, late=late) for each in value]
        case tuple():
            told = {_KIND: "tuple", "is": [put_down(each, late=late) for each in value]}
        case Mapping():
            pairs = value.items()
            told = {_KIND: "map", "is": [[put_down(key), put_down(each, late=late)] for key, each in pairs]}
        case folding.Watched() if late:
            pass
        case _:
            kind = _name(value)
            told = {name: put_down(getattr(value, name), late=late) for name in _names(type(value))}
            told[_KIND] = kind
    return told


def _name(value: object) -> str:
    name = type(value).__name__
    if type(value) not in (_KNOWN.get(name), _KNOWN_ENUMS.get(name)):
        raise TypeError(f"{name} is not known to a checkpoint")
    return name


def take_up(told: Any) -> Any:
    """Return what ``put_down`` was given. Errors: ValueError where it did not write this."""
    try:
        return _take_up(told)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no checkpoint of this version ({error!r})") from error


def _take_up(told: Any) -> Any:
    match told:
        case {"~": "tuple", "is": parts}:
            value: Any = tuple(_take_up(each) for each in parts)
        case {"~": "map", "is": pairs}:
            value = {_take_up(key): _take_up(each) for key, each in pairs}
        case {"~": "array", "of": "d" | "f" | "l" | "I" as typecode, "is": text}:
            value = array(typecode, b64decode(text, validate=True))
        case {"~": "float", "is": text}:
            value = float(text)
        case {"~": kind, "is": text} if kind in _KNOWN_ENUMS:
            value = _KNOWN_ENUMS[kind](text)
        case {"~": kind}:
            value = _made(_KNOWN[kind], told)
        case list():
            value = [_take_up(each) for each in told]
        case None | bool() | int() | float() | str():
            value = told
        case _:
            raise ValueError("it holds what no checkpoint does")
    return value


def _made(known: type, told: Mapping[str, Any]) -> Any:
    made: Any = object.__new__(known)
    for name in _names(known):
        is_new = name not in told and name in _ADDED
        object.__setattr__(made, name, None if is_new else _take_up(told[name]))
    return made


def _names(known: type) -> tuple[str, ...]:
    if is_dataclass(known):
        return tuple(field.name for field in fields(known))
    return tuple(known.__slots__)  # type: ignore[attr-defined]
