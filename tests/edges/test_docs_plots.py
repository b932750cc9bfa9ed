"""The pages that explain growth: their plots and the output that they show are the program's own."""

from functools import cache
from pathlib import Path

import pytest

from docs.plots.__main__ import PAGES, PLOTS
from docs.plots.drawing import draw
from docs.plots.examples import DRAWN, EXAMPLES, PATTERNS
from docs.plots.pages import names, refreshed, replays
from docs.plots.playing import play
from docs.plots.recording import recording
from tests.servers import fired, patterns
from vramwatch.config.detection import DetectionOptions
from vramwatch.core.verdicts import Cause

LARGEST = 40_000
"""Bytes of a plot: a page that shows all of them must still open at once."""

ANEW = "python -m docs.plots makes it anew"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture
def recorded(folder):
    def written(name):
        file = folder / f"{name}.csv"
        if not file.exists():
            file.write_text(recording(EXAMPLES[name]))
        return file

    return written


@cache
def played(name, file):
    return play(EXAMPLES[name], file)


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_what_the_program_draws_today(name, recorded):
    kept = (PLOTS / f"{name}.svg").read_text()
    assert kept == draw(name, EXAMPLES[name], played(name, recorded(name))), ANEW
    assert len(kept) <= LARGEST


@pytest.mark.parametrize("name", PATTERNS)
def test_what_is_drawn_for_a_pattern_comes_to_fire_and_shows_it(name, recorded):
    assert name in patterns(fired(played(name, recorded(name)).told))


def test_what_only_fills_is_drawn_and_never_fires(recorded):
    told = played("warmup", recorded("warmup")).told
    assert told
    assert fired(told) == []
    assert "firing" not in (PLOTS / "warmup.svg").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_what_replay_says(page, recorded):
    text = page.read_text()
    shown = list(dict.fromkeys(names(text)))
    assert shown
    assert text == refreshed(text, replays([recorded(name) for name in shown])), ANEW


def test_every_pattern_and_every_cause_has_its_section_and_its_example():
    text = (PLOTS.parent / "patterns.md").read_text()
    for pattern in DetectionOptions().detectors.on():
        assert f"\n### {pattern}\n" in text
        assert pattern in names(text)
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    for cause in Cause:
        assert any(cause in heading.removeprefix("### ").split(", ") for heading in headings), cause


def test_every_plot_stands_in_a_page():
    text = "".join(page.read_text() for page in PAGES)
    assert {Path(plot).name for plot in PLOTS.glob("*.svg")} == {f"{name}.svg" for name in DRAWN}
    for name in DRAWN:
        assert f"(plots/{name}.svg)" in text
