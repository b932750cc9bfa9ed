"""What ``--plot`` draws: the curve, its axes, and the time in which nothing was read."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.cli.views.history import Past
from vramwatch.cli.views.plot import BLIND, dots_across, plot_lines
from vramwatch.cli.views.scale import scale
from vramwatch.cli.views.text import ASCII, UNICODE, columns
from vramwatch.cli.views.tracks import Grid, Track
from vramwatch.core.model import FaultKind, Gpu, SeriesKey, SubjectKind
from vramwatch.core.units import GIB, show_bytes
from vramwatch.store import GapRow, SeriesRow, Step

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0
KEY = SeriesKey("GPU-0", SubjectKind.GPU, "", "used_bytes")


@dataclass(frozen=True)
class Drawn:
    """A plot taken apart: the characters of the curve, what stands on the axis and below it."""

    curve: list[str]
    axis: str
    times: str
    labels: list[str]


def drawn(values, glyphs=UNICODE, width=80, gaps=(), key=KEY):
    """``values``: what was read in each of the curve's columns of dots; None: nothing."""
    step = HOUR / dots_across(width, glyphs)
    over = Grid(NOON, NOON + HOUR, step, NOON)
    steps = [
        Step(NOON + number * step, 1, value, value, value, value)
        for number in range(dots_across(width, glyphs))
        if (value := values(number / dots_across(width, glyphs))) is not None
    ]
    peak = max(steps, key=lambda each: each.maximum)
    track = Track(SeriesRow(1, key, None, None), steps[0].last, steps[-1].last, peak.last, peak.start, steps)
    past = Past([track], list(gaps), over, {"GPU-0": Gpu("GPU-0", "0", "H100")}, UTC)
    lines = [str(line) for line in plot_lines(past, width, glyphs)]
    assert all(columns(line) <= width for line in lines)
    upright = glyphs.axis[0]
    body = [line.partition(upright) for line in lines if re.match(rf".{{10}} {re.escape(upright)}", line)]
    at = next(place for place, line in enumerate(lines) if line.startswith(f"{' ' * 11}{glyphs.axis[3]}"))
    return Drawn(
        [part[2] for part in body], lines[at][12:], lines[at + 1], [part[0].strip() for part in body]
    )


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_what_grows_goes_from_the_lower_left_to_the_upper_right(width, glyphs):
    plot = drawn(lambda share: share * 20 * GIB, glyphs, width)
    begins = [len(row) - len(row.lstrip()) for row in plot.curve]
    assert begins == sorted(begins, reverse=True)
    assert begins[-1] == 0
    assert max(map(len, plot.curve)) == width - 12


def test_the_upright_axis_is_labelled_with_round_values_and_their_unit():
    assert [each for each in drawn(lambda share: share * 19 * GIB).labels if each] == [
        "20.0 GiB",
        "10.0 GiB",
        "0 B",
    ]


def test_the_level_axis_has_round_local_times():
    assert drawn(lambda share: GIB).times.split() == ["12:00", "12:15", "12:30", "12:45"]


def test_a_gap_is_left_blank_and_marked():
    gap = GapRow("GPU-0", FaultKind.HUNG, "", NOON + HOUR / 4, NOON + HOUR / 2)
    plot = drawn(lambda share: None if 0.25 <= share < 0.5 else GIB, gaps=[gap])
    assert plot.axis[17:34] == BLIND * 17
    assert plot.axis.count(BLIND) == 17
    assert all(not row[17:34].strip() for row in plot.curve)
    assert all(any(row[column].strip() for row in plot.curve if column < len(row)) for column in (16, 34))


def test_a_value_is_drawn_on_while_nobody_reads_but_not_for_long():
    def every(seconds):
        across = dots_across(80, UNICODE)
        return drawn(lambda share: GIB if round(share * across) % (seconds * across // 3600) == 0 else None)

    often, seldom = every(60), every(300)
    assert max(map(len, (row.replace(" ", "") for row in often.curve))) == 68
    assert max(map(len, (row.replace(" ", "") for row in seldom.curve))) < 20


def test_steps_of_hours_are_joined_where_nothing_is_missing():
    length = 30 * 24 * HOUR
    over = Grid(NOON, NOON + length, 5 * HOUR, NOON)
    steps = [Step(NOON + n * 5 * HOUR, 9, GIB, GIB, GIB, GIB) for n in range(144) if not 60 <= n < 80]
    track = Track(SeriesRow(1, KEY, None, None), GIB, GIB, GIB, NOON, steps)
    gap = GapRow(None, FaultKind.STOPPED, "", NOON + 300 * HOUR, NOON + 400 * HOUR)
    past = Past([track], [gap], over, {}, UTC)
    rows = [str(each)[12:] for each in plot_lines(past, 100, UNICODE) if str(each)[11:12] == "│"]
    drawn_at = [any(row[column : column + 1].strip() for row in rows) for column in range(88)]
    assert drawn_at == [not 37 <= column < 48 for column in range(88)]


def test_a_glyph_of_ascii_and_one_of_braille_say_the_same():
    values = lambda share: (1 + share) * 10 * GIB  # noqa: E731
    plain, fine = drawn(values, ASCII), drawn(values, UNICODE)
    assert all(row.isascii() for row in plain.curve)
    assert [len(row) for row in plain.curve] == pytest.approx([len(row) for row in fine.curve], abs=3)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_an_axis_holds_its_values_between_ends_that_people_read(one, other):
    low, high = sorted((one, other))
    found = scale(low, high, "used_bytes")
    assert found.low <= low <= high <= found.high
    assert 0 <= found.share(low) <= found.share(high) <= 1
    for end in (found.low, found.middle, found.high):
        assert len(show_bytes(round(end))) <= 10


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), st.sampled_from(["power_watts", "requests_total"]))
def test_any_quantity_finds_its_axis(one, other, quantity):
    low, high = sorted((one, other))
    found = scale(low, high, quantity)
    assert found.low <= low
    assert high <= found.high
