"""The systemd journal: a structured entry for each incident, to be found by its fields.

Source: systemd.io/JOURNAL_NATIVE_PROTOCOL, systemd.journal-fields(7).
"""

import errno
import socket as sockets
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, PrivateAttr

from vramwatch.core.couriers import Courier
from vramwatch.core.entries import Entry, entries
from vramwatch.core.messages import Message
from vramwatch.core.outgoing import Delivered, Outcome, Rejected, Retry
from vramwatch.notifying import Notifier, Progress
from vramwatch.options import AbsolutePath

TIMEOUT = 5.0
"""Seconds that a full queue of the journal is waited for."""

MESSAGE_ID = "2e39008f68664dd590430536e868bc43"
"""Names our entries among those of all programs (systemd.journal-fields(7)); never to be changed."""


class Journal(Notifier):
    """Writes each incident to the systemd journal; journalctl SYSLOG_IDENTIFIER=vramwatch-alert shows it."""

    socket: AbsolutePath = Field(Path("/run/systemd/journal/socket"), description="The journal's socket.")

    _progress: Progress = PrivateAttr(default_factory=Progress)

    def send(self, message: Message, courier: Courier) -> Outcome:
        written = self._progress.of(message.key)
        try:
            with sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM) as journal:
                journal.settimeout(TIMEOUT)
                journal.connect(str(self.socket))
                for entry in entries(message):
                    if entry.name not in written:
                        journal.sendall(_datagram(entry))
                        written.add(entry.name)
        except TimeoutError:
            return Retry(f"{self.socket} takes nothing within {TIMEOUT:g} s")
        except OSError as error:
            reason = f"{self.socket}: {error.strerror or type(error).__name__}"
            return Rejected(reason) if error.errno == errno.EMSGSIZE else Retry(reason)
        return Delivered(f"{len(written)} written to the journal")


def _datagram(entry: Entry) -> bytes:
    fields: Mapping[str, str] = {
        "MESSAGE": entry.line,
        "MESSAGE_ID": MESSAGE_ID,
        "PRIORITY": str(int(entry.level)),
        "SYSLOG_IDENTIFIER": "vramwatch-alert",
        **{f"VRAMWATCH_{name.upper()}": text for name, text in entry.fields.items()},
    }
    return b"".join(_field(name, text.encode(errors="replace")) for name, text in fields.items())


def _field(name: str, value: bytes) -> bytes:
    """Return a field in the form that a value with line ends needs, else in the one that people can read."""
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
