"""Curves over time as SVG, for a page of its own: no script, and colours that follow the reader's theme."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from html import escape
from math import ceil, floor, log2

from vramwatch.cli.views.tracks import ROUND
from vramwatch.core.units import show_bytes

WIDTH, HEIGHT = 900, 210
LEFT, RIGHT, TOP, BOTTOM = 74, 14, 8, 24
MOST_TICKS = 6
COLOURS = 6
"""Classes c0 to c5 of the page's style, taken in turn."""

HOLE = 3.0
"""Steps without a reading from which a curve is broken off."""

ShownPoint = tuple[float, float, float]
"""Unix seconds, least, most."""


@dataclass(frozen=True, slots=True)
class Cone:
    """When ``full`` (bytes) is reached from ``value`` at ``made``. Unix seconds, all after ``made``."""

    made: float
    value: float
    low: float
    at: float
    high: float
    full: float


@dataclass(frozen=True, slots=True)
class Chart:
    """``curves``: name -> points that ascend. ``marks``: unix seconds -> word, drawn across.
    ``cone``: a forecast, drawn from where it was made; None: there is none.

    ``level``: drawn across with its words; None: none. ``is_bytes``: how values are shown.
    """

    title: str
    curves: Mapping[str, Sequence[ShownPoint]]
    span: tuple[float, float]
    step: float
    marks: Sequence[tuple[float, str]] = ()
    level: tuple[float, str] | None = None
    is_bytes: bool = True
    ticks: Sequence[tuple[float, str]] | None = None  # of the level axis; None: the clock's
    cone: Cone | None = None


def draw(chart: Chart, zone: tzinfo | None) -> str:
    """Return ``chart`` as a figure; empty where no curve has a point."""
    points = [point for curve in chart.curves.values() for point in curve]
    if not points:
        return ""
    highest = max(high for _, _, high in points)
    if chart.level and chart.level[0] < 1.6 * highest:
        highest = max(highest, chart.level[0])
    frame = _Frame(chart.span, _top(highest, chart.is_bytes))
    parts = [
        f"<figure><figcaption><b>{escape(chart.title)}</b> {_legend(chart)}</figcaption>",
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">',
        *_grid(frame, chart, zone),
        *_level(frame, chart),
        *(
            part
            for place, curve in enumerate(chart.curves.values())
            for part in _curve(frame, curve, chart.step, f"c{place % COLOURS}")
        ),
        *_cone(frame, chart.cone),
        *_marks(frame, chart.marks),
        "</svg></figure>",
    ]
    return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class _Frame:
    span: tuple[float, float]
    top: float

    def x(self, wall: float) -> float:
        since, until = self.span
        return LEFT + (wall - since) / max(1.0, until - since) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)


def _top(highest: float, is_bytes: bool) -> float:
    """Return a round value above ``highest``, in the units that people count in."""
    unit = 2.0 ** (10 * floor(log2(highest) / 10)) if is_bytes and highest >= 1 else 1.0
    if not is_bytes and highest <= 1:
        return 1.0
    amount = max(highest / unit, 1e-9)
    grain = 10.0 ** floor(log2(amount) / log2(10))
    return ceil(1.02 * amount / grain * 2) / 2 * grain * unit


def _grid(frame: _Frame, chart: Chart, zone: tzinfo | None) -> Iterator[str]:
    for place in range(5):
        value = frame.top * place / 4
        y = frame.y(value)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        shown = show_bytes(round(value)) if chart.is_bytes else f"{value:g}"
        yield f'<text class="end" x="{LEFT - 8}" y="{y + 4:.1f}">{shown}</text>'
    for wall, words in _times(frame.span, zone) if chart.ticks is None else chart.ticks:
        x = frame.x(wall)
        yield f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        yield f'<text class="middle" x="{x:.1f}" y="{HEIGHT - 7}">{words}</text>'


def _times(span: tuple[float, float], zone: tzinfo | None) -> Iterator[tuple[float, str]]:
    since, until = span
    step = next((each for each in ROUND if (until - since) / each <= MOST_TICKS), ROUND[-1])
    offset = datetime.fromtimestamp(since, zone).astimezone(zone).utcoffset()
    shift = offset.total_seconds() if offset else 0.0
    wall = ceil((since + shift) / step) * step - shift
    form = "%H:%M" if step < 86400 and until - since < 86400 else "%d %b %H:%M" if step < 86400 else "%d %b"
    while wall <= until:
        yield wall, datetime.fromtimestamp(wall, zone).strftime(form)
        wall += step


def _curve(frame: _Frame, curve: Sequence[ShownPoint], step: float, colour: str) -> Iterator[str]:
    for run in _runs(curve, step):
        if any(high > low for _, low, high in run):
            edge = [(wall, high) for wall, _, high in run] + [(wall, low) for wall, low, _ in reversed(run)]
            yield f'<path class="band {colour}" d="{_path(frame, edge)}Z"/>'
        yield f'<path class="line {colour}" d="{_path(frame, [(wall, high) for wall, _, high in run])}"/>'


def _runs(curve: Sequence[ShownPoint], step: float) -> Iterator[list[ShownPoint]]:
    """Yield the parts of a curve between which there is a hole; a lone point gets a little width."""
    run: list[ShownPoint] = []
    for point in curve:
        if run and point[0] - run[-1][0] > HOLE * step:
            yield run
            run = []
        run.append(point)
    if run:
        yield run if len(run) > 1 else [run[0], (run[0][0] + step, *run[0][1:])]


def _path(frame: _Frame, points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{frame.x(wall):.1f} {frame.y(value):.1f}" for wall, value in points)


def _cone(frame: _Frame, cone: Cone | None) -> Iterator[str]:
    """Draw what was forecast, as far as the time shown reaches."""
    if cone is None:
        return
    made, until = (cone.made, cone.value), frame.span[1]

    def ray(end: float) -> tuple[float, float]:
        shown = min(end, until)
        return shown, cone.value + (cone.full - cone.value) * (shown - cone.made) / (end - cone.made)

    soonest, latest = ray(cone.low), ray(cone.high)
    far = (latest[0], cone.full) if cone.low < until else latest
    yield f'<path class="band forecast" d="{_path(frame, [made, soonest, far, latest])}Z"/>'
    yield f'<path class="line forecast" d="{_path(frame, [made, ray(cone.at)])}"/>'


def _level(frame: _Frame, chart: Chart) -> Iterator[str]:
    if chart.level is None or chart.level[0] > frame.top:
        return
    y = frame.y(chart.level[0])
    yield f'<path class="level" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
    yield f'<text class="end" x="{WIDTH - RIGHT}" y="{y + 12:.1f}">{escape(chart.level[1])}</text>'


def _marks(frame: _Frame, marks: Sequence[tuple[float, str]]) -> Iterator[str]:
    """Draw each mark with its word, where it does not run into the one before."""
    free = 0.0
    for wall, word in marks:
        if not frame.span[0] <= wall <= frame.span[1]:
            continue
        x = frame.x(wall)
        yield f'<path class="mark {escape(word)}" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        if x >= free:
            is_late = x > WIDTH - 90
            anchor = "end" if is_late else "start"
            yield (
                f'<text class="{anchor}" x="{x + (-4 if is_late else 4):.1f}" y="{TOP + 10}">'
                f"{escape(word)}</text>"
            )
            free = x + 7.0 * len(word) + 10


def _legend(chart: Chart) -> str:
    return " ".join(
        f'<span class="key c{place % COLOURS}">{escape(name)}</span>'
        for place, name in enumerate(chart.curves)
    )
