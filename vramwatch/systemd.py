"""What a service says to systemd: ready, how it stands, that it lives. sd_notify(3), over its own socket.

Without NOTIFY_SOCKET every call does nothing, so the daemon speaks alike under systemd and without it.
"""

import logging
import os
import socket
import time
from collections.abc import MutableMapping

STATUS_EVERY = 10.0
"""Seconds between two sentences that differ in the time of the poll alone: each wakes who listens."""

ALIVE_SHARE = 0.25
"""Share of the watchdog's time after which it is told again; systemd asks for half of it (sd_notify(3))."""

TURNS_ALLOWED = 3
"""The watchdog's time is at least so many intervals between polls: a slow pace is not a stuck service."""

logger = logging.getLogger(__name__)


class Systemd:
    """The service manager's socket. Seconds; what cannot be said is logged once and goes on unsaid."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take the socket's address out of ``environment``, so that no child speaks for the service."""
        self._address = _address(environment.pop("NOTIFY_SOCKET", ""))
        microseconds = environment.pop("WATCHDOG_USEC", "")
        told_to = environment.pop("WATCHDOG_PID", "")
        is_ours = not told_to or told_to == str(os.getpid())
        self._watchdog = int(microseconds) / 1e6 if microseconds.isdigit() and is_ours else None
        self._alive_at = self._status_at = float("-inf")
        self._fact = ""
        self._is_silent = False

    def ready(self) -> None:
        """Store and configuration stand, also after they were read again."""
        self._say("READY=1")

    def reloading(self) -> None:
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def turn(self, fact: str, detail: str, interval: float, now: float) -> None:
        """A turn of the loop has ended at ``now`` (monotonic); the next comes after ``interval``.

        ``fact`` is said at once when it changes, ``detail`` follows it and is said when its time has come.
        """
        if self._address is None:
            return
        said = []
        if self._watchdog is not None:
            if TURNS_ALLOWED * interval > self._watchdog:
                self._watchdog = TURNS_ALLOWED * interval
                said.append(f"WATCHDOG_USEC={int(self._watchdog * 1e6)}")
            if now - self._alive_at >= ALIVE_SHARE * self._watchdog - interval:
                self._alive_at = now
                said.append("WATCHDOG=1")
        if fact != self._fact or now - self._status_at >= STATUS_EVERY:
            self._fact, self._status_at = fact, now
            said.append(f"STATUS={fact}, {detail}")
        if said:
            self._say(*said)

    def _say(self, *assignments: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as speaker:
                speaker.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            if not self._is_silent:
                logger.warning("systemd was not told because=%r", str(error))
            self._is_silent = True
        else:
            self._is_silent = False


def _address(written: str) -> str | None:
    """Return the address to send to: a path, or one of the abstract namespace, which is written with @."""
    if written.startswith("@"):
        return "\0" + written[1:]
    return written if written.startswith("/") else None
