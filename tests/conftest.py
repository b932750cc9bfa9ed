"""What tests of every folder are handed."""

from collections.abc import Iterator

import pytest

from tests.nvml.driver import FakeDriver


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    """A driver with two idle H100s; give its ``environment()`` to the processes that shall find it."""
    with FakeDriver(gpus=2) as fake:
        yield fake
