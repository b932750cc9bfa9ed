"""A conversation with a mail server, bounded in time and memory."""

import contextlib
import smtplib
import socket
import ssl
from typing import Any

from vramwatch.couriers.wire import Leash, metered

REPLIES_MOST = 64 * 1024
"""Bytes of all that a server says; RFC 5321, 4.5.3.1.5, gives a line of it 512."""

OK = 250


class Conversation(smtplib.SMTP):
    """One connection. Errors of every method: smtplib.SMTPException, OSError.

    ``is_safe``: whether nobody in between reads along, or it was ruled out that this matters;
    ``is_sending``: whether the mail itself is on its way, so that it may have arrived.
    """

    def __init__(self, leash: Leash, timeout: float, implicit: ssl.SSLContext | None) -> None:
        super().__init__(timeout=timeout, local_hostname=_own_name())
        self._leash = leash
        self._implicit = implicit
        self.is_safe = False
        self.is_sending = False

    def open(self, host: str, port: int) -> None:
        self._host = host  # smtplib checks certificates against it
        _expect(220, self.connect(host, port))
        self.ehlo_or_helo_if_needed()

    def deliver(self, mail: bytes, sender: str, to: list[str]) -> dict[str, tuple[int, bytes]]:
        """Send ``mail`` to those whom the server takes; return what it said of each."""
        _expect(OK, self.mail(sender))
        replies = {one: self.rcpt(one) for one in to}
        if any(is_taken(code) for code, _ in replies.values()):
            self.is_sending = True
            said = self.data(mail)
            self.is_sending = False
            _expect(OK, said)
        return replies

    def leave(self) -> None:
        """Say goodbye; that the server does not answer it changes nothing."""
        with contextlib.suppress(smtplib.SMTPException, OSError):
            self.quit()

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = metered(self.sock, REPLIES_MOST)
        return super().getreply()

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        connected = socket.create_connection((host, port), timeout)
        self._leash.hold(connected)
        return self._implicit.wrap_socket(connected, server_hostname=host) if self._implicit else connected


def is_taken(code: int) -> bool:
    """Whether a reply says yes (RFC 5321, 4.2.1); smtplib makes -1 of one that is none."""
    return 200 <= code < 300


def _expect(code: int, answer: tuple[int, bytes]) -> None:
    if answer[0] != code:
        raise smtplib.SMTPResponseException(*answer)


def _own_name() -> str:
    """Return what a client calls itself, without asking DNS for it, which may take long."""
    name = socket.gethostname()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"
