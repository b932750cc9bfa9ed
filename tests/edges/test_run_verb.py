"""What ``vramwatch run`` shows to whoever started it."""

import os

import pytest

from vramwatch.cli.run import LOG_FORMAT, log_format


@pytest.fixture
def terminal():
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs, "w") as stream:
        yield stream


def test_lines_of_the_log_have_their_times_on_a_terminal(terminal):
    assert log_format(terminal).startswith("%(asctime)s ")


def test_in_a_file_or_a_journal_lines_have_no_time_of_their_own(tmp_path):
    with (tmp_path / "log").open("w") as stream:
        assert log_format(stream) == LOG_FORMAT
