"""The long-form CSV of vramwatch: what ``export`` writes and ``replay`` reads.

A line is a Gpu (``pid`` empty) or one process on it, at one time. An empty ``used_bytes`` of a process
is a withheld claim. A time without a zone is UTC.
"""

from datetime import UTC, datetime
from logging import getLogger
from operator import itemgetter

from vramwatch.core.units import MIB
from vramwatch.recording.nvidia_smi import GPU_LOG
from vramwatch.recording.row import (
    EVENTS,
    EXIT,
    GAP,
    LATEST_TIME,
    OOM,
    RESTART,
    Said,
    read_count,
    read_number,
    read_pid,
    read_text,
)

REQUIRED = ("time", "gpu", "pid", "used_bytes", "total_bytes")
FACTS = ("utilization", "process_start", "owner", "reserved_bytes", "event")
GAUGES = (
    "torch_reserved_bytes",
    "torch_allocated_bytes",
    "engine_kv_bytes",
    "engine_kv_ratio",  # share of the KV pool that is used, where its size is not known
    "requests_total",
    "requests_running",
    "requests_waiting",
    "engine_pool_bytes",  # size of the KV pool
    "engine_evictable_bytes",  # what of it holds a prefix cache that may be dropped
    "preemptions_total",
    "alloc_retries_total",
    "ooms_total",
    "model_bytes",  # of Ollama: size
    "model_gpu_bytes",  # of Ollama: size_vram
    "kv_requires_grad",  # of a worker: 1 where a cached key holds its autograd graph
)
SMALLEST_GPU = MIB  # a smaller total_bytes counts MiB: no GPU has less than 1 MiB or more than 1 TiB
_BARE_EVENTS = frozenset({"", EXIT, RESTART, OOM})

_log = getLogger(__name__)


class LongForm:
    """Reads the lines under one header.

    Errors of the constructor: ValueError, when a required column is missing or one stands twice.
    """

    def __init__(self, file: str, header: list[str]) -> None:
        names = [name.strip() for name in header]
        if missing := [name for name in REQUIRED if name not in names]:
            raise ValueError(
                f"the columns {', '.join(missing)} are missing; needed are {', '.join(REQUIRED)}, "
                f"or the log of {GPU_LOG}"
            )
        known = (*REQUIRED, *FACTS, *GAUGES)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the columns {', '.join(twice)} stand twice")
        if unknown := [name for name in names if name not in known]:
            _log.warning("recording file=%s ignored_columns=%s known=%s", file, unknown, ",".join(known))
        absent = len(names)  # the index of the empty field that stands in for every column left out
        places = {name: names.index(name) if name in names else absent for name in known}
        self._pick = itemgetter(*(places[name] for name in (*REQUIRED[1:], *FACTS)))
        self._pick_gauges = itemgetter(*(places[name] for name in GAUGES))
        self._has_gauges = any(name in names for name in GAUGES)
        self.time_place = names.index("time")

    def time(self, text: str) -> float:
        """Return the unix seconds of the column ``time_place``. Errors: ValueError."""
        return read_time(text)

    def said(self, fields: list[str]) -> Said:
        """Return what a line says beside its time. Errors: ValueError with reason and accepted form."""
        fields = [*fields, ""]
        gpu, who, used, total, utilization, started, owner, reserved, event = self._pick(fields)
        bare, reason = (event, "") if event in _BARE_EVENTS else _read_gap(event)
        said = Said(
            read_text("gpu", gpu),
            read_pid(who) if who else None,
            read_count("used_bytes", used) if used else None,
            read_count("total_bytes", total) if total else None,
            read_count("reserved_bytes", reserved) if reserved else 0,
            _read_share(utilization) if utilization else None,
            read_number("process_start", started) if started else None,
            read_text("owner", owner) if owner else "",
            bare,
            reason,
            self._gauges(fields) if self._has_gauges else (),
        )
        _check(said)
        return said

    def _gauges(self, fields: list[str]) -> tuple[tuple[str, float], ...]:
        told = zip(GAUGES, self._pick_gauges(fields), strict=True)
        return tuple((quantity, read_number(quantity, text)) for quantity, text in told if text)


def read_time(text: str) -> float:
    """Return the unix seconds that ``text`` names: a number, or ISO 8601. Errors: ValueError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = _read_iso(text)
    if not 0 <= seconds < LATEST_TIME:
        raise ValueError(f"time is {text!r}; write unix seconds (not milliseconds) or ISO 8601")
    return seconds


def _read_iso(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"time is {text!r}; write unix seconds or ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _read_gap(event: str) -> tuple[str, str]:
    kind, _, reason = event.partition(":")
    if kind != GAP or not reason:
        raise ValueError(f"event is {event!r}; write {EVENTS}")
    return GAP, read_text("event", reason)


def _read_share(text: str) -> float:
    share = read_number("utilization", text)
    if share > 1:
        raise ValueError(f"utilization is {text!r}; write a share from 0 to 1, not percent")
    return share


def _check(said: Said) -> None:
    if said.event == GAP:
        if said.pid is not None:
            raise ValueError("a gap belongs to a whole GPU; leave pid empty")
        return
    if not said.gpu:
        raise ValueError("gpu is empty; only a gap of everything has no gpu")
    if said.total is not None and said.total < SMALLEST_GPU:
        raise ValueError(f"total_bytes is {said.total}, less than any GPU has; write bytes, not MiB")
    if said.pid is None and not said.event and (said.used is None or said.total is None):
        raise ValueError(
            "the row of a GPU needs used_bytes and total_bytes; write gap:REASON where it has none"
        )
    if said.total is not None and (said.used or 0) + said.reserved > said.total:
        raise ValueError(f"used_bytes and reserved_bytes exceed the total_bytes of {said.total}")
