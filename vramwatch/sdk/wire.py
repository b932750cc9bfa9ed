"""What a worker and the daemon say to each other: the messages, their bounds, their form on the wire.

Each message is one JSON object in one datagram of a Unix SOCK_SEQPACKET socket, at most LIMIT bytes of UTF-8,
with its ``type`` beside its fields. Who speaks is never in a message: the kernel says it. Whoever reads takes
nothing on trust: ``decode`` refuses what is not of the very form below. Unknown fields are passed over, so
that a newer worker may say more.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Optional, Union, get_type_hints

SCHEMA = 1
"""Of this form; a worker of another one is refused with a sentence."""

LIMIT = 4096
"""Bytes of a message, either way."""

MAX_TEXT = 200
"""Characters of a name, a model, a reason."""

MAX_ITEMS = 32
"""Devices, remedies or clears in one message."""

CLEARS = ("callback", "caches", "gc", "empty_cache")
"""What a worker can clear, in the order in which it does: the application's callback, the caches of requests
that are over, Python's garbage, the allocator's unused segments."""

SIGNAL = "signal:"
"""Before a signal's name among the remedies of a Hello, as in "signal:SIGURG"."""

NEVER_SENT = frozenset(
    {
        *("SIGKILL", "SIGTERM", "SIGINT", "SIGQUIT", "SIGABRT", "SIGSEGV", "SIGILL", "SIGFPE"),
        *("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"),
    }
)
"""Signals that end or stop a process, whatever it says: neither offered nor sent."""


class WireError(ValueError):
    """Not a message of this form; the text says why, and quotes nothing of it."""


@dataclass(frozen=True)
class Device:
    """PyTorch's allocator on one GPU: its figures in bytes (torch.cuda.memory_stats_as_nested_dict).

    None: this allocator does not tell it, or no context exists and none is made for it.
    """

    uuid: str  # as NVML writes it: "GPU-…" or "MIG-…"
    allocated: Optional[int] = None
    reserved: Optional[int] = None
    active: Optional[int] = None
    inactive_split: Optional[int] = None
    requested: Optional[int] = None
    peak: Optional[int] = None
    graph_pools: Optional[int] = None
    kv_logical: Optional[int] = None  # numel times itemsize, over all tracked caches
    kv_resident: Optional[int] = None  # of the storages behind them
    kv_retained: Optional[int] = None  # of these, resident for requests that are over
    alloc_retries: Optional[int] = None  # since the start
    ooms: Optional[int] = None


@dataclass(frozen=True)
class Cleared:
    """One thing that was cleared: by how much the allocator's figures fell over it, and how long it took.

    ``freed`` is the fall of ``reserved``, which the driver sees; ``freed_allocated`` that of ``allocated``,
    which lies unused in the allocator until "empty_cache". Both in bytes; negative: it grew meanwhile.
    """

    what: str  # one of CLEARS
    freed: int = 0
    freed_allocated: int = 0
    seconds: float = 0.0
    error: str = ""  # why it failed; empty: it did not


@dataclass(frozen=True)
class Hello:
    """The first message of a worker: who it says it is, and its consent.

    ``remedies``: "ask", and "signal:NAME" of a signal it has a handler for. ``group``: what its ranks have in
    common; they are asked together or not at all.
    """

    schema: int = SCHEMA
    sdk: str = ""
    name: str = ""
    model: str = ""
    remedies: tuple[str, ...] = ()
    clears: tuple[str, ...] = ()
    group: str = ""
    rank: int = 0
    world: int = 1


@dataclass(frozen=True)
class Report:
    """How a worker is, every few seconds. ``monotonic``: CLOCK_MONOTONIC seconds at which it was read."""

    seq: int = 0
    monotonic: float = 0.0
    devices: tuple[Device, ...] = ()
    requests_running: Optional[int] = None
    requests_waiting: Optional[int] = None
    requests_total: Optional[int] = None
    training: bool = False
    grad_enabled: bool = False
    kv_requires_grad: bool = False  # a cached key holds its graph
    capturing: bool = False


@dataclass(frozen=True)
class Answer:
    """What a worker says of a Clear: at once that it heard it, and later what came of it.

    ``state``: accepted (will be done at the next safe point), busy (the same, and requests run now), done,
    refused (``reason``), failed (``reason``). ``pause``: seconds for which the worker was held up by it.
    """

    id: str = ""
    state: str = ""
    reason: str = ""
    cleared: tuple[Cleared, ...] = ()
    pause: float = 0.0


@dataclass(frozen=True)
class Welcome:
    """The daemon's first message: the worker is enrolled. Seconds between two reports."""

    schema: int = SCHEMA
    report_every: float = 5.0


@dataclass(frozen=True)
class Refused:
    """The daemon's only message to whom it does not enrol."""

    reason: str = ""


@dataclass(frozen=True)
class Clear:
    """The daemon asks to give memory back: ``clears`` of CLEARS, those alone that were offered.

    ``within``: seconds after which it is of no use any more. ``max_pause``: seconds for which running
    requests may be held up; 0: the worker's own bound.
    """

    id: str = ""
    clears: tuple[str, ...] = ()
    within: float = 60.0
    max_pause: float = 0.0


SIGNAL_ID = "signal-"
"""How the id of an Answer begins where a signal asked, which has no id."""

STATES: frozenset[str] = frozenset({"accepted", "busy", "done", "refused", "failed"})

Message = Union[Hello, Report, Answer, Welcome, Refused, Clear]

_TYPES: dict[str, type[Any]] = {
    kind.__name__.lower(): kind for kind in (Hello, Report, Answer, Welcome, Refused, Clear)
}
_NESTED: dict[str, type[Any]] = {"devices": Device, "cleared": Cleared}
_HINTS: dict[type[Any], dict[str, Any]] = {
    kind: get_type_hints(kind) for kind in (*_TYPES.values(), *_NESTED.values())
}


def encode(message: Message) -> bytes:
    """Return the datagram. Errors: WireError when it is longer than LIMIT, or holds what is no JSON."""
    said = {"type": type(message).__name__.lower(), **asdict(message)}
    try:
        text = json.dumps(_told(said), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        raise WireError("holds what cannot be written as JSON") from None
    raw = text.encode(errors="replace")  # what is half a character cannot be sent
    if len(raw) > LIMIT:
        raise WireError(f"{len(raw)} bytes; a message has at most {LIMIT}")
    return raw


def decode(raw: bytes) -> Message:
    """Return the message in a datagram. Errors: WireError for anything that is not one."""
    if len(raw) > LIMIT:
        raise WireError(f"longer than {LIMIT} bytes")
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        raise WireError("not JSON") from None
    if not isinstance(said, dict):
        raise WireError("not a JSON object")
    kind = said.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise WireError("of no known type")
    message = _read(_TYPES[kind], said)
    if isinstance(message, Answer) and message.state not in STATES:
        raise WireError("state: none of " + ", ".join(sorted(STATES)))
    return message  # type: ignore[no-any-return]


def _told(said: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not known, at every depth: absent is read as the default again."""
    return {
        name: [_told(each) if isinstance(each, Mapping) else each for each in value]
        if isinstance(value, (tuple, list))
        else value
        for name, value in said.items()
        if value is not None
    }


def _read(kind: type[Any], said: Mapping[str, Any]) -> Any:
    hints = _HINTS[kind]
    known = {
        each.name: _value(each.name, hints[each.name], said[each.name])
        for each in fields(kind)
        if each.name in said
    }
    try:
        return kind(**known)
    except TypeError:
        raise WireError("a field is missing") from None


def _value(name: str, hint: Any, value: Any) -> Any:
    if hint is bool:
        return _of(name, value, isinstance(value, bool), "true or false")
    if hint is str:
        is_text = isinstance(value, str) and len(value) <= MAX_TEXT
        return _of(name, value, is_text, f"text of at most {MAX_TEXT} characters")
    if hint is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and _is_sane(value)
        return float(_of(name, value, is_number, "a finite number"))
    if hint in (int, Optional[int]):
        is_whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        return _of(name, value, is_whole, "a whole number of 64 bits")
    is_list = isinstance(value, list) and len(value) <= MAX_ITEMS
    items = _of(name, value, is_list, f"a list of at most {MAX_ITEMS}")
    nested = _NESTED.get(name)
    if nested is None:
        return tuple(_value(name, str, each) for each in items)
    return tuple(_read(nested, _of(name, each, isinstance(each, dict), "objects")) for each in items)


def _is_sane(value: float) -> bool:
    return abs(value) < 2**63 and math.isfinite(value)


def _of(name: str, value: Any, is_right: bool, wanted: str) -> Any:
    if not is_right:
        raise WireError(f"{name}: not {wanted}")
    return value
