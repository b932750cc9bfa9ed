"""What becomes of an answer: where it cannot be written, and how wide it is where no terminal is."""

import io
import sys
from pathlib import Path
from subprocess import PIPE, run

import pytest

from vramwatch.cli.views.terminal import PIPED_WIDTH, terminal


@pytest.mark.parametrize("arguments", [("--help",), ("check", "--example"), ("incidents", "--help")])
def test_an_answer_that_a_full_disk_does_not_take_ends_with_1_and_one_sentence(arguments):
    with Path("/dev/full").open("w") as full:
        done = run(
            [sys.executable, "-m", "vramwatch", *arguments], stdout=full, stderr=PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (
        1,
        "vramwatch: the answer cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize(
    ("asked", "width"), [("60", 60), ("", PIPED_WIDTH), ("wide", PIPED_WIDTH), ("0", PIPED_WIDTH)]
)
def test_in_a_pipe_an_answer_is_as_wide_as_the_environment_asks(asked, width):
    assert terminal(io.StringIO(), {"COLUMNS": asked}).width == width
    assert terminal(io.StringIO(), {}).width == PIPED_WIDTH
