"""The profile "identify": a small process of its own that reads of other users' processes what /proc hides.

It alone has CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH. It answers four questions and nothing else: of one life
of a process the allow-listed environment, the names of its container, and at which sockets it listens (as
numbers of inodes, by which the daemon knows them in the kernel's own tables); and who has the GPUs' device
files open. systemd runs it as ``python -m vramwatch.procfs.identify``, its socket is descriptor 3
(sd_listen_fds(3)); ``IdentifySocket`` is the daemon's side. Question and answer are a line of JSON each.
"""

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vramwatch.core.model import Container, Pod, ProcessState
from vramwatch.procfs.cgroups import CGROUP_LIMIT, parse_cgroup
from vramwatch.procfs.commands import ALLOWED_VARIABLES, read_environment
from vramwatch.procfs.containers import identify
from vramwatch.procfs.files import read_bounded
from vramwatch.procfs.holders import Holder, Holders, find_holders
from vramwatch.procfs.identity import read_stat
from vramwatch.procfs.listening import listening_inodes
from vramwatch.procfs.places import IDENTIFY_SOCKET
from vramwatch.procfs.texts import cut, printable

PROC, HOST = "/proc", Path("/")

QUESTION_LIMIT = 256
"""Bytes of a question: a word and two numbers."""

ANSWER_LIMIT = 1 << 18
"""Bytes of an answer: a thousand holders."""

ASKER_DEADLINE = 2.0
"""Seconds in which whoever has connected must have asked, and taken the answer."""

ANSWER_DEADLINE = 0.5
"""Seconds that the daemon waits for what stands in memory; it goes on without it."""

SEARCH_DEADLINE = 4.0
"""Seconds that it waits for a search through all processes, on a thread of its own."""

RESTING = 60.0
"""Seconds for which it is not asked again once it has not answered: a poll must not wait for it each time."""

LISTENING_MOST = 256
"""Sockets of one process that are told."""

_OF_A_LIFE = ("environment", "container", "listening")
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred, unix(7)
_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_TEXT_LIMIT = 256


# --- the process with capabilities -------------------------------------------------------------------


def answer(question: bytes, root: str = PROC, host: Path = HOST) -> Mapping[str, Any]:
    """Return the answer to one question; {"error": why} for what is none."""
    try:
        asked = json.loads(question)
        about = str(asked["about"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return {"error": "not a question"}
    if about == "holders":
        return asdict(find_holders(Path(root)))
    pid, start_ticks = asked.get("pid"), asked.get("start_ticks")
    if about not in _OF_A_LIFE or not _is_number(pid) or not _is_number(start_ticks):
        return {"error": "not a question"}
    told: Mapping[str, Any]
    if about == "environment":
        told = {"environment": dict(read_environment(root, pid))}
    elif about == "listening":
        told = {"listening": sorted(listening_inodes(root, pid))[:LISTENING_MOST]}
    else:
        told = _container(root, pid, host)
    stat = read_stat(root, pid)
    if stat is None or stat.start_ticks != start_ticks:  # afterwards: else another life may have answered
        return {"error": "no such process"}
    return told


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _container(root: str, pid: int, host: Path) -> Mapping[str, Any]:
    container, pod = identify(parse_cgroup(read_bounded(f"{root}/{pid}/cgroup", CGROUP_LIMIT) or b""), host)
    return {"container": container and asdict(container), "pod": pod and asdict(pod)}


def serve(listening: socket.socket, uid: int) -> None:
    """Answer one asker after the other, for ever: those of user ``uid`` and root alone."""
    while True:
        asker, _ = listening.accept()
        with asker:
            asker.settimeout(ASKER_DEADLINE)
            try:
                _serve_one(asker, uid)
            except OSError:
                continue


def _serve_one(asker: socket.socket, uid: int) -> None:
    credentials = asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, its_uid, _ = _CREDENTIALS.unpack(credentials)
    if its_uid not in (0, uid):
        return
    question = asker.recv(QUESTION_LIMIT)
    asker.sendall(json.dumps(answer(question)).encode()[:ANSWER_LIMIT] + b"\n")


def main() -> None:
    """Serve the socket that systemd hands over; its owner is the user who may ask."""
    if os.environ.get("LISTEN_FDS") != "1" or os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit("vramwatch.procfs.identify is started by vramwatch-identify.socket")
    with socket.socket(fileno=_FIRST_DESCRIPTOR) as listening:
        serve(listening, Path(listening.getsockname()).stat().st_uid)


# --- the daemon's side -------------------------------------------------------------------------------


class IdentifySocket:
    """Asks the process with capabilities. Each question answers None where it does not answer."""

    def __init__(self, path: Path = IDENTIFY_SOCKET, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._ask_again_at = 0.0

    @property
    def is_there(self) -> bool:
        return self._path.is_socket()

    def environment(self, pid: int, start_ticks: int) -> Mapping[str, str] | None:
        """Return the allowed variables of a life; what is not allowed is dropped here too."""
        told = self._ask({"about": "environment", "pid": pid, "start_ticks": start_ticks}, ANSWER_DEADLINE)
        variables = told.get("environment") if told else None
        if not isinstance(variables, dict):
            return None
        return {
            name: cut(printable(value.encode()), _TEXT_LIMIT)
            for name, value in variables.items()
            if name in ALLOWED_VARIABLES and isinstance(value, str)
        }

    def container(self, pid: int, start_ticks: int) -> tuple[Container | None, Pod | None] | None:
        """Return the container and the pod of a life, with their names."""
        told = self._ask({"about": "container", "pid": pid, "start_ticks": start_ticks}, ANSWER_DEADLINE)
        if told is None or "container" not in told:
            return None
        try:
            container, pod = told["container"], told["pod"]
            return container and Container(**container), pod and Pod(**pod)
        except (KeyError, TypeError):
            return None

    def listening(self, pid: int, start_ticks: int) -> frozenset[int] | None:
        """Return the inodes of the sockets at which a life listens."""
        told = self._ask({"about": "listening", "pid": pid, "start_ticks": start_ticks}, ANSWER_DEADLINE)
        inodes = told.get("listening") if told else None
        if not isinstance(inodes, list):
            return None
        return frozenset(each for each in inodes if _is_number(each))

    def holders(self) -> Holders | None:
        """Return who has a device open, of all processes. Takes seconds; for a thread of its own."""
        told = self._ask({"about": "holders"}, SEARCH_DEADLINE)
        if told is None:
            return None
        try:
            found = tuple(_holder(each) for each in told["found"])
            return Holders(found, int(told["unreadable"]), bool(told["is_complete"]))
        except (KeyError, TypeError, ValueError):
            return None

    def _ask(self, question: Mapping[str, Any], deadline: float) -> dict[str, Any] | None:
        if self._clock() < self._ask_again_at:
            return None
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
                asking.settimeout(deadline)
                asking.connect(str(self._path))
                asking.sendall(json.dumps(question).encode())
                received = b""
                while not received.endswith(b"\n") and len(received) <= ANSWER_LIMIT:
                    part = asking.recv(1 << 16)
                    if not part:
                        break
                    received += part
            told = json.loads(received)
        except FileNotFoundError:  # the profile is "observe"
            return None
        except (OSError, ValueError, RecursionError):
            self._ask_again_at = self._clock() + RESTING
            return None
        return told if isinstance(told, dict) and "error" not in told else None


def _holder(told: Mapping[str, Any]) -> Holder:
    return Holder(**{**told, "state": ProcessState(told["state"]), "devices": tuple(told["devices"])})


if __name__ == "__main__":
    main()
