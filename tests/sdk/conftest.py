"""A daemon for every test, and workers of this process that end with it."""

import pytest

from tests.sdk.allocators import Allocator
from tests.sdk.daemons import Daemon
from vramwatch.sdk import enroll


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    one = Daemon(tmp_path / "enrol.sock")
    monkeypatch.setenv("VRAMWATCH_SOCKET", str(one.path))
    yield one
    one.stop()


@pytest.fixture
def allocator():
    return Allocator()


@pytest.fixture
def enrol(daemon, allocator):
    """Give what enrols this process: the worker, and the daemon's end of its connection."""
    workers = []

    def enrol(**said):
        workers.append(enroll(**{"allocator": allocator, **said}))
        return workers[-1], daemon.meet()

    yield enrol
    for worker in workers:
        worker.close()
