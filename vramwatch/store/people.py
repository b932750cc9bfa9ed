"""Processes and their owners as rows. An Owner is fixed once a process has it."""

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from vramwatch.core.model import Owner, ProcessKey, Tenant
from vramwatch.store import tables as t
from vramwatch.store.known import Known, KnownProcess, known_process
from vramwatch.store.rows import key_values, owner_values, process_values, storable


def meet(connection: Connection, known: Known, tenant: Tenant, seq: int) -> int:
    """Return the id of the process of ``tenant``, written down or brought up to date if need be."""
    key = tenant.facts.key
    process = known.processes.get(key) or _find(connection, key) or _write(connection, tenant, seq)
    known.processes[key] = process
    if process.met != tenant:
        _bring_up_to_date(connection, process, tenant)
    return process.id


def depart(connection: Connection, known: Known, key: ProcessKey) -> None:
    """Forget a process that is on no GPU any more; the newest stored poll saw it last."""
    process = known.processes.pop(key)
    last_seq = known.last and known.last.seq
    connection.execute(update(t.process).where(t.process.c.id == process.id).values(last_seq=last_seq))


def owner_id(connection: Connection, owner: Owner) -> int:
    """Return the id of ``owner``, written down or brought up to date if need be."""
    values = owner_values(owner)
    found = connection.execute(select(t.owner).where(t.owner.c.key == values["key"])).first()
    if found is None:
        return connection.execute(insert(t.owner), values).lastrowid
    if found.name != values["name"]:
        _alias(connection, found.id, found.name)
    connection.execute(update(t.owner).where(t.owner.c.id == found.id), values)
    return int(found.id)


def _find(connection: Connection, key: ProcessKey) -> KnownProcess | None:
    """Return a process that left the GPUs and is back."""
    wanted = (
        select(t.process, *t.OWNER_COLUMNS)
        .select_from(t.process.join(t.owner, t.owner.c.id == t.process.c.owner))
        .where(*(t.process.c[name] == value for name, value in key_values(key).items()))
    )
    row = connection.execute(wanted).first()
    if row is None:
        return None
    connection.execute(update(t.process).where(t.process.c.id == row.id).values(last_seq=None))
    return known_process(row)


def _write(connection: Connection, tenant: Tenant, seq: int) -> KnownProcess:
    owner = owner_id(connection, tenant.owner)
    values = {**key_values(tenant.facts.key), **process_values(tenant), "owner": owner, "first_seq": seq}
    return KnownProcess(connection.execute(insert(t.process), values).lastrowid, owner, tenant)


def _bring_up_to_date(connection: Connection, process: KnownProcess, tenant: Tenant) -> None:
    """Write what has changed of a known process, but never give it to another owner.

    A better name learnt later becomes an alias. A pid that was never seen alive (start_ticks 0) has no
    identity that an owner could be fixed to.
    """
    met = process.met
    if tenant.owner.key == met.owner.key or not tenant.facts.key.start_ticks:
        if tenant.owner != met.owner:
            process.owner = owner_id(connection, tenant.owner)
    else:
        _alias(connection, process.owner, tenant.owner.name)
    values = {**process_values(tenant), "owner": process.owner}
    connection.execute(update(t.process).where(t.process.c.id == process.id), values)
    process.met = tenant


def _alias(connection: Connection, owner: int, name: str) -> None:
    values = storable({"owner": owner, "name": name})
    connection.execute(sqlite_insert(t.alias).on_conflict_do_nothing(), values)
