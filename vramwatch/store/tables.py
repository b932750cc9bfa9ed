"""The tables as SQLAlchemy Core names them. Types, keys and meanings are in migrations/, which makes them."""

from typing import Any

from sqlalchemy import ScalarSelect, TableClause, column, select, table


def _table(name: str, columns: str) -> TableClause:
    return table(name, *(column(each) for each in columns.split()))


run = _table("run", "id boot_id source version started_wall last_seq clean")
pace = _table("pace", "id interval list_interval lowered_because")
poll = _table("poll", "seq wall boottime run pace driver_share")
gpu = _table("gpu", "id uuid ordinal name pci parent unified")
ledger = _table("ledger", "gpu seq basis explanations listed_seq")
owner = _table("owner", "id key name kind team budget")
alias = _table("alias", "owner name")
process = _table(
    "process",
    "id boot_id pid start_ticks owner user command container pod namespace unit job engine model facts"
    " first_seq last_seq",
)
holding = _table("holding", "gpu process since_seq until_seq kinds ghost state state_since")
series = _table("series", "id gpu kind subject quantity unit owner process ended_seq")
sample = _table("sample", "series seq value")
gap = _table("gap", "id gpu reason detail call code since_seq since_wall until_seq until_wall")
event = _table("event", "id seq wall kind gpu detail author")

TABLES = (run, pace, poll, gpu, ledger, owner, alias, process, holding, series, sample, gap, event)

OWNER_COLUMNS = tuple(
    owner.c[name].label(f"owner_{name}") for name in ("key", "name", "kind", "team", "budget")
)
"""What ``rows.owner_of`` reads, in a select that joins the table owner to others."""


def newest_value(seq: int) -> ScalarSelect[Any]:
    """Return the value that held at ``seq``, to be selected beside the table series. NULL: none."""
    return (
        select(sample.c.value)
        .where(sample.c.series == series.c.id, sample.c.seq <= seq)
        .order_by(sample.c.seq.desc())
        .limit(1)
        .correlate(series)
        .scalar_subquery()
    )
