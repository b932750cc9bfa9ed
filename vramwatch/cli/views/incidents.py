"""Incidents as people see them: a line each, or one in full; and as data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo

from vramwatch.cli.views.history import readable_width
from vramwatch.cli.views.text import Line, Tone, columns, fit, left, line, wrap
from vramwatch.cli.views.words import join_sentences
from vramwatch.cli.when import show_when
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Incident, Reason, Severity, State
from vramwatch.core.messages import Host, command_lines, full_id, item_of, sentences, title
from vramwatch.core.model import Gpu
from vramwatch.core.records import Json, moment, transition_record
from vramwatch.core.texts import clean
from vramwatch.core.wording import clock, subject_words, what_words
from vramwatch.store import Entry, Remark, RemarkKind

COLUMNS = (
    "incident", "opened", "opened_iso", "moved", "moved_iso", "state", "severity", "gpu", "subject_kind",
    "owner", "pid", "pattern", "cause", "rate_bytes_per_hour", "exhaustion_at", "exhaustion_low",
    "exhaustion_high", "told", "acknowledged_by", "marked",
)  # fmt: skip

ID_SHOWN = 8
"""Digits of an id that a list shows: as many as a person types, and few enough that they differ."""

_HEADINGS = ("id", "severity", "state", "opened", "ends", "told to", "what")
_GAP = 2

SAID = {
    RemarkKind.ACK: "acknowledged",
    RemarkKind.RESOLVE: "resolved",
    RemarkKind.FALSE_ALARM: "marked as a false alarm",
    RemarkKind.TRUE_ALARM: "marked as a true alarm",
}


MARKS = frozenset({RemarkKind.FALSE_ALARM, RemarkKind.TRUE_ALARM})
"""What says whether it was right to call."""


def list_lines(
    entries: Sequence[Entry], gpus: Mapping[str, Gpu], now: float, width: int | None, zone: tzinfo | None
) -> list[Line]:
    """Return a table, what is open first; narrow terminals get two lines each. None: as wide as it takes."""
    ordered = sorted(entries, key=_place)
    rows = [_row(entry, gpus, now, zone) for entry in ordered]
    tones = [tone(entry.case.incident) for entry in ordered]
    if not rows:
        return []
    widths = [max(map(columns, cells)) for cells in zip(_HEADINGS, *rows, strict=True)]
    room = widths[-1] if width is None else width - sum(widths[:-1]) - _GAP * (len(widths) - 1)
    if width is not None and room < min(24, widths[-1]):
        return [each for row, tone in zip(rows, tones, strict=True) for each in _folded(row, tone, width)]
    widths[-1] = min(room, widths[-1])
    titles = (_HEADINGS, Tone.FAINT)
    return [_table_line(cells, widths, tone) for cells, tone in (titles, *zip(rows, tones, strict=True))]


def _place(entry: Entry) -> tuple[int, bool, float]:
    """Return where an incident stands: what fires, what is pending, what is over; the newest first."""
    incident = entry.case.incident
    state = (State.FIRING, State.PENDING, State.RESOLVED).index(incident.state)
    is_mild = incident.state is State.FIRING and incident.judgement.severity is Severity.WARNING
    return state, is_mild, -entry.case.newest.at.wall


def _row(entry: Entry, gpus: Mapping[str, Gpu], now: float, zone: tzinfo | None) -> tuple[str, ...]:
    incident, judgement = entry.case.incident, entry.case.incident.judgement
    forecast, ends = judgement.forecast, "-"
    if isinstance(forecast, Exhaustion) and incident.state is not State.RESOLVED:
        ends = show_when(forecast.at, now, zone) + (" (past)" if forecast.at <= now else "")
    what = f"{subject_words(incident.subject, gpus)}: {what_words(incident)}"
    said = "".join(f", {each}" for each in dict.fromkeys(SAID[each] for each in _standing_remarks(entry)))
    opened = show_when(incident.opened, now, zone)
    told = ", ".join(map(clean, entry.told)) or "-"
    grade = judgement.severity.upper() if incident.state is State.FIRING else str(judgement.severity)
    return incident.id[:ID_SHOWN], grade, str(incident.state), opened, ends, told, what + said


def _standing_remarks(entry: Entry) -> list[RemarkKind]:
    """Return what people said that still holds.

    What was over since is no longer acknowledged, and what has returned since is no longer resolved.
    """
    lapsed = set()
    if entry.case.acknowledged is None:
        lapsed.add(RemarkKind.ACK)
    if entry.case.newest.reason is not Reason.DISMISSED:
        lapsed.add(RemarkKind.RESOLVE)
    return [each.kind for each in entry.remarks if each.kind not in lapsed]


def _table_line(cells: Sequence[str], widths: Sequence[int], look: Tone) -> Line:
    *most, last = zip(cells, widths, strict=True)
    return line("".join(left(cell, width + _GAP, "") for cell, width in most) + fit(*last, "…"), look)


def _folded(row: Sequence[str], look: Tone, width: int) -> list[Line]:
    id, grade, state, opened, ends, told, what = row
    about = [f"{state} since {opened}", *([f"ends {ends}"] if ends != "-" else []), f"told to {told}"]
    return [*wrap(f"{id}  {grade}  {what}", width, 0, look), *wrap(", ".join(about), width, 4)]


def tone(incident: Incident) -> Tone:
    """Return how an incident is shown: what calls people stands out, what does not steps back."""
    if incident.state is not State.FIRING:
        return Tone.FAINT
    return Tone.GHOST if incident.judgement.severity is Severity.CRITICAL else Tone.WARNING


def show_lines(entry: Entry, host: Host, newest: float, width: int, zone: tzinfo | None) -> list[Line]:
    """Return one incident as a message tells it, with what people said and the next commands.

    ``newest``: when the newest poll was, unix seconds: the time left is counted from there.
    """
    item, width = replace(item_of(entry.case), told_at=newest), readable_width(width)
    told = ", ".join(map(clean, entry.told)) or "nobody"
    says = [
        f"{full_id(item.incident, host)}, {item.incident.state}",
        *sentences(item, host, zone),
        f"Told to {told}",
    ]
    return [
        *wrap(title(item), width, 0, tone(item.incident)),
        *(each for words in says for each in wrap(join_sentences(words), width, 2)),
        *(each for remark in entry.remarks for each in wrap(remark_words(remark, zone), width, 2)),
        *(line(f"  {each}", Tone.STRONG) for each in command_lines(item, host)),
    ]


def remark_words(remark: Remark, zone: tzinfo | None) -> str:
    """Return "2026-11-22 03:12 acknowledged by anna as root (uid 0, pid 7): restart tonight"."""
    note = f": {clean(remark.note)}" if remark.note else ""
    return f"{clock(remark.wall, zone)} {SAID[remark.kind]} by {clean(remark.author)}{note}"


# --- data ---------------------------------------------------------------------------------------


def entry_record(entry: Entry, host: Host) -> Json:
    """Return one object: the incident as it stands, whom it was told to, what people said."""
    told = entry.case.acknowledged
    return {
        **transition_record(entry.case.newest),
        "id": full_id(entry.case.incident, host),
        **moment("opened", entry.case.incident.opened),
        "title": title(item_of(entry.case)),
        "told": list(entry.told),
        "acknowledged": None if told is None else {**moment("time", told.at), "author": told.author},
        "remarks": [remark_record(each) for each in entry.remarks],
    }


def remark_record(remark: Remark) -> Json:
    return {
        **moment("time", remark.wall),
        "kind": str(remark.kind),
        "author": remark.author,
        "note": remark.note,
        "severity": str(remark.severity),
    }


def entry_row(entry: Entry) -> tuple[object, ...]:
    """Return one row of COLUMNS; what is not known is empty."""
    record = transition_record(entry.case.newest)
    opened, exhaustion = moment("opened", entry.case.incident.opened), record["exhaustion"] or {}
    marked = [each.kind for each in entry.remarks if each.kind in MARKS]
    fields = (
        *(record["incident"], *opened.values(), record["time"], record["time_iso"], record["state"]),
        *(record["severity"], record["gpu"], record["subject"]["kind"]),
        *(clean(record["subject"]["owner"] or ""), record["pid"], record["pattern"], record["cause"]),
        *(record["rate_bytes_per_hour"], *(exhaustion.get(name) for name in ("at", "low", "high"))),
        *(" ".join(entry.told), entry.case.acknowledged and entry.case.acknowledged.author),
        str(marked[-1]) if marked else None,
    )
    return tuple("" if each is None else each for each in fields)
