"""A report as one HTML file that holds all it needs: no script, and nothing that is loaded."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from html import escape

from vramwatch.cli.gathering import LAYERS, LOAD, OWNER, Case, Curve
from vramwatch.cli.views.chart import Chart, Cone, ShownPoint, draw
from vramwatch.cli.views.page import document, section, text
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import State, Transition
from vramwatch.core.messages import Host, Item, full_id, sentences, title
from vramwatch.core.model import Ledger
from vramwatch.core.policy import Notice, Withheld
from vramwatch.core.poll import Poll
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes, show_seconds
from vramwatch.core.verdicts import OUT_OF_MEMORY
from vramwatch.core.wording import BECAUSE, CAUSES, clock, zone_name
from vramwatch.store import StepRow

LEAST_SHARE = 0.05
"""Of the highest curve of a flight record: lower ones are left out."""

AHEAD = 1.0
"""How far a forecast is shown into the future, as a share of the past that is shown."""

POOL_LEAK = "pool_leak"
"""The pattern whose end is that of a pool within what its process holds, and not the GPU's."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a report comes from. ``configuration``: as text, without secrets; empty: left out."""

    host: Host
    version: str
    made: float  # unix seconds
    configuration: str


def page(case: Case, origin: Origin, zone: tzinfo | None) -> str:
    """Return the whole page."""
    incident = case.newest.incident
    is_over = incident.state is State.RESOLVED
    item = Item(Notice.OPENED, case.newest, told_at=None if is_over else case.until)
    heading, last = title(item), "at the end" if is_over else "at the newest poll"
    parts = (
        _summary(case, item, origin, zone),
        *section("Memory", _memory(case, zone)),
        *section("Load", _load(case, zone)),
        *section("The minutes before it ran out of memory", _flight(case, zone)),
        *section("Evidence", _evidence(case)),
        *section("Who held what when it opened", _ledger(case.before, incident.subject.gpu, zone)),
        *section(f"Who held what {last}", _ledger(case.after, incident.subject.gpu, zone)),
        *section("Timeline", _course(case.chain.transitions, zone)),
        *section("Who was told, and who was not", _told(case.chain.steps, zone)),
        *section("What people said", _said(case, zone)),
        *section("What happened to vramwatch meanwhile", _events(case, zone)),
        *section("Configuration", _configuration(origin.configuration)),
    )
    return document(f"{origin.host.name}: {heading}", parts)


def _summary(case: Case, item: Item, origin: Origin, zone: tzinfo | None) -> str:
    incident = case.newest.incident
    tone = "resolved" if item.is_over else incident.judgement.severity.value
    told = "".join(f"<li>{text(each)}.</li>" for each in sentences(item, origin.host, zone))
    made = f"{clock(origin.made, zone)} {zone_name(origin.made, zone)}"
    return (
        f'<h1><span class="{tone}">{text(title(item))}</span></h1>\n'
        f'<p class="faint">{text(full_id(incident, origin.host))}, seen by vramwatch '
        f"{text(origin.version)}; this report was made {made}. Times are in this zone.</p>\n<ul>{told}</ul>"
    )


# --- curves ---------------------------------------------------------------------------------------


def _points(curve: Curve) -> list[ShownPoint]:
    return [(each.start, each.minimum, each.maximum) for each in curve.steps]


def _marks(case: Case) -> list[tuple[float, str]]:
    """Return when the state of the incident changed, and to which."""
    marks: list[tuple[float, str]] = []
    for each in case.chain.transitions:
        state = str(each.incident.state)
        if each.incident.judgement.pattern == OUT_OF_MEMORY and each.incident.state is State.FIRING:
            state = "out of memory"
        if marks and marks[-1][0] == each.at.wall:
            marks.pop()
        if not marks or marks[-1][1] != state:
            marks.append((each.at.wall, state))
    return marks


@dataclass(frozen=True, slots=True)
class _End:
    """What was told last, before it was over, of what will be exhausted.

    ``chart``: the name of the curves that rise towards it; ``curve``: of the one among them that does.
    ``full``: bytes of all the Gpu, of the Owner's budget, or of the process's pool.
    """

    told: Transition
    chart: str
    curve: str
    full: float


def _memory(case: Case, zone: tzinfo | None) -> str:
    marks, end = _marks(case), _end(case)
    gpu = f"GPU {case.gpu.ordinal}, {case.gpu.name}" if case.gpu else "GPU"
    scene = case.newest.scene
    owner = (scene.owner if scene else None) or case.newest.incident.subject.owner or OWNER
    charts = []
    for name, curves in _by_chart(case).items():
        if name == OWNER and (end is None or end.chart != OWNER):
            continue  # without a budget what its processes hold says as much
        cone = _cone(end, curves.get(end.curve, ())) if end and end.chart == name else None
        span = (case.since, _shown_until(case, cone))
        shown = clean({"GPU": gpu, OWNER: f"{owner}, all together"}.get(name, name))
        charts.append(Chart(shown, curves, span, case.step, marks, _level(case, name, end), cone=cone))
    return "\n".join(filter(None, (draw(chart, zone) for chart in charts)))


def _by_chart(case: Case) -> dict[str, dict[str, list[ShownPoint]]]:
    """Return the curves of bytes that are drawn together: those of the Gpu, of the Owner, of each process."""
    charts: dict[str, dict[str, list[ShownPoint]]] = {"GPU": {}}
    for curve in case.curves:
        if curve.name.startswith("pid"):
            if curve.quantity in LAYERS:
                charts.setdefault(curve.name, {})[_layer(curve.quantity)] = _points(curve)
        elif curve.name == OWNER:
            charts[OWNER] = {"used": _points(curve)}
        elif curve.quantity.endswith("_bytes"):
            charts["GPU"][f"{curve.name} {_layer(curve.quantity)}".strip()] = _points(curve)
    return charts


def _end(case: Case) -> _End | None:
    """Return what will be exhausted as it was told last before it was over; None: its size is not known."""
    standing = [each for each in case.chain.transitions if each.incident.state is not State.RESOLVED]
    if not standing:
        return None
    told = standing[-1]
    judgement = told.incident.judgement
    if judgement.pattern == POOL_LEAK:
        pid = f"pid {judgement.pid}"
        sizes = [each for each in case.curves if (each.name, each.quantity) == (pid, "engine_pool_bytes")]
        return _End(told, pid, "engine kv", sizes[0].steps[-1].last) if sizes else None
    if (budget := judgement.evidence.numbers.get("budget_bytes")) is not None:
        return _End(told, OWNER, "used", budget)
    total = told.scene.total_bytes if told.scene else None
    return None if total is None else _End(told, "GPU", "GPU used", float(total))


def _level(case: Case, name: str, end: _End | None) -> tuple[float, str] | None:
    """Return the line across a chart: all of the Gpu's memory, or the budget; a pool is a curve by itself."""
    if name == OWNER and end is not None:
        return end.full, f"its budget: {show_bytes(round(end.full))}"
    scene = case.newest.scene
    total = scene.total_bytes if scene and name == "GPU" else None
    return (float(total), f"all of it: {show_bytes(total)}") if total else None


def _cone(end: _End, curve: Sequence[ShownPoint]) -> Cone | None:
    """Return the forecast that was told, from what ``curve`` held then; None: there is none to draw."""
    made, forecast = end.told.at.wall, end.told.incident.judgement.forecast
    before = [high for wall, _, high in curve if wall <= made]
    if not isinstance(forecast, Exhaustion) or not before or forecast.low <= made:
        return None
    return Cone(made, before[-1], forecast.low, forecast.at, forecast.high, end.full)


def _shown_until(case: Case, cone: Cone | None) -> float:
    """Return until when memory is shown: to its end, where that is no farther away than the past reaches."""
    if cone is None or case.newest.incident.state is State.RESOLVED:
        return case.until
    return max(case.until, min(cone.high, case.until + AHEAD * (case.until - case.since)))


def _layer(quantity: str) -> str:
    return quantity.removesuffix("_bytes").replace("_", " ")


def _load(case: Case, zone: tzinfo | None) -> str:
    found: dict[str, dict[str, list[ShownPoint]]] = {"utilisation": {}, "requests": {}}
    for curve in case.curves:
        if curve.quantity in LOAD:
            kind = "utilisation" if curve.quantity == "utilization_ratio" else "requests"
            short = curve.quantity.partition("_")[2] if kind == "requests" else ""
            found[kind][f"{curve.name} {short}".strip()] = _points(curve)
    span, marks = (case.since, case.until), _marks(case)
    charts = (
        Chart(name.capitalize(), curves, span, case.step, marks, is_bytes=False)
        for name, curves in found.items()
    )
    return "\n".join(filter(None, (draw(chart, zone) for chart in charts)))


def _flight(case: Case, zone: tzinfo | None) -> str:
    """Draw the newest flight record: what stood out in it, for of many processes most lie still."""
    told = [each.incident.judgement.evidence.flight for each in case.chain.transitions]
    flight = next((each for each in reversed(told) if any(each.values())), {})
    heights = {name: max((point[2] for point in curve), default=0.0) for name, curve in flight.items()}
    least = LEAST_SHARE * max(heights.values(), default=0.0)
    shown = {clean(_layer(name)): curve for name, curve in flight.items() if curve and heights[name] >= least}
    walls = [point[0] for curve in shown.values() for point in curve]
    if not walls:
        return ""
    span = (min(walls), max(walls))
    return draw(Chart(f"Until {clock(span[1], zone)}", shown, span, 10.0), zone)


# --- tables ---------------------------------------------------------------------------------------


def _evidence(case: Case) -> str:
    """Return the newest evidence of every pattern that was found, and what was ruled out at last."""
    newest = {
        each.incident.judgement.pattern: each.incident.judgement.evidence for each in case.chain.transitions
    }
    found = [(f"found: {pattern}", each.sentence, each.numbers) for pattern, each in newest.items()]
    ruled_out = case.newest.incident.judgement.ruled_out
    found += [(f"not {CAUSES[each.cause]}", each.sentence, each.numbers) for each in ruled_out]
    rows = [
        (what, sentence, ", ".join(f"{name} {_number(name, value)}" for name, value in numbers.items()))
        for what, sentence, numbers in found
    ]
    return _table(("", "because", "numbers"), rows)


def _number(name: str, value: float) -> str:
    if "bytes" in name:
        return show_bytes(round(value))
    return show_seconds(value) if name.endswith("_seconds") else f"{value:.4g}"


def _ledger(poll: Poll | None, gpu: str, zone: tzinfo | None) -> str:
    ledgers: Iterable[Ledger] = poll.ledgers if poll else ()
    ledger = next((each for each in ledgers if each.gpu.uuid == gpu), None)
    if ledger is None:
        return ""
    rows = [
        (str(each.pid), each.tenant.owner.name, each.tenant.facts.title or each.tenant.facts.name,
         each.ghost.value if each.ghost else "", show_bytes(each.held))
        for each in ledger.holdings
    ]  # fmt: skip
    memory = ledger.memory
    rows += [
        ("", "held by nobody", "", "", show_bytes(ledger.unattributed)),
        ("", "reserved by the driver", "", "", show_bytes(memory.reserved)),
        ("", "free", "", "", show_bytes(memory.free)),
        ("", "all of it", "", "", show_bytes(memory.total)),
    ]
    table = _table(("pid", "who", "command", "ghost", "bytes"), rows, numbers={4})
    return f'<p class="faint">{clock(ledger.at.wall, zone)}</p>{table}'


def _course(transitions: Sequence[Transition], zone: tzinfo | None) -> str:
    rows = [
        (
            clock(each.at.wall, zone),
            str(each.incident.state),
            str(each.incident.judgement.severity) if each.incident.state is not State.RESOLVED else "",
            BECAUSE[each.reason],
            CAUSES[each.incident.judgement.cause],
            each.incident.judgement.evidence.sentence,
        )
        for each in transitions
    ]
    return _table(("when", "state", "severity", "why", "cause", "evidence"), rows)


def _told(steps: Sequence[StepRow], zone: tzinfo | None) -> str:
    rows = [
        (clock(each.wall, zone), each.step.channel, str(each.step.notice), _became(each)) for each in steps
    ]
    return _table(("when", "channel", "what", "what became of it"), rows)


def _became(row: StepRow) -> str:
    if isinstance(row.step, Withheld):
        return f"not told, {row.step.reason}: {row.step.detail}"
    if row.delivery is None:
        return "waits to leave"
    return f"{row.delivery.outcome or 'on its way'}: {row.delivery.detail}".rstrip(": ")


def _said(case: Case, zone: tzinfo | None) -> str:
    rows = [(clock(each.wall, zone), each.author, each.kind, each.note) for each in case.chain.entry.remarks]
    return _table(("when", "who", "what", "note"), rows)


def _events(case: Case, zone: tzinfo | None) -> str:
    rows = [(each.wall, str(each.event.kind), each.event.detail) for each in case.events]
    rows += [(each.since, f"gap: {each.reason}", each.detail) for each in case.gaps]
    return _table(("when", "what", ""), [(clock(wall, zone), *rest) for wall, *rest in sorted(rows)])


def _configuration(written: str) -> str:
    return f"<pre>{escape(written)}</pre>" if written else ""


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Return a table; empty where it would have no row."""
    if not rows:
        return ""
    right = set(numbers)
    head = "".join(_cells("th", titles, right))
    body = "".join(f"<tr>{''.join(_cells('td', row, right))}</tr>\n" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _cells(tag: str, texts: Sequence[str], right: Mapping[int, object] | set[int]) -> Iterator[str]:
    for place, foreign in enumerate(texts):
        kind = ' class="number"' if place in right else ""
        yield f"<{tag}{kind}>{text(foreign)}</{tag}>"
