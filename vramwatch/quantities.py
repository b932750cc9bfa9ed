"""How quantities, choices and addresses are written in a configuration, and what is accepted.

Each class is an annotation of a pydantic field: it reads what was written, says what is accepted, and
writes the value back so that it reads alike again.
"""

import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from vramwatch.core.units import GIB, KIB, MIB, TIB, Bytes, Seconds, parse_bytes, parse_seconds

_DURATIONS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_SIZES = (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB))
MAX_TEXT = 64
"""Characters of a duration, a size or an address; longer ones are not read at all."""


def duration_text(value: float) -> str:
    """Return seconds as a configuration writes them, to the millisecond: "200ms", "90s", "1h"."""
    milliseconds = round(value * 1000)
    for name, unit in _DURATIONS:
        if milliseconds and milliseconds % unit == 0:
            return f"{milliseconds // unit}{name}"
    return "0s"


def size_text(value: int) -> str:
    """Return bytes as a configuration writes them, exactly: "2GiB", "1500"."""
    for name, unit in _SIZES:
        if value and value % unit == 0:
            return f"{value // unit}{name}"
    return str(value)


def _schema(read: Callable[[Any], Any], write: Callable[[Any], str | None]) -> CoreSchema:
    return core_schema.no_info_plain_validator_function(
        read, serialization=core_schema.plain_serializer_function_ser_schema(write, when_used="json")
    )


def _words(value: object) -> str | None:
    """Return the text or the finite number that was written, bounded; None: it was neither."""
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    text = f"{value:.15g}" if isinstance(value, float) else str(value) if isinstance(value, str | int) else ""
    return text if 0 < len(text) <= MAX_TEXT else None


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds, from ``low`` to ``high``; a bare number counts seconds."""

    low: str
    high: str

    @property
    def accepted(self) -> str:
        return f"a duration from {self.low} to {self.high}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(self._read, duration_text)

    def _read(self, value: object) -> Seconds:
        text = _words(value)
        if text is None:
            raise ValueError(f"not a duration; write {self.accepted}")
        try:
            seconds = parse_seconds(text)
        except ValueError as error:
            raise ValueError(f"{error}, {self.accepted}") from None
        if not parse_seconds(self.low) <= seconds <= parse_seconds(self.high):
            raise ValueError(f"{text} is out of range; write {self.accepted}")
        return Seconds(round(seconds, 3))


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes, from ``low`` to ``high``, or nothing; a bare number counts bytes."""

    low: str
    high: str

    @property
    def accepted(self) -> str:
        return f"a size from {self.low} to {self.high}, or null"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(self._read, lambda value: None if value is None else size_text(value))

    def _read(self, value: object) -> Bytes | None:
        if value is None:
            return None
        text = _words(value)
        if text is None:
            raise ValueError(f"not a size; write {self.accepted}")
        try:
            size = parse_bytes(text)
        except ValueError as error:
            raise ValueError(f"{error}, {self.accepted}") from None
        if not parse_bytes(self.low) <= size <= parse_bytes(self.high):
            raise ValueError(f"{text} is out of range; write {self.accepted}")
        return size


@dataclass(frozen=True, slots=True)
class Fraction:
    """A share of one, from ``low`` to ``high``."""

    low: float
    high: float

    @property
    def accepted(self) -> str:
        return f"a fraction from {self.low} to {self.high}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def _read(self, value: object) -> float:
        try:
            fraction = float(_words(value) or "")
        except ValueError:
            raise ValueError(f"not a number; write {self.accepted}") from None
        if not self.low <= fraction <= self.high:
            raise ValueError(f"{fraction:g} is out of range; write {self.accepted}")
        return fraction


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. ``host`` is an IP address without brackets, or "localhost"."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can reach it. Errors: ValueError where the host is no IP address."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Listening:
    """An IP address to listen on, with a port, or nothing."""

    accepted = "host:port with an IP address (127.0.0.1:9478, [::1]:9478, localhost:9478), or off"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(self._read, lambda value: None if value is None else str(value))

    def _read(self, value: object) -> Address | None:
        if isinstance(value, Address):
            return value
        if value is None or value is False or value in ("off", "null"):
            return None
        host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
        if not colon or len(host) > MAX_TEXT or not (port.isascii() and port.isdigit() and len(port) <= 5):
            raise ValueError(f"not an address with a port; write {self.accepted}")
        if int(port) > 65535:
            raise ValueError(f"port {port} is out of range; write 1 to 65535, or 0 for any free one")
        address = Address(host[1:-1] if host.startswith("[") and host.endswith("]") else host, int(port))
        try:
            address.is_loopback  # noqa: B018 - asked for its error
        except ValueError:
            raise ValueError(f"{host!r} is not an IP address; write {self.accepted}") from None
        return address
