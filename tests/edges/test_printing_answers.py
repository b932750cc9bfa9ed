"""What becomes of an answer that cannot be written."""

import errno
import sys
from pathlib import Path
from subprocess import PIPE, run

import click
import pytest

from vramwatch.cli import Verbs


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


@pytest.mark.parametrize(("verb", "end"), [("status", SystemExit), ("run", OSError)])
def test_a_disk_that_is_full_under_the_daemon_is_told_as_no_answer_of_it(monkeypatch, verb, end):
    @click.command()
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", sys.stdout)  # is put back
    monkeypatch.setattr(Verbs, "get_command", lambda self, ctx, name: full)
    with pytest.raises(end):
        Verbs("vramwatch").main([verb], standalone_mode=False)
