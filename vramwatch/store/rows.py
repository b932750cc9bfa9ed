"""Records as rows, and rows as records again."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row

from vramwatch.core.model import (
    Container,
    EngineFacts,
    Event,
    EventKind,
    Fault,
    FaultKind,
    Gpu,
    Instant,
    Origin,
    Owner,
    OwnerKind,
    Pod,
    ProcessFacts,
    ProcessKey,
    ProcessState,
    SlurmJob,
    Tenant,
)
from vramwatch.core.units import Bytes
from vramwatch.store.columns import Value

Values = dict[str, object]
"""One row to be written: column -> value."""

UNITS = frozenset({"bytes", "ratio", "celsius", "watts", "seconds"})
"""Units that a quantity's name can end in; any other quantity is a number of things: requests_running."""


def unit_of(quantity: str) -> str:
    """Return the unit in which ``quantity`` is stored: "bytes" for used_bytes, "count" for requests_total."""
    unit = quantity.rpartition("_")[2]
    return unit if unit in UNITS else "count"


def join_words(words: Iterable[str]) -> str:
    """Return words of our own vocabulary as one column. Inverse: ``split_words``."""
    return ",".join(words)


def split_words(column: str) -> list[str]:
    return column.split(",") if column else []


def storable(values: Values) -> Values:
    """Return ``values`` with every text as UTF-8 can hold it: other users choose names, not all in UTF-8."""
    return {
        column: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for column, value in values.items()
    }


SHARE_PARTS = 10_000
"""The share of driver time is kept to a hundredth of a percent."""

LARGEST = 1 << 62
"""Beyond it no figure is kept: 4 EiB, more than any GPU or counter of one has."""


def kept_value(unit: str, told: float) -> Value | None:
    """Return the value that is kept of ``told``: an int for bytes, else a float; None: none can be."""
    if not abs(told) <= LARGEST:  # nor does any comparison hold for NaN
        return None
    return int(told) if unit == "bytes" else float(told) + 0.0  # the sum has no negative zero


def value_of(unit: str, stored: float | None) -> Value | None:
    """Return a value from a plain column: SQLite keeps whole numbers as integers."""
    return stored if stored is None or unit == "bytes" else float(stored)


def gpu_values(gpu: Gpu) -> Values:
    return storable(asdict(gpu))


def gpu_of(row: Row[Any]) -> Gpu:
    """Return the Gpu of a row that holds the columns of the table gpu."""
    return Gpu(row.uuid, row.ordinal, row.name, row.pci, row.parent, bool(row.unified))


def owner_values(owner: Owner) -> Values:
    return storable(asdict(owner))


def process_values(tenant: Tenant) -> Values:
    """Return what is known of a process: columns for people, and as JSON all but its arguments.

    The arguments are there to recognise a process by; what people are shown of them is its title.
    """
    facts, engine = tenant.facts, tenant.engine
    container, pod, slurm = facts.container, facts.pod, facts.slurm
    known = asdict(facts)
    for apart in ("key", "argv", "ancestors"):  # the key has columns of its own
        del known[apart]
    columns: Values = {
        "user": facts.user if facts.uid is None else facts.user or str(facts.uid),
        "command": facts.title or facts.name,
        "container": container and (container.name or container.id),
        "pod": pod and (pod.name or pod.uid),
        "namespace": pod and pod.namespace,
        "unit": facts.unit,
        "job": slurm and slurm.job,
        "engine": engine and engine.engine,
        "model": engine and engine.model,
        "facts": json.dumps({"facts": known, "engine": engine and asdict(engine)}, separators=(",", ":")),
    }
    return storable(columns)


def process_of(key: ProcessKey, column: str) -> tuple[ProcessFacts, EngineFacts | None]:
    """Return what ``process_values`` kept in its column ``facts``.

    Errors: ValueError, TypeError or KeyError for what it did not write.
    """
    stored = json.loads(column)
    known, engine = stored["facts"], stored["engine"]
    facts = ProcessFacts(
        **{
            **known,
            "key": key,
            "state": ProcessState(known["state"]),
            "container": known["container"] and Container(**known["container"]),
            "pod": known["pod"] and Pod(**known["pod"]),
            "slurm": known["slurm"] and SlurmJob(**known["slurm"]),
        }
    )
    return facts, engine and EngineFacts(**engine)


def fault_values(fault: Fault) -> Values:
    return storable(
        {"reason": fault.kind.value, "detail": fault.detail, "call": fault.call, "code": fault.code}
    )


def fault_of(row: Row[Any]) -> Fault:
    """Return the Fault of a row of the table gap."""
    return Fault(FaultKind(row.reason), row.detail, row.call, row.code)


def key_values(key: ProcessKey) -> Values:
    return storable(asdict(key))


def event_values(event: Event, at: Instant) -> Values:
    numbers = json.dumps(dict(event.numbers), separators=(",", ":")) if event.numbers else None
    kept = {name: getattr(event, name) for name in ("kind", "detail", "gpu", "author", "pid", "origin")}
    return storable({**kept, "numbers": numbers, "seq": at.seq, "wall": at.wall})


def event_of(row: Row[Any]) -> Event:
    """Return the Event of a row of the table event."""
    numbers = json.loads(row.numbers) if row.numbers else {}
    origin = Origin(row.origin) if row.origin else None
    return Event(EventKind(row.kind), row.detail, row.gpu, row.author, row.pid, numbers, origin)


def owner_of(row: Row[Any]) -> Owner:
    """Return the Owner of a row whose columns of the table owner begin with ``owner_``."""
    budget = None if row.owner_budget is None else Bytes(row.owner_budget)
    return Owner(row.owner_key, row.owner_name, OwnerKind(row.owner_kind), row.owner_team, budget)
