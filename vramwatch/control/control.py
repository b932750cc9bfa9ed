"""The Unix socket through which verbs that change something reach the daemon.

One JSON object a connection each way, the request at most 64 KiB and within 5 s. The kernel says who asks
(SO_PEERCRED): root, the daemon's own uid, or a member of the configured group.
"""

import contextlib
import grp
import json
import logging
import os
import pwd
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

from vramwatch.core.errors import UsageError, VramwatchError

LIMIT = 64 << 10
"""Bytes of the largest request: a run of the probe with all its variants fits in a half of it."""

REPLY_LIMIT = 8 << 20
"""Bytes of the largest reply: of a thousand workers, each with what fits into its messages."""

DEADLINE = 5.0
"""Seconds one caller may take to ask; a slow one is dropped and hurts only itself."""

ANSWER_DEADLINE = 15.0
"""Seconds a caller waits for the reply: letting go of hung GPUs takes the daemon a few polls."""

MOST_CALLERS = 8
"""Callers that are answered at a time; one that waits for its reply keeps no other from asking."""

CREDENTIALS = struct.Struct("3i")  # struct ucred of socket(7): pid, uid, gid

logger = logging.getLogger(__name__)


class ControlError(VramwatchError):
    """The daemon could not be asked, or it refused."""


class NoDaemonError(ControlError):
    """There is no daemon to ask."""


class MisusedError(ControlError):
    """What was asked names what is not there, or is not understood: the exit code is that of bad usage."""

    exit_code = UsageError.exit_code


@dataclass(frozen=True, slots=True)
class Request:
    """``author`` is what the kernel says of the caller, never what the caller says."""

    verb: str
    arguments: Mapping[str, Any]
    author: str


Answer = Callable[[Request], Mapping[str, Any]]
"""Carries a request out and returns the reply's fields; raises VramwatchError to refuse."""


class ControlServer:
    """Listens on ``path`` and answers each caller on a thread of its own, a few at a time."""

    def __init__(self, path: Path, group: str | None, answer: Answer) -> None:
        self.path = path
        self._group = _group_id(group)
        self._answer = answer
        self._free = threading.Semaphore(MOST_CALLERS)
        self._socket = self._listen()
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(DEADLINE)
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _listen(self) -> socket.socket:
        """Bind the socket, readable and writable for owner and group alone.

        Errors: ControlError when the place cannot be used, or another daemon answers there.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _remove_what_died(self.path)
            # Bound without rights for anybody, opened once the group stands: no moment in between.
            before = os.umask(0o777)
            try:
                listener.bind(str(self.path))
            finally:
                os.umask(before)
            if self._group is not None:
                with contextlib.suppress(PermissionError):
                    os.chown(self.path, -1, self._group)
            self.path.chmod(0o660)
            listener.listen(8)
        except OSError as error:
            listener.close()
            raise ControlError(
                f"{self.path}: cannot listen here ({error.strerror}); set control.socket to another path"
            ) from error
        except ControlError:
            listener.close()
            raise
        return listener

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            self._free.acquire()
            threading.Thread(target=self._attend, args=(connection,), name="caller", daemon=True).start()

    def _attend(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                reply = self._reply(connection)
                connection.settimeout(DEADLINE)
                connection.sendall(json.dumps(reply).encode()[:REPLY_LIMIT])
        finally:
            self._free.release()

    def _reply(self, connection: socket.socket) -> Mapping[str, Any]:
        uid, author = _caller(connection)
        try:
            # Also from one who is refused: to close before would lose the reply.
            asked = _receive(connection, DEADLINE)
        except TimeoutError:
            return {"error": f"nothing was asked within {DEADLINE:g} s"}
        if not self._may_ask(uid):
            logger.warning("control refused author=%r", author)
            return {"error": f"{author} may not ask this: be root or join the group of control.group"}
        try:
            message = _parsed(asked)
            request = Request(str(message["verb"]), dict(message.get("arguments") or {}), author)
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"error": "not a request; speak through the vramwatch command"}
        try:
            return {"reply": dict(self._answer(request))}
        except VramwatchError as error:
            return {"error": str(error), "exit_code": error.exit_code}

    def _may_ask(self, uid: int) -> bool:
        if uid in (0, os.geteuid()):
            return True
        if self._group is None:
            return False
        try:
            person = pwd.getpwuid(uid)
        except KeyError:
            return False
        return self._group in os.getgrouplist(person.pw_name, person.pw_gid)


def request(
    path: Path, verb: str, arguments: Mapping[str, Any], deadline: float = ANSWER_DEADLINE
) -> Mapping[str, Any]:
    """Ask the daemon that listens on ``path`` and return its reply's fields, within ``deadline`` seconds.

    Errors: NoDaemonError; ControlError when the daemon may not be asked, or it refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(deadline)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps({"verb": verb, "arguments": dict(arguments)}).encode() + b"\n")
            answer = json.loads(_receive(connection, deadline, REPLY_LIMIT))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            raise NoDaemonError(f"no daemon listens on {path}; start one with: vramwatch run") from None
        except PermissionError:
            raise ControlError(
                f"{path}: you may not speak to the daemon; be root or join its group (control.group)"
            ) from None
        except (OSError, ValueError) as error:
            raise ControlError(f"{path}: the daemon did not answer ({error})") from error
    if "error" in answer:
        is_misused = answer.get("exit_code") == MisusedError.exit_code  # an older daemon does not say
        raise (MisusedError if is_misused else ControlError)(str(answer["error"]))
    return dict(answer["reply"])


def _parsed(asked: bytes) -> Any:
    """Return what the JSON in ``asked`` says. Errors: ValueError, RecursionError.

    Python would take what is no JSON (NaN, Infinity), and halves of characters that no store takes.
    """

    def refuse(constant: str) -> Never:
        raise ValueError(f"{constant} is no number")

    said = json.loads(asked, parse_constant=refuse)
    json.dumps(said, ensure_ascii=False).encode()
    return said


def _receive(connection: socket.socket, within: float, limit: int = LIMIT) -> bytes:
    """Return the first line, or all up to the end or ``limit``.

    Errors: TimeoutError after ``within`` seconds, whatever has come by then.
    """
    until = time.monotonic() + within
    received = bytearray()
    while len(received) < limit and not received.endswith(b"\n"):
        connection.settimeout(_left(until))
        part = connection.recv(min(limit - len(received), 1 << 16))
        if not part:
            break
        received += part
    return bytes(received)


def _left(until: float) -> float:
    """Return the seconds until it is ``until`` (monotonic). Errors: TimeoutError: it is."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _caller(connection: socket.socket) -> tuple[int, str]:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, _ = CREDENTIALS.unpack(raw)
    return uid, author(uid, pid)


def author(uid: int, pid: int) -> str:
    """Return how a person is named who asks through a process: "alice (uid 1000, pid 4100)"."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "unknown user"
    return f"{name} (uid {uid}, pid {pid})"


def _group_id(name: str | None) -> int | None:
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _remove_what_died(path: Path) -> None:
    """Unlink a socket that nobody listens on any more. Errors: ControlError when somebody does."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
            return
    raise ControlError(f"{path}: another vramwatch answers here; stop it, or set control.socket")
