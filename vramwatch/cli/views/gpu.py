"""One Gpu's Ledger as lines: heading, bar, a row for each part, a sentence for each doubt."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from itertools import groupby

from vramwatch.cli.views.bar import GHOST, UNATTRIBUTED, Mark, Part, bar
from vramwatch.cli.views.text import Glyphs, Line, Span, Tone, columns, fit, left, line, right, wrap
from vramwatch.cli.views.words import GHOST_STATE, change_words, explain, pids
from vramwatch.cli.when import show_when
from vramwatch.core.model import (
    Explanation,
    Gpu,
    Holding,
    Instant,
    Ledger,
    MemoryBasis,
    Owner,
    SeriesKey,
    SubjectKind,
)
from vramwatch.core.series import USED_BYTES
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes, show_seconds

FIGURE = 10
"""Columns of a byte figure: the longest is "-1023 MiB"."""

SHORTEST_NAME = 12
"""Columns that a name gets however narrow the terminal is."""

ROOMY = 72
"""Columns from which a row has room for its pids, and a heading for its figures."""

LIST_AGE_SAID = 10.0
"""Seconds from which a process list is old enough to say so; lists are read every 5 s by default."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What all GPUs of one view have in common."""

    width: int
    glyphs: Glyphs
    now: float  # unix seconds
    zone: tzinfo | None
    marks: Mapping[str, Mark]
    changes: Mapping[SeriesKey, int]
    newcomers: Collection[SeriesKey]  # that came within ``span``
    span: float | None  # seconds that ``changes`` cover
    shows_free: bool = True  # whether what is free and reserved has rows of its own
    most_owners: int | None = None  # so many of a Gpu have a row each, the largest; None: all
    names_devices: bool = False  # whether each Gpu is told with its UUID and its place on the bus


@dataclass(frozen=True, slots=True)
class Share:
    """What one Owner's living processes hold together on one Gpu."""

    owner: Owner
    holdings: tuple[Holding, ...]

    @property
    def held(self) -> int | None:
        """Bytes; None when not one of its processes has a figure."""
        known = [holding.held for holding in self.holdings if holding.held is not None]
        return sum(known) if known else None

    @property
    def withheld(self) -> list[int]:
        return [holding.pid for holding in self.holdings if holding.held is None]


@dataclass(frozen=True, slots=True)
class Row:
    """One line under a bar."""

    letter: str
    name: str
    held: int | None
    note: str = ""
    change: str = ""  # as it is shown; empty: it has none
    tone: Tone = Tone.PLAIN
    colour: int | None = None
    signed: bool = False


def shares(ledger: Ledger) -> list[Share]:
    """Return the Owners with living processes on this Gpu, largest first, those without a figure last."""
    living = sorted((h for h in ledger.holdings if h.ghost is None), key=lambda h: h.tenant.owner.key)
    grouped = [tuple(group) for _, group in groupby(living, key=lambda h: h.tenant.owner.key)]
    found = [Share(group[0].tenant.owner, group) for group in grouped]
    return sorted(found, key=lambda share: (share.held is None, -(share.held or 0), share.owner.key))


def gpu_lines(ledger: Ledger, frame: Frame, depth: int) -> list[Line]:
    """Return the lines of one Gpu, ``depth`` steps of two columns in."""
    indent = 2 * depth
    rows = _rows(ledger, frame)
    return [
        *_heading(ledger, frame, indent),
        *(wrap(device_words(ledger.gpu), frame.width, indent + 2, Tone.FAINT) if frame.names_devices else []),
        *_age_lines(ledger, frame, indent),
        _indented(bar(_parts(ledger, frame), frame.width - indent), indent),
        *(each for row in rows for each in _row_lines(row, _name_width(rows, frame, indent), frame, indent)),
        *_sentences(ledger, frame.width, indent),
    ]


def device_words(gpu: Gpu) -> str:
    """Return "GPU-1e2feb89-…, PCI 00000000:65:00.0": what other programs know a Gpu by."""
    return clean(gpu.uuid) + (f", PCI {clean(gpu.pci)}" if gpu.pci else "")


def _heading(ledger: Ledger, frame: Frame, indent: int) -> list[Line]:
    memory = ledger.memory
    percent = f" ({memory.used / memory.total:.0%})" if memory.total else ""
    figures = [f"{show_bytes(memory.used)} of {show_bytes(memory.total)}{percent}"]
    if frame.span is not None:
        figures.append(change_words(_change(ledger, SubjectKind.GPU, "", frame), frame.span))
    who = " " * indent + f"GPU {ledger.gpu.ordinal}  {clean(ledger.gpu.name)}"
    if frame.width < ROOMY:
        who = fit(who, frame.width, frame.glyphs.ellipsis)
        return [line(who, Tone.STRONG), *(line(" " * (indent + 2) + figure) for figure in figures)]
    beside = "  " + "  ".join(figures)
    who = left(who, frame.width - columns(beside), frame.glyphs.ellipsis)
    return [Line((Span(who, Tone.STRONG), Span(beside)))]


def _age_lines(ledger: Ledger, frame: Frame, indent: int) -> list[Line]:
    """Say how old the process list is, where that matters."""
    if ledger.listed is None:
        if Explanation.NO_LIST in ledger.explanations:
            return []  # which is a sentence of its own
        return wrap("no process list was ever read", frame.width, indent + 2, Tone.WARNING)
    lag = _lag(ledger.listed, ledger.at)
    if lag <= LIST_AGE_SAID:
        return []
    words = f"its process list is {show_seconds(round(lag))} older than its memory figures"
    return wrap(words, frame.width, indent + 2, Tone.FAINT)


def _lag(earlier: Instant, later: Instant) -> float:
    if earlier.boot_id == later.boot_id:
        return later.boottime - earlier.boottime
    return later.wall - earlier.wall


def _parts(ledger: Ledger, frame: Frame) -> list[Part]:
    memory = ledger.memory
    held = [_owner_part(share, frame) for share in shares(ledger)]
    held.append(Part(GHOST, ledger.ghost_bytes, Tone.GHOST))
    return [
        *_within(held, memory.used),
        Part(UNATTRIBUTED, ledger.unattributed, Tone.UNATTRIBUTED),
        Part(frame.glyphs.free, memory.free, Tone.FAINT),
        Part(frame.glyphs.reserved, memory.reserved, Tone.FAINT),
    ]


def _owner_part(share: Share, frame: Frame) -> Part:
    mark = frame.marks[share.owner.key]
    return Part(mark.letter, share.held or 0, colour=mark.colour)


def _within(parts: list[Part], used: int) -> list[Part]:
    """Return the parts scaled down to ``used`` bytes where shared memory makes them claim more."""
    claimed = sum(part.size for part in parts)
    if claimed <= used:
        return parts
    return [Part(part.glyph, part.size * used // claimed, part.tone, part.colour) for part in parts]


def _rows(ledger: Ledger, frame: Frame) -> list[Row]:
    rows = _largest([_owner_row(ledger, share, frame) for share in shares(ledger)], frame.most_owners)
    rows += [_ghost_row(holding, ledger, frame) for holding in ledger.holdings if holding.ghost]
    if ledger.unattributed or ledger.explanations:
        rows.append(_unattributed_row(ledger, frame))
    return [*rows, *_free_rows(ledger, frame)] if frame.shows_free else rows


def _largest(rows: list[Row], most: int | None) -> list[Row]:
    """Return the first ``most`` of the rows, which are largest first, and one row for all others."""
    if most is None or len(rows) <= most + 1:
        return rows
    rest = rows[most:]
    known = [row.held for row in rest if row.held is not None]
    return [*rows[:most], Row("+", f"{len(rest)} more", sum(known) if known else None, tone=Tone.FAINT)]


def _free_rows(ledger: Ledger, frame: Frame) -> list[Row]:
    rows = [Row(frame.glyphs.free, "free", ledger.memory.free, tone=Tone.FAINT)]
    v1 = ledger.memory.basis is MemoryBasis.V1
    if v1 or ledger.memory.reserved:
        reserved = None if v1 else ledger.memory.reserved
        rows.append(Row(frame.glyphs.reserved, "reserved", reserved, tone=Tone.FAINT))
    return rows


def _owner_row(ledger: Ledger, share: Share, frame: Frame) -> Row:
    mark = frame.marks[share.owner.key]
    known = [holding.pid for holding in share.holdings if holding.held is not None]
    notes = [pids(known)] if known else []
    if share.withheld:
        notes.append(f"{pids(share.withheld)} n/a")
    notes += _pool_notes(ledger, {holding.pid for holding in share.holdings})
    return Row(
        mark.letter,
        clean(share.owner.name) or clean(share.owner.key) or "(no name)",
        share.held,
        ", ".join(notes),
        change=_shown_change(ledger, SubjectKind.OWNER, share.owner.key, frame),
        colour=mark.colour,
    )


def _pool_notes(ledger: Ledger, members: Collection[int]) -> list[str]:
    """Return how full the fullest KV pool of these processes is, and what waits; empty where none tells."""
    told: dict[str, float] = {}
    for gauge in ledger.reading.gauges:
        if gauge.pid in members:
            told[gauge.quantity] = max(gauge.value, told.get(gauge.quantity, 0.0))
    used, waiting = told.get("engine_kv_ratio"), told.get("requests_waiting")
    if used is None:
        return []
    return [f"KV {used:.0%} full", *([f"{waiting:.0f} waiting"] if waiting else [])]


def _ghost_row(holding: Holding, ledger: Ledger, frame: Frame) -> Row:
    facts = holding.tenant.facts
    state = GHOST_STATE[holding.ghost] if holding.ghost else ""
    note = f"pid {holding.pid}, {state}"
    if (start := ghost_since(holding, ledger)) is not None:
        note += f" since {show_when(start, frame.now, frame.zone)}"
    if facts.name:
        note += f", was {clean(facts.name)}"
    name = clean(holding.tenant.owner.name) or clean(holding.tenant.owner.key)
    return Row(GHOST, f"ghost of {name}", holding.held, note, tone=Tone.GHOST)


def ghost_since(holding: Holding, ledger: Ledger) -> float | None:
    """Return when the process was first seen dead or stuck, unix seconds; None where that is not known."""
    facts = holding.tenant.facts
    if not facts.state_since or facts.key.boot_id != ledger.at.boot_id:
        return None
    return ledger.at.wall - (ledger.at.boottime - facts.state_since)


def _unattributed_row(ledger: Ledger, frame: Frame) -> Row:
    return Row(
        UNATTRIBUTED,
        "unattributed",
        ledger.unattributed,
        change=_shown_change(ledger, SubjectKind.UNATTRIBUTED, "", frame),
        tone=Tone.UNATTRIBUTED,
        signed=True,
    )


def _name_width(rows: list[Row], frame: Frame, indent: int) -> int:
    """Return the columns for names: as many as the longest needs, within what the figures leave."""
    figures = 2 * FIGURE if frame.span is not None else FIGURE
    room = frame.width - indent - 4 - figures
    if frame.width >= ROOMY:
        room = room * 3 // 5  # the rest is for the notes
    return max(SHORTEST_NAME, min(room, max((columns(row.name) for row in rows), default=0)))


def _row_lines(row: Row, name_width: int, frame: Frame, indent: int) -> list[Line]:
    """Return the lines of ``row``; a name that has no room beside its figures has a line of its own."""
    figure = show_bytes(row.held, signed=row.signed)
    margin, mark = Span(" " * indent + "  "), Span(row.letter, row.tone, row.colour)
    if columns(row.name) > name_width:
        name = fit(row.name, frame.width - indent - 4, frame.glyphs.ellipsis)
        above = [Line((margin, mark, Span(" " + name)))]
        spans = [Span(" " * (indent + 4 + name_width))]
    else:
        above = []
        spans = [margin, mark, Span(" " + left(row.name, name_width, frame.glyphs.ellipsis))]
    return above + _figure_lines(row, [*spans, Span(right(figure, FIGURE))], frame, indent)


def _figure_lines(row: Row, spans: list[Span], frame: Frame, indent: int) -> list[Line]:
    """Return ``spans`` with the change and the note of ``row`` behind them, or the note below."""
    if frame.span is not None:
        spans.append(Span(right(row.change, FIGURE), Tone.FAINT))
    room = frame.width - sum(columns(span.text) for span in spans) - 2
    if not row.note:
        return [Line(tuple(spans))]
    if columns(row.note) <= room:
        return [Line((*spans, Span("  " + row.note, Tone.FAINT)))]
    return [Line(tuple(spans)), *wrap(row.note, frame.width, indent + 4, Tone.FAINT)]


def _sentences(ledger: Ledger, width: int, indent: int) -> list[Line]:
    spoken = [explain(explanation, ledger) for explanation in ledger.explanations]
    if ledger.memory.basis is MemoryBasis.UNIFIED:
        spoken.append("This GPU shares the host's memory: used is the sum of its processes.")
    return [each for sentence in spoken for each in wrap(sentence, width, indent + 4, Tone.FAINT)]


def _indented(drawn: Line, indent: int) -> Line:
    return Line((Span(" " * indent), *drawn.spans))


def _shown_change(ledger: Ledger, kind: SubjectKind, subject: str, frame: Frame) -> str:
    """Return "+1.2 GiB", "new" for who came within the span, "n/a" where it is not known."""
    if SeriesKey(ledger.gpu.uuid, kind, subject, USED_BYTES) in frame.newcomers:
        return "new"
    return show_bytes(_change(ledger, kind, subject, frame), signed=True)


def _change(ledger: Ledger, kind: SubjectKind, subject: str, frame: Frame) -> int | None:
    return frame.changes.get(SeriesKey(ledger.gpu.uuid, kind, subject, USED_BYTES))
