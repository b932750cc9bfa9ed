"""Those who connect to do harm cost bounded memory, and never the polls or the others."""

from tests.floods import flood
from vramwatch.core.units import MIB


def test_a_flood_of_connections_and_garbage_costs_little_memory_and_no_poll(tmp_path):
    """The full form, of 10,000 connections, is `python -m benchmarks reception`."""
    cost = flood(tmp_path / "enrol.sock", 300)
    assert cost["failed"] == 0, "the attackers did what they came for"
    assert cost["grown_bytes"] < 16 * MIB
    assert cost["late_seconds"] < 1.0, "less than the interval of the polls, on whatever machine"
    assert cost["enrolled"], "who was there before is still heard"
