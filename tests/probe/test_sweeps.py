"""What a sweep tries; no torch is needed."""

from hypothesis import given
from hypothesis import strategies as some

from vramwatch.probe.findings import rise_of
from vramwatch.probe.sweeps import LARGEST, MOST_RUNS, Tried, following, largest, tries_left


def swept(peak, budget: int, start: int) -> list[Tried]:
    tried: list[Tried] = []
    while (value := following(tried, start, budget)) is not None:
        seen = peak(value)
        tried.append(Tried(value, seen if seen <= budget else None))
        assert len(tried) <= 2 * MOST_RUNS + 20
    return tried


@given(
    base=some.integers(0, 10**10),
    rise=some.integers(10**4, 10**8),
    room=some.integers(0, 10**10),
    start=some.integers(1, 64),
)
def test_the_largest_that_fits_is_found_where_the_peak_is_a_straight_line(base, rise, room, start) -> None:
    budget = base + room
    tried = swept(lambda value: base + rise * value, budget, start)
    fits = min(room // rise, LARGEST)
    found = largest(tried)
    assert (found.value if found else 0) == fits


@given(room=some.integers(10**6, 10**10), start=some.integers(1, 8))
def test_a_peak_that_grows_faster_is_foreseen_too_high_and_bisected(room, start) -> None:
    def peak(value: int) -> int:
        return 1000 * value * value

    found = largest(swept(peak, room, start))
    assert found is not None
    assert peak(found.value) <= room < peak(found.value + 1)


def test_a_straight_line_takes_few_runs() -> None:
    assert len(swept(lambda value: 10**9 + 10**6 * value, 4 * 10**9, 1)) <= 5


def test_a_peak_that_hardly_rises_at_first_leads_nowhere_far() -> None:
    """As of new tokens: the prompt's activations are the peak until the cache has outgrown them."""
    budget = 13 * 2**20
    tried = swept(lambda tokens: max(11_744_000 + tokens, 11_000_000 + 6000 * tokens), budget, 4)
    found = largest(tried)
    assert found is not None
    assert found.value == (budget - 11_000_000) // 6000
    assert len(tried) <= 12
    assert max(each.value for each in tried) <= 64 * 64


def test_nothing_smaller_than_the_least_is_tried() -> None:
    assert following([Tried(3, None)], 3, 10, least=2) is None


@given(fits=some.integers(0, 10**6), gap=some.integers(1, 10**6))
def test_the_tries_that_are_left_are_those_of_halving(fits, gap) -> None:
    tried = [Tried(fits, 1), Tried(fits + gap, None)]
    assert 2 ** (tries_left(tried) or 0) >= gap
    assert tries_left(tried[:1]) is None


@given(level=some.integers(0, 10**9), first=some.integers(0, 10**9), count=some.integers(1, 30))
def test_a_floor_that_stays_after_the_first_request_does_not_rise(level, first, count) -> None:
    assert rise_of([level - first, *[level] * (count + 1)]) == 0


@given(level=some.integers(0, 10**9), step=some.integers(1, 10**8), count=some.integers(2, 30))
def test_a_floor_that_goes_up_with_each_request_rises_by_as_much(level, step, count) -> None:
    assert rise_of([level + step * each for each in range(count)]) == step


def test_a_floor_that_falls_in_between_does_not_rise() -> None:
    assert rise_of([10, 20, 30, 20, 40]) == 0
