"""How many sequences more fit: what a worker says of it, and what it does not claim to know."""

import pytest

from tests.sdk.allocators import Allocator
from vramwatch.sdk import enroll


class Roomy(Allocator):
    """An allocator that knows what can still be taken of each GPU."""

    def __init__(self, *available):
        super().__init__()
        self._available = available

    def available(self):
        if not all(isinstance(each, int) for each in self._available):
            raise RuntimeError("no figures")
        return self._available


@pytest.fixture
def worker(monkeypatch, tmp_path):
    """Give what makes a worker over an allocator, with no daemon anywhere."""
    monkeypatch.setenv("VRAMWATCH_SOCKET", str(tmp_path / "none.sock"))
    made = []

    def make(allocator):
        made.append(enroll(allocator=allocator))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_as_many_fit_as_the_least_roomy_gpu_holds(worker):
    assert worker(Roomy(1000, 350)).batch_advice(100) == 3


def test_what_is_to_be_left_alone_is_left_alone(worker):
    assert worker(Roomy(350)).batch_advice(100, reserve=100) == 2


def test_where_less_is_free_than_the_reserve_none_fits(worker):
    assert worker(Roomy(350)).batch_advice(100, reserve=400) == 0


@pytest.mark.parametrize("allocator", [Allocator(), Roomy(), Roomy(None)])
def test_where_nobody_knows_what_is_free_nothing_is_advised(worker, allocator):
    assert worker(allocator).batch_advice(100) is None


@pytest.mark.parametrize("size", [0, -1])
def test_a_sequence_of_no_bytes_is_no_question(worker, size):
    assert worker(Roomy(350)).batch_advice(size) is None
