"""What tests of every folder are handed."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.notify_socket import NotifySocket
from tests.nvml.client import Client, attached
from tests.nvml.driver import FakeDriver


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    """A driver with two idle H100s; give its ``environment()`` to the processes that shall find it."""
    with FakeDriver(gpus=2) as fake:
        yield fake


@pytest.fixture
def client(driver: FakeDriver) -> Iterator[Client]:
    with attached(driver) as one:
        yield one


@pytest.fixture
def fresh_client(driver: FakeDriver) -> Iterator[Client]:
    """A client that has not initialised the library."""
    one = Client(driver)
    yield one
    one.close()


@pytest.fixture
def notify(tmp_path) -> Iterator[NotifySocket]:
    """A service manager's end of NOTIFY_SOCKET."""
    with contextlib.closing(NotifySocket(tmp_path / "notify")) as opened:
        yield opened


@pytest.fixture
def in_utc(monkeypatch, tmp_path):
    """No configuration of this machine counts, and local time is UTC."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("VRAMWATCH_CONFIG", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
