"""What tests of the edges are handed."""

import pytest

from tests.outbox_daemon import Daemon
from vramwatch.config import load


@pytest.fixture
def configured(tmp_path):
    """Return what makes a Config of the text of a file."""

    def configured(text):
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return load(file, {}, {})

    return configured


@pytest.fixture
def path(tmp_path):
    """Where a store may be made."""
    return tmp_path / "vramwatch.db"


@pytest.fixture
def start(path):
    """Return what starts a daemon that tells, over the same store; all are ended with the test."""
    running = []

    def begin(*lines, **options):
        running.append(Daemon(path, *lines, **options))
        return running[-1]

    yield begin
    for each in running:
        if each.store._lock is not None:
            each.close()
