"""An example as SVG: memory over time, the floor that was judged, the course of the incident, its forecast.

Pure and deterministic. Colours are classes, so that a reader's dark theme changes them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise, zip_longest

from docs.plots.examples import Example
from docs.plots.playing import Played, Sample
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import State, Transition
from vramwatch.core.units import GIB, MIB

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 74, 56
"""Margins: of the values, of nothing, of the title with two rows of marks, of the times and the legend."""

LETTER = 6.3
"""Pixels that a letter of 12 px takes on average: labels are kept apart by it."""

AHEAD = 0.5
"""The share of what was recorded by which the axis goes on, at most, to show the forecast."""

ZOOM = 5.0
"""Where the room left is more than so many times what moved, the axis of bytes ends before the capacity."""

AIR = 0.08
"""Share of the height that stays free above and below."""

HOLE = 2.5
"""Times the usual time between two samples, from which the curve is broken off."""

TIME_STEPS = (60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0)
BYTE_STEPS = tuple(step * MIB for step in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192))
MOST_TIMES, MOST_BYTES = 9, 6

STYLE = """
text{font:12px system-ui,sans-serif;fill:#24292f}
.title{font-weight:600;font-size:13px}.faint{fill:#57606a}.end{text-anchor:end}.middle{text-anchor:middle}
.ground{fill:#fff}.grid{stroke:#d8dee4}.axis{stroke:#8c959f;fill:none}
.curve{stroke:#0969da;fill:none;stroke-width:1.3;stroke-linejoin:round}
.layer{fill:none;stroke-width:1.2;stroke-linejoin:round}.reserved{stroke:#bf8700}
.allocated{stroke:#1a7f37}.KV{stroke:#bf3989}
.floor{stroke:#8250df;fill:#fff;stroke-width:1.6}.full{stroke:#24292f;stroke-dasharray:7 4}
.cone{fill:#cf222e;fill-opacity:.14}.median{stroke:#cf222e;stroke-dasharray:3 3}
.mark{stroke-width:1.5}.pending{stroke:#9a6700;stroke-dasharray:4 3}.warning{stroke:#bc4c00}
.critical{stroke:#cf222e}.resolved{stroke:#1a7f37}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}.ground{fill:#0d1117}
.reserved{stroke:#d29922}.allocated{stroke:#3fb950}.KV{stroke:#f778ba}
.grid{stroke:#21262d}.axis{stroke:#656c76}.curve{stroke:#58a6ff}
.floor{stroke:#d2a8ff;fill:#0d1117}.full{stroke:#e6edf3}.cone{fill:#ff7b72;fill-opacity:.2}
.median{stroke:#ff7b72}.pending{stroke:#d29922}.warning{stroke:#f0883e}.critical{stroke:#ff7b72}
.resolved{stroke:#3fb950}}
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """Which times (unix seconds) and bytes the plot shows."""

    since: float
    until: float
    low: float
    high: float

    def x(self, time: float) -> float:
        return LEFT + (time - self.since) / (self.until - self.since) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def point(self, sample: Sample) -> str:
        return f"{self.x(sample[0]):.1f},{self.y(sample[1]):.1f}"


def draw(name: str, example: Example, played: Played) -> str:
    """Return the SVG of an example that was ``played``; it must have samples."""
    frame = _frame(played)
    fired = _fired(played.told)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{escape(f"{name}: {example.title}")}">',
        f"<style>{STYLE}</style>",
        f'<clipPath id="plot"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="20">{escape(f"{name}: {example.title}")}</text>',
        *_axes(frame),
        '<g clip-path="url(#plot)">',
        *(_cone(fired, frame, played.capacity) if fired else ()),
        *_curve(played.samples, frame, "curve"),
        *(path for name, told in played.layers.items() for path in _curve(told, frame, f"layer {name}")),
        *_floor(played.floor, frame),
        "</g>",
        *_capacity(frame, played.capacity),
        *_marks(played.told, frame),
        *_legend(example, played, has_cone=fired is not None and _end(fired) is not None),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _fired(told: Sequence[Transition]) -> Transition | None:
    """Return how the incident stood when it began to fire; None: it never did."""
    return next((each for each in told if each.incident.state is State.FIRING), None)


def _end(transition: Transition) -> Exhaustion | None:
    forecast = transition.incident.judgement.forecast
    return forecast if isinstance(forecast, Exhaustion) else None


# --- axes ---------------------------------------------------------------------------------------


def _frame(played: Played) -> Frame:
    times, values = zip(*played.samples, strict=True)
    since, until = times[0], times[-1]
    fired = _fired(played.told)
    end = _end(fired) if fired else None
    if end is not None:
        until = max(until, min(end.high, until + AHEAD * (until - since)))
    low, high = min(values), max(values)
    low = min((low, *(value for told in played.layers.values() for _, value in told)))
    moved = max(high - low, 256 * MIB)
    if played.capacity - high <= ZOOM * moved:
        high = max(high, played.capacity)
    else:
        high += 0.6 * moved
    low = max(0.0, low - AIR * (high - low)) if low > (high - low) / 3 else 0.0
    return Frame(since, until, low, high + AIR * (high - low))


def _axes(frame: Frame) -> Iterator[str]:
    step = _step(frame.high - frame.low, BYTE_STEPS, MOST_BYTES)
    for number in range(int(frame.low // step) + 1, int(frame.high // step) + 1):
        y = frame.y(number * step)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="faint end" x="{LEFT - 8}" y="{y + 4:.1f}">{_bytes(number * step, step)}</text>'
    step = _step(frame.until - frame.since, TIME_STEPS, MOST_TIMES)
    time = -(-frame.since // step) * step
    while time <= frame.until:
        x = min(max(frame.x(time), LEFT + 15), WIDTH - RIGHT - 15)
        yield f'<path class="axis" d="M{frame.x(time):.1f} {HEIGHT - BOTTOM}v5"/>'
        yield f'<text class="faint middle" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}">{_clock(time, step)}</text>'
        time += step
    yield f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'


def _step(span: float, steps: Sequence[float], most: int) -> float:
    return next((step for step in steps if span / step <= most), steps[-1])


def _bytes(value: float, step: float) -> str:
    return f"{value / GIB:.{0 if step % GIB == 0 else 1 if step % (GIB / 2) == 0 else 2}f} GiB"


def _clock(time: float, step: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%m-%d" if step >= TIME_STEPS[-1] else "%H:%M")


# --- what was held, and what was found ------------------------------------------------------------


def _curve(samples: Sequence[Sample], frame: Frame, kind: str) -> Iterator[str]:
    """Yield a path for each stretch without a hole: the least and the most of each pixel's width."""
    usual = sorted(later[0] - earlier[0] for earlier, later in pairwise(samples))[len(samples) // 2]
    stretch: list[Sample] = []
    for sample in samples:
        if stretch and sample[0] - stretch[-1][0] > HOLE * usual:
            yield _band(stretch, frame, kind)
            stretch = []
        stretch.append(sample)
    yield _band(stretch, frame, kind)


def _band(samples: Sequence[Sample], frame: Frame, kind: str) -> str:
    columns: dict[int, list[Sample]] = {}
    for sample in samples:
        columns.setdefault(int(frame.x(sample[0])), []).append(sample)
    drawn: list[Sample] = []
    for of_column in columns.values():
        extremes = {of_column[0], min(of_column, key=_value), max(of_column, key=_value), of_column[-1]}
        drawn += sorted(extremes)
    path = "L".join(dict.fromkeys(frame.point(each) for each in drawn))
    return f'<path class="{kind}" d="M{path}"/>'


def _value(sample: Sample) -> float:
    return sample[1]


def _floor(points: Iterable[Sample], frame: Frame) -> Iterator[str]:
    for time, value in points:
        yield f'<circle class="floor" cx="{frame.x(time):.1f}" cy="{frame.y(value):.1f}" r="3"/>'


def _capacity(frame: Frame, capacity: float) -> Iterator[str]:
    if capacity <= frame.high:
        y = frame.y(capacity)
        yield f'<path class="full" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="end" x="{WIDTH - RIGHT - 4}" y="{y - 4:.1f}">full</text>'


def _cone(fired: Transition, frame: Frame, capacity: float) -> Iterator[str]:
    """Yield the forecast as it was when the incident began to fire, from the level that must fit."""
    end, rate = _end(fired), fired.incident.judgement.rate
    if end is None or rate is None or end.at <= fired.at.wall:
        return
    now = fired.at.wall
    level = capacity - rate.median * (end.at - now)
    start, low, high = (
        frame.point(each) for each in ((now, level), (end.low, capacity), (end.high, capacity))
    )
    yield f'<path class="cone" d="M{start}L{low}L{high}Z"/>'
    yield f'<path class="median" d="M{start}L{frame.point((end.at, capacity))}"/>'


# --- the course of the incident -------------------------------------------------------------------


def _moves(told: Sequence[Transition]) -> Iterator[tuple[float, str, str]]:
    """Yield time, class and label of every move of state, of severity while it fires, and of an accident.

    What is pending and fires at the same poll has but one.
    """
    before: tuple[str, str] | None = None
    for each, following in zip_longest(told, told[1:]):
        if following is not None and following.at == each.at:
            continue
        state, judgement = each.incident.state, each.incident.judgement
        kind, label = str(state), str(state)
        if state is State.FIRING:
            is_accident = judgement.pattern == "out_of_memory"
            kind = str(judgement.severity)
            label = "out of memory" if is_accident else f"firing: {kind}"
        if (kind, label) != before:
            yield each.at.wall, kind, label
        before = kind, label


def _marks(told: Sequence[Transition], frame: Frame) -> Iterator[str]:
    """Yield an upright line for each move, with its label where none is yet."""
    taken: list[tuple[int, float, float]] = []  # row, from, to
    for time, kind, label in _moves(told):
        x = frame.x(time)
        row, begin = _place(x, LETTER * len(label), taken)
        taken.append((row, begin, begin + LETTER * len(label)))
        y = TOP - 26 + 16 * row
        yield f'<path class="mark {kind}" d="M{x:.1f} {y - 9}V{HEIGHT - BOTTOM}"/>'
        anchor, at = (' class="end"', x - 4) if begin < x else ("", begin)
        yield f'<text{anchor} x="{at:.1f}" y="{y}">{label}</text>'


def _place(x: float, width: float, taken: Sequence[tuple[int, float, float]]) -> tuple[int, float]:
    """Return the row and the beginning of a label at the line ``x``: the first left of it, others right."""
    right, left = x + 4, x - 4 - width
    for row in (0, 1):
        for begin in (right, left) if taken else (left, right):
            is_free = all(
                row != other or begin > until + 6 or begin + width < since - 6
                for other, since, until in taken
            )
            if is_free and begin >= LEFT and begin + width <= WIDTH - RIGHT:
                return row, begin
    return 1, min(max(right, LEFT), WIDTH - RIGHT - width)


def _legend(example: Example, played: Played, *, has_cone: bool) -> Iterator[str]:
    x, y = float(LEFT), HEIGHT - 12
    for glyphs, width, label in _entries(example, played, has_cone=has_cone):
        text = f'<text x="{width + 6}">{escape(label)}</text>'
        yield f'<g transform="translate({x:.0f} {y})">{glyphs}{text}</g>'
        x += width + 6 + LETTER * len(label) + 18


def _entries(example: Example, played: Played, *, has_cone: bool) -> Iterator[tuple[str, int, str]]:
    """Yield what stands for a thing, its width in pixels, and the thing."""
    what = "used part of the pool" if example.is_pool else _held(example)
    yield '<path class="curve" d="M0 -4h18"/>', 18, "driver's figure" if played.layers else what
    for name in played.layers:
        yield f'<path class="layer {name}" d="M0 -4h18"/>', 18, name
    if example.floor is not None:
        yield '<circle class="floor" cx="5" cy="-4" r="3"/>', 10, example.floor
    if has_cone:
        cone = '<rect class="cone" y="-10" width="18" height="11"/><path class="median" d="M0 -4h18"/>'
        yield cone, 18, "forecast when it fired, 80% interval"


def _held(example: Example) -> str:
    match example.kind:
        case "owner" | "process":
            return f"memory of {example.owner.removeprefix('unit:')}"
        case "unattributed":
            return "memory that no process holds"
        case _:
            return "memory of the whole GPU"
