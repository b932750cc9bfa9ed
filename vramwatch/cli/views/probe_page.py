"""What the probe found as one HTML file that holds all it needs: no script, and nothing that is loaded."""

from collections.abc import Sequence

from vramwatch.cli.views.chart import Chart, ShownPoint, draw
from vramwatch.cli.views.kv import grouped, kinds_of, last_request, rows_of
from vramwatch.cli.views.kv import words as kv_words
from vramwatch.cli.views.page import document, section, text
from vramwatch.cli.views.probe import COLUMNS, about, cells_of
from vramwatch.core.units import show_bytes
from vramwatch.core.wording import clock, zone_name
from vramwatch.probe.findings import findings
from vramwatch.probe.results import Result
from vramwatch.probe.variants import Variant, changes

BAR = """
.bar{display:inline-block;height:.7rem;background:#0969da;vertical-align:middle}
.bar.held{background:#bf8700}
ul.found{padding-left:1.2rem}
"""

MOST_CURVES = 6
"""Kinds of layers that the chart of one cache shows; of equal layers the first stands for all."""

BAR_WIDTH = 180
"""Pixels of the longest bar."""

TICKS = 6

Rows = Sequence[tuple[Variant, Result]]


def page(rows: Rows, version: str, made: float) -> str:
    """Return the whole page: of the first run everything, of the others what they change."""
    first = rows[0][1]
    parts = [
        f"<h1>{text(about(first))}</h1>",
        f'<p class="faint">by vramwatch {text(version)}, {clock(made, None)} {zone_name(made, None)}</p>',
        *section("What was found", _findings(first)),
        *section("Memory at the end of each stage", _stages(first)),
        *section("The KV cache of the last request", _cache(first)),
        *(section("Side by side", _comparison(rows)) if len(rows) > 1 else ()),
    ]
    return document(f"vramwatch probe: {first.experiment.model}", parts, BAR)


def _findings(result: Result) -> str:
    rows = [
        f'<li class="warning"><b>{text(each.name)}</b>: {text(each.sentence)}</li>'
        if each.is_fault
        else f"<li>{text(each.sentence)}</li>"
        for each in findings(result)
    ]
    clean_run = "" if any(each.is_fault for each in findings(result)) else "<li>no fault</li>"
    return f'<ul class="found">{clean_run}{"".join(rows)}</ul>'


def _stages(result: Result) -> str:
    shown = [
        (title, value) for title, value in COLUMNS if any(value(each) is not None for each in result.readings)
    ]
    head = [("stage", False), *((title, True) for title, _ in shown)]
    body = [
        [(each.stage, False), *((show_bytes(value(each)), True) for _, value in shown)]
        for each in result.readings
    ]
    return _table(head, body)


def _cache(result: Result) -> str:
    samples = last_request(result)
    if not samples:
        return ""
    span = (0.0, float(max(1, samples[-1].forward)))
    step = max(1, samples[-1].forward // TICKS)
    ticks = [(float(each), str(each)) for each in range(0, samples[-1].forward + 1, step)]
    curves: dict[str, list[ShownPoint]] = {
        name: [(float(each.forward), *(float(each.resident[place]),) * 2) for each in samples]
        for name, place in list(kinds_of(rows_of(result, samples)))[:MOST_CURVES]
    }
    chart = draw(Chart("Resident bytes of a layer, by forward pass", curves, span, 1.0, ticks=ticks), None)
    titles = ("layer", "keeps", "slots", "after the prompt", "resident", "at the end", "resident", "formula")
    head = [(title, number > 1) for number, title in enumerate(titles)]
    body = [
        [
            (name, False),
            (row.kind, False),
            *(
                ("n/a" if each is None else f"{each:,}", True)
                for each in (row.slots, *row.prompt, *row.end, row.foreseen)
            ),
        ]
        for name, row in grouped(rows_of(result, samples))
    ]
    told = "".join(f"<li>{text(each.lstrip('-! '))}</li>" for each, _ in kv_words(result))
    return f'{chart}{_table(head, body)}<ul class="found">{told}</ul>'


def _comparison(rows: Rows) -> str:
    most = max((result.peak or 0 for _, result in rows), default=0) or 1
    head = [
        ("variant", False),
        ("peak", True),
        ("", False),
        ("after release", True),
        ("KV held", True),
        ("tokens/s", True),
    ]
    body: list[list[Cell]] = []
    for variant, result in rows:
        cells = cells_of(result)
        if cells is None:
            body.append(
                [
                    (variant.name, False),
                    ("", True),
                    (f"{result.ended}: {result.why}", False),
                    *[("", True)] * 3,
                ]
            )
            continue
        peak, *others = cells
        body.append(
            [
                (variant.name, False),
                (peak, True),
                (_bar(result, most), None),
                *((each, True) for each in others),
            ]
        )
    told = "".join(f"<li>{text(each)}</li>" for each in changes(rows))
    key = '<p class="faint">A bar is the peak; its first part is still held after the release.</p>'
    return f'{key}{_table(head, body)}<ul class="found">{told}</ul>'


def _bar(result: Result, most: int) -> str:
    """Return the peak as a bar: what stays after the release in a colour of its own."""
    release, peak = result.at("release"), result.peak or 0
    held = min(peak, release.live if release else 0)
    widths = [round(BAR_WIDTH * each / most) for each in (held, peak - held)]
    kinds = ("bar held", "bar")
    return "".join(
        f'<span class="{kind}" style="width:{width}px"></span>'
        for kind, width in zip(kinds, widths, strict=True)
    )


Cell = tuple[str, bool | None]
"""Its text, and whether it is a number; None: it is HTML of our own."""


def _table(head: Sequence[Cell], body: Sequence[Sequence[Cell]]) -> str:
    rows = "".join(f"<tr>{''.join(_cell('td', each) for each in row)}</tr>\n" for row in body)
    return f"<table><tr>{''.join(_cell('th', each) for each in head)}</tr>\n{rows}</table>"


def _cell(tag: str, cell: Cell) -> str:
    content, is_number = cell
    kind = ' class="number"' if is_number else ""
    return f"<{tag}{kind}>{content if is_number is None else text(content)}</{tag}>"
