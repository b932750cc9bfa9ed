"""Syslog: a line for each incident, to this machine's log or, structured (RFC 5424), to a log server."""

import contextlib
import os
import re
import socket
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from vramwatch.core.couriers import Courier, Place, Reach
from vramwatch.core.entries import Entry, entries
from vramwatch.core.messages import Message
from vramwatch.core.outgoing import Delivered, Outcome, Retry
from vramwatch.core.records import iso
from vramwatch.core.units import Seconds
from vramwatch.couriers.wire import Leash
from vramwatch.notifying import Notifier
from vramwatch.options import Text
from vramwatch.quantities import Duration

FACILITIES = {"user": 1, "daemon": 3} | {f"local{number}": 16 + number for number in range(8)}
"""RFC 5424, 6.2.1, as far as they fit."""

Facility = Literal[
    "user", "daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
]

ENTRY_MOST = 2048
"""Bytes that every receiver should take (RFC 5424, 6.1)."""

STRUCTURE = "vramwatch@32473"
"""Name of our structured data; 32473 is nobody's number (RFC 5612), for we have none of our own."""

_BOM = b"\xef\xbb\xbf"  # says that UTF-8 follows (RFC 5424, 6.4)
_PLACE = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]{1,253})):(?P<port>[0-9]{1,5})")


def _target(written: str) -> tuple[str, int] | None:
    """Return host and port of a log server; None: it names none."""
    found = _PLACE.fullmatch(written)
    if found is None or not 0 < int(found["port"]) < 65536:
        return None
    return found["v6"] or found["host"], int(found["port"])


def _place(written: str) -> str:
    if not written.startswith("/") and _target(written) is None:
        raise ValueError(f"{written!r} is no place of a log; write a socket's path, or host:port")
    return written


class Syslog(Notifier):
    """Writes a line for each incident to this machine's syslog, or to a log server (RFC 5424)."""

    address: Annotated[Text, AfterValidator(_place)] = Field(
        "/dev/log", description="A socket on this machine, or host:port of a log server."
    )
    transport: Literal["udp", "tcp"] = Field(
        "udp",
        description=(
            "The protocol to a log server. Neither confirms that an entry was stored; tcp shows "
            "whether it was sent."
        ),
    )
    facility: Facility = Field("daemon", description="The syslog facility.")
    timeout: Annotated[Seconds, Duration("1s", "2m")] = Field(
        Seconds(5.0), description="How long to wait for the receiver."
    )

    def reach(self) -> Reach:
        return Reach(connect=self.timeout, read=self.timeout, total=2 * self.timeout)

    def places(self) -> tuple[Place, ...]:
        target = _target(self.address)
        return (Place(*target),) if target and self.transport == "tcp" else ()

    def send(self, message: Message, courier: Courier) -> Outcome:
        told = list(entries(message))
        is_sending = False
        try:
            target = _target(self.address)
            if target is None:
                return self._to_socket([self._local(each, message.made) for each in told])
            lines = [self._structured(each, message) for each in told]
            if self.transport == "udp":
                return self._to_server(target, lines)
            with contextlib.closing(Leash()) as leash, leash.within(2 * self.timeout):
                connection = self._connected(target, leash)
                is_sending = True
                return self._to_stream(connection, lines)
        except TimeoutError:
            return Retry(f"{self.address} takes nothing within {self.timeout:g} s", is_uncertain=is_sending)
        except OSError as error:
            said = error.strerror or type(error).__name__
            return Retry(f"{self.address}: {said}", is_uncertain=is_sending)

    def _to_socket(self, lines: list[bytes]) -> Outcome:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.settimeout(self.timeout)
            log.connect(self.address)
            for line in lines:
                log.sendall(line)
        return Delivered(f"{len(lines)} written to {self.address}")

    def _to_server(self, target: tuple[str, int], lines: Iterable[bytes]) -> Outcome:
        family, kind, protocol, _, place = socket.getaddrinfo(*target, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as log:
            log.settimeout(self.timeout)
            log.connect(place)
            for line in lines:
                log.sendall(line)
        return Delivered(f"sent to {self.address} over udp, which tells nothing of it")

    def _connected(self, target: tuple[str, int], leash: Leash) -> socket.socket:
        connection = socket.create_connection(target, self.timeout)
        leash.hold(connection)
        return connection

    def _to_stream(self, connection: socket.socket, lines: Iterable[bytes]) -> Outcome:
        """Send ``lines``, each after its length (RFC 6587, 3.4.1), and wait until the server is done."""
        with connection:
            connection.sendall(b"".join(b"%d %s" % (len(line), line) for line in lines))
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(TimeoutError):  # it keeps its side open; that is no fault
                while connection.recv(4096):
                    pass
        return Delivered(f"sent to {self.address} over tcp")

    def _priority(self, entry: Entry) -> int:
        return 8 * FACILITIES[self.facility] + entry.level

    def _local(self, entry: Entry, made: float) -> bytes:
        """Return an entry as syslog(3) of the GNU C library hands it to this machine's log."""
        stamp = datetime.fromtimestamp(made).strftime("%b %e %H:%M:%S")  # noqa: DTZ006 - local, by its form
        line = f"<{self._priority(entry)}>{stamp} vramwatch[{os.getpid()}]: {entry.line}"
        return _cut(line.encode(errors="replace"))

    def _structured(self, entry: Entry, message: Message) -> bytes:
        """Return an entry as RFC 5424 writes it."""
        host = re.sub(r"[^!-~]", "_", entry.fields["host"])[:255] or "-"
        kind = entry.fields.get("notice", str(message.kind))
        head = f"<{self._priority(entry)}>1 {iso(message.made)} {host} vramwatch {os.getpid()} {kind}"
        data = " ".join([STRUCTURE, *(f'{name}="{_escaped(text)}"' for name, text in entry.fields.items())])
        begun = f"{head} [{data}] ".encode(errors="replace") + _BOM
        return _cut(begun + entry.line.encode(errors="replace"), at_least=len(begun))


def _escaped(text: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", text)


def _cut(line: bytes, at_least: int = 0) -> bytes:
    """Return ``line`` within its bound and with its last character whole."""
    return line[: max(ENTRY_MOST, at_least)].decode(errors="ignore").encode()
