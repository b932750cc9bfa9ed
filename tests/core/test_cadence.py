"""How often the driver is asked, and for what."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core import cadence
from vramwatch.core.cadence import LIST, MEMORY, Cadence, Rates
from vramwatch.core.model import Ask, Claim, Gpu, Memory, Reading, Readings
from vramwatch.core.units import GIB, MIB, Bytes, Seconds

TOTAL = 80 * GIB
RATES = Rates()


def reading(used: int, uuid: str = "GPU-0", claims: tuple[Claim, ...] | None = ()) -> Reading:
    memory = Memory(Bytes(TOTAL), Bytes(used), Bytes(TOTAL - used), Bytes(0))
    return Reading(Gpu(uuid, "0", "Test"), memory, claims)


def play(used_at, seconds: float, cost: dict[str, float], rates: Rates = RATES, gpus: int = 1) -> tuple:
    """Poll as the daemon would; return the asks with their times, the last state and the driver time."""
    state, now, spent, asks = Cadence(), 1000.0, 0.0, []
    end = now + seconds
    while now < end:
        ask = cadence.ask(state, rates, now)
        names = [f"GPU-{i}" for i in range(gpus)]
        listed = names if ask.lists is None else sorted(ask.lists)
        times = {MEMORY: Seconds(cost.get("memory", 0.0))}
        times |= {LIST + name: Seconds(cost.get("list", 0.0)) for name in listed}
        claims = (Claim(1, Bytes(GIB)),)
        readings = Readings(
            tuple(reading(used_at(now - 1000.0), n, claims if n in listed else None) for n in names),
            driver_seconds=times,
        )
        spent += sum(times.values())
        state = cadence.after(state, rates, now, ask, readings)
        asks.append((now, listed))
        now += cadence.pace(state, rates).interval
    return asks, state, spent


def test_the_first_poll_reads_everything():
    assert cadence.ask(Cadence(), RATES, 5.0) == Ask(lists=None, slow=True)


def test_a_flat_gpu_has_its_list_read_every_five_seconds():
    asks, _, _ = play(lambda t: GIB, 60, {})
    listed = [now for now, lists in asks if lists]
    assert [b - a for a, b in itertools.pairwise(listed)] == pytest.approx([5.0] * (len(listed) - 1))


def test_a_gpu_whose_memory_moves_has_its_list_read_every_two_seconds_and_not_oftener():
    asks, _, _ = play(lambda t: int(GIB + t * 10 * MIB), 60, {})
    listed = [now for now, lists in asks if lists]
    assert min(b - a for a, b in itertools.pairwise(listed)) >= 2.0
    assert len(listed) >= 28


def test_less_than_the_drivers_own_quantum_is_no_movement():
    asks, _, _ = play(lambda t: GIB + int(t) % 2 * MIB, 60, {})
    assert len([now for now, lists in asks if lists]) <= 13


def test_dear_lists_of_eight_moving_gpus_stay_within_the_budget():
    cost = {"memory": 0.0001, "list": 0.015}
    _, state, spent = play(lambda t: int(GIB + t * 10 * MIB), 600, cost, gpus=8)
    assert spent / 600 <= RATES.driver_share * 1.05
    assert "process lists" in (cadence.pace(state, RATES).lowered_because or "")


def test_under_the_budget_every_gpu_gets_its_turn():
    asks, _, _ = play(lambda t: int(GIB + t * 10 * MIB), 600, {"list": 0.015}, gpus=8)
    counts = [sum(f"GPU-{i}" in lists for _, lists in asks) for i in range(8)]
    assert min(counts) >= 0.5 * max(counts) > 0


def test_a_list_dearer_than_the_whole_purse_is_still_read_now_and_then():
    cost = {"list": 10 * cadence.BUCKET * RATES.driver_share}
    asks, _, spent = play(lambda t: GIB, 3600 * 3, cost)
    assert len([now for now, lists in asks if lists]) >= 3
    assert spent / (3600 * 3) <= 2 * RATES.driver_share


def test_memory_that_takes_long_to_read_slows_the_base_and_says_so():
    _, state, spent = play(lambda t: GIB, 600, {"memory": 0.02})
    pace = cadence.pace(state, RATES)
    assert pace.interval == pytest.approx(4.0)
    assert pace.lowered_because
    assert spent / 600 <= 2 * RATES.driver_share


def test_a_gpu_that_will_soon_be_full_is_read_at_the_fastest_rate():
    _, state, _ = play(lambda t: min(TOTAL, int(TOTAL - 20 * GIB + t * 3 * GIB)), 4, {})
    assert cadence.pace(state, RATES).interval == RATES.fastest


def test_a_full_gpu_that_stands_still_is_read_at_the_usual_rate():
    _, state, _ = play(lambda t: TOTAL - MIB, 30, {})
    assert cadence.pace(state, RATES).interval == RATES.interval


def test_when_nothing_moves_and_nobody_runs_the_base_rises():
    state, now = Cadence(), 0.0
    while now < 120:
        ask = cadence.ask(state, RATES, now)
        state = cadence.after(state, RATES, now, ask, Readings((reading(0),)))
        now += cadence.pace(state, RATES).interval
    assert cadence.pace(state, RATES).interval == RATES.slowest


def test_a_gpu_that_appears_has_its_list_read_at_once():
    state = Cadence()
    for now in (0.0, 1.0):
        state = cadence.after(state, RATES, now, cadence.ask(state, RATES, now), Readings((reading(GIB),)))
    newcomer = reading(GIB, "GPU-new", claims=None)
    ask = cadence.ask(state, RATES, 2.0)
    state = cadence.after(state, RATES, 2.0, ask, Readings((reading(GIB), newcomer)))
    assert "GPU-new" in (cadence.ask(state, RATES, 3.0).lists or ())


@given(
    st.lists(st.integers(0, TOTAL), min_size=2, max_size=30),
    st.floats(0, 0.2),
    st.floats(0, 0.2),
    st.floats(0.0001, 0.1),
)
def test_the_interval_never_leaves_its_bounds_but_for_the_budget(levels, memory_cost, list_cost, share):
    rates = replace(RATES, driver_share=share)
    state, now = Cadence(), 0.0
    for used in levels:
        ask = cadence.ask(state, rates, now)
        times = {MEMORY: Seconds(memory_cost), LIST + "GPU-0": Seconds(list_cost)}
        state = cadence.after(state, rates, now, ask, Readings((reading(used),), driver_seconds=times))
        pace = cadence.pace(state, rates)
        assert pace.interval >= rates.fastest
        assert pace.interval <= max(rates.slowest, memory_cost / share * 1.001)
        now += pace.interval
