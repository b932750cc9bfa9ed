"""The tables as SQLAlchemy Core names them. Types, keys and meanings are in migrations/, which makes them."""

from sqlalchemy import TableClause, column, table


def _table(name: str, columns: str) -> TableClause:
    return table(name, *(column(each) for each in columns.split()))


run = _table("run", "id boot_id source version started_wall last_seq clean host")
pace = _table("pace", "id interval list_interval lowered_because")
gpu = _table("gpu", "id uuid ordinal name pci parent unified")
owner = _table("owner", "id key name kind team budget")
alias = _table("alias", "owner name")
process = _table(
    "process",
    "id boot_id pid start_ticks owner user command container pod namespace unit job engine model facts"
    " first_seq last_seq",
)
holding = _table("holding", "gpu process since_seq until_seq kinds ghost state state_since")
series = _table("series", "id gpu kind subject quantity unit owner process ended_seq")
hour = _table("hour", "id wall last_seq polls since_wall until_wall last_wall last_boottime run")
tick = _table("tick", "seq hour last_seq complete polls")
sweep = _table("sweep", "hour id series")
note = _table("note", "id basis explanations")
axis = _table("axis", "hour polls")
raw = _table("raw", "hour gpu samples")
minutes = _table("minutes", "hour gpu rollups")
hourly = _table("hourly", "series hour count first last minimum mean maximum ended")
gap = _table("gap", "id gpu reason detail call code since_seq since_wall until_seq until_wall")
event = _table("event", "id seq wall kind gpu detail author pid numbers origin")
incident = _table("incident", "id gpu kind owner opened")
transition = _table(
    "transition",
    "id seq wall boottime boot_id incident state severity cause pattern pid rate_low rate_median rate_high"
    " exhaustion_at exhaustion_low exhaustion_high abstention reason evidence ruled_out others"
    " alternatives scene",
)
checkpoint = _table("checkpoint", "seq wall boottime boot_id version state")
delivery = _table(
    "delivery", "id channel key kind made text attempts uncertain due outcome detail ended reference"
)
step = _table(
    "step", "id seq wall incident transition_id channel notice severity due withheld detail delivery"
)
attempt = _table(
    "attempt",
    "number id seq wall incident gpu owner remedy withheld detail plan targets gpus before_bytes"
    " wanted_bytes dry_run costs_service result said freed_bytes seconds pause_seconds ended",
)
silence = _table("silence", "id author reason since until matcher")
probe = _table(
    "probe",
    "number id made seq author scheduled accepted digest model device asked environment figures faults",
)
remark = _table("remark", "id incident wall kind author note severity")

TABLES = (
    *(run, pace, gpu, owner, alias, process, holding, series, gap, event),
    *(hour, tick, sweep, note, axis, raw, minutes, hourly),
    *(incident, transition, checkpoint),
    *(delivery, step, attempt, silence, remark),
    probe,
)

OWNER_COLUMNS = tuple(
    owner.c[name].label(f"owner_{name}") for name in ("key", "name", "kind", "team", "budget")
)
"""What ``rows.owner_of`` reads, in a select that joins the table owner to others."""
