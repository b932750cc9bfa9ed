"""What ``status`` leaves out where a screen is low, and how its words fit a terminal."""

import io
import re

import pytest

from tests.polls import gpu, holding, instant, ledger, owner
from vramwatch.cli.views.live import crop
from vramwatch.cli.views.status import Status, status_lines
from vramwatch.cli.views.terminal import tell
from vramwatch.cli.views.text import UNICODE, line
from vramwatch.cli.views.words import join_sentences
from vramwatch.core.poll import Poll
from vramwatch.core.units import GIB

AT = instant(1)


def of_gpus(gpus: int, owners: int) -> Status:
    """Return GPUs on which owners hold 9 GiB, 8 GiB, ... each."""
    ledgers = (
        ledger(AT, *(holding(n, (9 - n) * GIB, owner(f"{on}-{n}")) for n in range(owners)), on=gpu(on))
        for on in range(gpus)
    )
    return Status(Poll(AT, tuple(ledgers)), AT)


BUSY = of_gpus(gpus=2, owners=8)
BUSY_LINES = 29


def texts(status: Status, height: int | None = None) -> list[str]:
    return [str(each) for each in status_lines(status, 80, UNICODE, height)]


def test_a_screen_that_is_high_enough_shows_everything():
    assert texts(BUSY, BUSY_LINES) == texts(BUSY)
    assert len(texts(BUSY)) == BUSY_LINES


def test_a_screen_too_low_first_loses_the_rows_of_what_is_free_and_reserved():
    shown = texts(BUSY, BUSY_LINES - 1)
    assert len(shown) == BUSY_LINES - 4
    assert not any("free" in each or "reserved" in each or "more" in each for each in shown)


def test_a_screen_lower_yet_adds_the_smallest_holdings_up():
    shown = texts(BUSY, 17)
    assert len(shown) == 17
    assert sum(bool(re.search(r"\+ 5 more +20\.0 GiB", each)) for each in shown) == 2


@pytest.mark.parametrize("height", range(BUSY_LINES))
def test_no_more_is_left_out_than_the_screen_asks_for(height):
    assert len(texts(BUSY, height)) <= max(height, len(texts(BUSY, 0)))


def test_an_idle_gpu_on_a_low_screen_has_no_rows_of_what_is_free():
    assert len(texts(of_gpus(1, 0), 5)) == 5


def test_a_screen_too_low_for_anything_says_how_much_it_hides():
    cropped = crop([line(str(number)) for number in range(30)], 10)
    assert len(cropped) == 10
    assert str(cropped[-1]) == "21 more lines: make the terminal higher"


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_words_are_wrapped_on_a_terminal_and_whole_in_a_file(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    words = join_sentences("The daemon was stopped at 03:12", "", "Nothing is being kept; start it.")
    screen, file = Tty(), io.StringIO()
    tell(words, screen)
    tell(words, file)
    assert file.getvalue() == "The daemon was stopped at 03:12. Nothing is being kept; start it.\n"
    assert max(map(len, screen.getvalue().splitlines())) <= 40
    assert screen.getvalue().split() == file.getvalue().split()
