"""What becomes of an answer that cannot be written."""

import sys
from pathlib import Path
from subprocess import PIPE, run

import pytest


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
