"""The arithmetic of the benchmarks' report. What they measure is never judged by a test."""

import re

import pytest

from benchmarks.findings import Figures, at_most, not_measured, show, slope, told


def test_a_goal_is_judged_by_the_median_so_that_one_outlier_decides_nothing():
    figures = Figures((1.0, 90.0, 2.0))
    assert at_most("cpu", figures, 2.0, "ms").reached
    assert not at_most("cpu", figures, 1.9, "ms").reached


def test_a_ratio_is_taken_of_what_was_measured_at_the_same_time():
    ratio = Figures((1.0, 2.0, 6.0)).over(Figures((10.0, 10.0, 20.0)))
    assert ratio.values == (0.1, 0.2, 0.3)
    with pytest.raises(ValueError, match="zip"):
        ratio.over(Figures((1.0,)))


def test_figures_are_shown_with_their_spread_and_a_single_one_without():
    assert Figures((3.0, 1.0, 2.0)).show("ms") == "2 ms (1 to 3)"
    assert Figures((1234.5,)).show() == "1234"


def test_the_slope_is_that_of_the_nearest_straight_line():
    assert slope([(0, 5.0), (1000, 5.0), (2000, 5.0)]) == 0.0
    assert slope([(0, 1.0), (10, 3.0), (20, 5.0)]) == pytest.approx(0.2)


def test_the_report_says_what_was_missed_and_what_was_not_measured(capsys):
    show(
        [
            at_most("slow", Figures((2.0,)), 1.0, "s"),
            told("free", Figures((1.0,))),
            not_measured("peer", "absent"),
        ]
    )
    said = capsys.readouterr().out
    assert re.search(r"slow\s+2 s\s+≤ 1 s\s+NO", said)
    assert re.search(r"peer\s+not measured: absent", said)
    assert said.count("NO") == 1
