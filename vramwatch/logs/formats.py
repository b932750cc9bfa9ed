"""What one line of a log file says, in the three forms in which runtimes and journald keep them. Pure.

Sources: journalctl(1), --output=json, and systemd src/shared/logs-show.c (a field that holds anything
unprintable is an array of numbers, one above 4096 bytes is null; so seen with systemd 252); Docker's
json-file driver (moby daemon/logger/jsonfilelog/jsonlog); the CRI log format of the kubelet
(kubernetes pkg/kubelet/kuberuntime/logs and design-proposals, node/kubelet-cri-logging).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PID_LIMIT = 2**22
"""No larger pid exists (PID_MAX_LIMIT of Linux)."""


_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")  # systemd.unit(5)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    message: str
    unit: str
    pid: int | None


def journal_entry(line: bytes) -> JournalEntry | None:
    """Return what journalctl wrote, None for what is no entry of a unit with a message."""
    entry = _document(line)
    message, unit = _message(entry.get("MESSAGE")), entry.get("_SYSTEMD_UNIT")
    if message is None or not isinstance(unit, str) or not _UNIT.fullmatch(unit):
        return None
    return JournalEntry(message, unit, _pid(entry.get("_PID")))


def docker_message(line: bytes) -> str | None:
    """Return the message of a line of Docker's json-file driver; None for what is no such line."""
    message = _document(line).get("log")
    return message if isinstance(message, str) else None


def cri_message(line: bytes) -> str | None:
    """Return the message of ``TIME STREAM TAG MESSAGE``; None for what is no such line."""
    parts = line.split(b" ", 3)
    if len(parts) < 4 or parts[1] not in (b"stdout", b"stderr"):
        return None
    return parts[3].decode("utf-8", "replace")


def _message(value: Any) -> str | None:
    if isinstance(value, list) and all(isinstance(each, int) and 0 <= each < 256 for each in value):
        return bytes(value).decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _pid(value: Any) -> int | None:
    if not isinstance(value, str) or not value.isascii() or not value.isdecimal() or len(value) > 7:
        return None
    return int(value) if 0 < int(value) <= PID_LIMIT else None


def _document(line: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
