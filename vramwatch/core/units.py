"""Bytes and seconds as types inside; as suffixes and words at the edges."""

import re
from typing import NewType

Bytes = NewType("Bytes", int)
Seconds = NewType("Seconds", float)

KIB = 1024
MIB = 1024**2
GIB = 1024**3
TIB = 1024**4

_BYTE_UNITS = {
    "": 1,
    "b": 1,
    "k": KIB,
    "kib": KIB,
    "kb": 1000,
    "m": MIB,
    "mib": MIB,
    "mb": 1000**2,
    "g": GIB,
    "gib": GIB,
    "gb": 1000**3,
    "t": TIB,
    "tib": TIB,
    "tb": 1000**4,
}
_SECOND_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NUMBER = r"\d{1,30}(?:\.\d{1,30})?"  # hundreds of digits would be infinite
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z]*)\s*")
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|[smhdw])")


def parse_bytes(text: str) -> Bytes:
    """Return the bytes that ``text`` names: "512", "300 MiB", "2GiB", "1.5 TB".

    Errors: ValueError with the accepted forms.
    """
    match = _QUANTITY.fullmatch(text)
    if not match or match[2].lower() not in _BYTE_UNITS:
        raise ValueError(f"{text!r} is not a size; write bytes or a unit: 512, 300MiB, 2GiB, 1.5TB")
    return Bytes(round(float(match[1]) * _BYTE_UNITS[match[2].lower()]))


def parse_seconds(text: str) -> Seconds:
    """Return the seconds that ``text`` names: "200ms", "5s", "15m", "1h30m", "7d", or a bare number.

    Errors: ValueError with the accepted forms.
    """
    compact = text.replace(" ", "")
    if re.fullmatch(_NUMBER, compact):
        return Seconds(float(compact))
    if not re.fullmatch(rf"(?:{_DURATION_PART.pattern})+", compact):
        raise ValueError(f"{text!r} is not a duration; write 200ms, 5s, 15m, 1h30m or 7d")
    return Seconds(sum(float(n) * _SECOND_UNITS[unit] for n, unit in _DURATION_PART.findall(compact)))


def show_bytes(value: int | None, signed: bool = False) -> str:
    """Return ``value`` bytes for people: "17.2 GiB", "512 MiB", "0 B"; "n/a" where unknown (None)."""
    if value is None:
        return "n/a"
    sign = "-" if value < 0 else "+" if signed and value > 0 else ""
    size = abs(value)
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            number = size / unit
            return f"{sign}{number:.1f} {name}" if number < 100 else f"{sign}{number:.0f} {name}"
    return f"{sign}{size} B"


def show_seconds(value: float) -> str:
    """Return a duration for people in its two largest units: "3d 4h", "12m 5s", "0.2s"."""
    if value < 0:
        return "-" + show_seconds(-value)
    if value < 10 and value != int(value):
        return f"{value:.1f}s"
    left = round(value)
    parts: list[str] = []
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, left = divmod(left, unit)
        if count or (name == "s" and not parts):
            parts.append(f"{count}{name}")
        if len(parts) == 2:
            break
    return " ".join(parts)
