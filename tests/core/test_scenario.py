"""The simulated server: what follows from a scenario, a seed and a moment."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vramwatch.core.errors import UsageError
from vramwatch.core.model import Ask, ProcessState, Readings
from vramwatch.core.units import GIB, MIB, Seconds
from vramwatch.scenario.curves import chance, requests_between, requests_in_flight
from vramwatch.scenario.schema import Load, Scenario, load_scenario
from vramwatch.scenario.server import Server

HOUR = 3600
DAY = 24 * HOUR
DEFAULT = load_scenario(None)
MOMENTS = st.floats(min_value=0, max_value=3 * DAY).map(Seconds)


def server(seed: int = 1, scenario: Scenario | None = None) -> Server:
    return Server(scenario or DEFAULT, seed, "boot", booted=1_700_000_000.0)


def small(**process: object) -> Scenario:
    return Scenario.model_validate(
        {
            "gpus": [{"name": "small", "total": "24GiB", "reserved": "300MiB"}],
            "processes": [{"name": "worker", "argv": ["worker"], "gpu": 0, **process}],
        }
    )


def claim(scenario: Scenario, time: float) -> int | None:
    """The bytes of the only process, None where it is not listed."""
    claims = server(1, scenario).readings(Seconds(time), Ask()).gpus[0].claims
    return claims[0].used if claims else None


def titles(here: Server, readings: Readings, time: Seconds, gpu: int) -> list[str]:
    return [here.facts(claim.pid, time).title for claim in readings.gpus[gpu].claims or ()]


@given(st.integers(0, 2**32), MOMENTS)
def test_the_books_of_every_gpu_balance_at_every_moment(seed: int, time: Seconds) -> None:
    for reading in server(seed).readings(time, Ask()).gpus:
        memory = reading.memory
        assert memory.used + memory.free + memory.reserved == memory.total
        assert min(memory.used, memory.free, memory.reserved) >= 0
        assert sum(claim.used or 0 for claim in reading.claims or ()) <= memory.used


@given(st.integers(0, 2**32), MOMENTS)
def test_processes_hold_whole_allocation_quanta_and_the_driver_a_little_that_is_nobodys(
    seed: int, time: Seconds
) -> None:
    for reading in server(seed).readings(time, Ask()).gpus:
        held = [claim.used or 0 for claim in reading.claims or ()]
        assert all(size > 0 and size % (2 * MIB) == 0 for size in held)
        assert reading.memory.used - sum(held) == 4 * MIB


@given(st.integers(0, 2**32), MOMENTS, st.lists(MOMENTS, max_size=5))
def test_a_moment_is_the_same_whatever_was_polled_before_it(
    seed: int, time: Seconds, polled: list[Seconds]
) -> None:
    polled_often = server(seed)
    for earlier in polled:
        polled_often.readings(earlier, Ask())
    assert polled_often.readings(time, Ask()) == server(seed).readings(time, Ask())


def test_another_seed_is_another_day() -> None:
    moments = [Seconds(minute * 60.0) for minute in range(120)]
    one, other = (
        [server(seed).readings(time, Ask()).gpus[2].memory.used for time in moments] for seed in (1, 2)
    )
    assert one != other


@given(MOMENTS)
def test_every_process_that_is_listed_is_known_and_no_two_share_a_key(time: Seconds) -> None:
    here = server()
    pids = [claim.pid for reading in here.readings(time, Ask()).gpus for claim in reading.claims or ()]
    facts = [here.facts(pid, time) for pid in pids]
    assert len({each.key for each in facts}) == len(set(pids)) == len(pids)
    assert all(each.key.start_ticks > 0 and each.title for each in facts)


def test_the_default_server_is_the_one_that_is_promised() -> None:
    here = server()
    time = Seconds(30.0 * 60)
    readings = here.readings(time, Ask())
    assert titles(here, readings, time, 0) == ["VLLM::Worker_TP0"]
    assert titles(here, readings, time, 1) == ["VLLM::Worker_TP1"]
    assert any("summarise" in title for title in titles(here, readings, time, 2))
    assert len(titles(here, readings, time, 3)) == 2


def test_a_rank_names_its_engine_core_and_its_api_server_as_ancestors() -> None:
    here = server()
    time = Seconds(600)
    (rank,) = here.readings(time, Ask()).gpus[0].claims or ()
    ancestors = here.facts(rank.pid, time).ancestors
    assert [ancestor.name for ancestor in ancestors] == ["python3", "python3", "systemd"]
    assert ancestors[0].title == "VLLM::EngineCore"
    assert "serve" in ancestors[1].argv
    assert here.facts(ancestors[1].pid, time).unit == "chat.service"


def test_vllm_is_flat_once_its_pool_is_taken() -> None:
    here = server()
    used = {
        here.readings(Seconds(minute * 60.0), Ask()).gpus[0].memory.used for minute in range(3, 24 * 60, 7)
    }
    assert len(used) == 1


def test_ollama_runs_a_new_process_at_each_load_and_none_in_between() -> None:
    here = server()
    pids: set[int] = set()
    idle = 0
    for minute in range(0, 6 * 60):
        time = Seconds(minute * 60.0)
        runners = [
            claim.pid
            for claim in here.readings(time, Ask()).gpus[2].claims or ()
            if "llama-server" in here.facts(claim.pid, time).argv[0]
        ]
        pids.update(runners)
        idle += not runners
    assert len(pids) == 12
    assert 2 * 60 < idle < 4 * 60
    assert {here.facts(pid, Seconds(7.0 * HOUR)).state for pid in pids} == {ProcessState.GONE}


def test_the_ghost_keeps_its_bytes_after_its_process_has_gone() -> None:
    here = server()
    before, after = Seconds(40.0 * 60), Seconds(2.0 * HOUR)
    (ghost,) = (
        found
        for found in here.readings(after, Ask()).gpus[3].claims or ()
        if here.facts(found.pid, after).state is ProcessState.GONE
    )
    assert ghost in (here.readings(before, Ask()).gpus[3].claims or ())
    assert here.facts(ghost.pid, before).state is ProcessState.ALIVE
    assert here.facts(ghost.pid, before).key == here.facts(ghost.pid, after).key


def test_a_leak_grows_by_what_it_says_an_hour() -> None:
    leaking = small(memory={"context": "500MiB", "leak": {"per_hour": "120MiB"}})
    assert claim(leaking, 0) == 500 * MIB
    assert claim(leaking, 10 * HOUR) == 1700 * MIB


def test_a_leak_per_request_stands_still_without_requests() -> None:
    idle = {"peak": 0, "period": "1h", "service": "1s"}
    leaking = small(load=idle, memory={"context": "500MiB", "leak": {"per_request": "1MiB"}})
    assert claim(leaking, 10 * HOUR) == 500 * MIB


def test_kv_rises_with_the_load_and_falls_with_it() -> None:
    load = {"low": 0, "peak": 4, "period": "1h", "service": "2s", "jitter": 0}
    serving = small(load=load, memory={"kv": {"per_request": "1GiB"}})
    assert [claim(serving, time) for time in (0, 1800, 3600)] == [None, 8 * GIB, None]


def test_a_process_never_gets_more_than_its_gpu_has_left() -> None:
    greedy = small(memory={"preallocate": {"size": "100GiB"}})
    reading = server(1, greedy).readings(Seconds(60), Ask()).gpus[0]
    assert reading.memory.free < 2 * MIB
    assert reading.memory.used + reading.memory.reserved <= reading.memory.total


def test_only_the_lists_that_are_asked_for_are_read() -> None:
    here = server()
    wanted = here.gpus[2].uuid
    readings = here.readings(Seconds(600), Ask(lists=frozenset({wanted}), slow=False))
    assert [reading.gpu.uuid for reading in readings.gpus if reading.claims is not None] == [wanted]
    assert all(reading.temperature is None and reading.power is None for reading in readings.gpus)


def test_a_torch_worker_tells_what_its_allocator_holds_and_it_fits_into_its_claim() -> None:
    reading = server().readings(Seconds(1800), Ask()).gpus[2]
    told = {(gauge.pid, gauge.quantity): gauge.value for gauge in reading.gauges}
    workers = {pid for pid, quantity in told if quantity == "torch_reserved_bytes"}
    claims = {each.pid: each.used or 0 for each in reading.claims or ()}
    assert workers
    for pid in workers:
        assert 0 < told[pid, "torch_allocated_bytes"] <= told[pid, "torch_reserved_bytes"] <= claims[pid]
        assert told[pid, "requests_total"] > 0


@given(
    low=st.floats(0, 5),
    rise=st.floats(0, 50),
    period=st.floats(60, DAY),
    since=MOMENTS,
    first=MOMENTS,
    second=MOMENTS,
)
def test_requests_never_run_backwards_and_add_up(
    low: float, rise: float, period: float, since: Seconds, first: Seconds, second: Seconds
) -> None:
    load = Load(low=low, peak=low + rise, period=Seconds(period), service=Seconds(1.0))
    early, late = Seconds(since + first), Seconds(since + first + second)
    whole = requests_between(load, since, late)
    parts = requests_between(load, since, early) + requests_between(load, early, late)
    assert requests_between(load, since, early) <= whole
    assert abs(whole - parts) <= 1


@settings(max_examples=50)
@given(st.integers(0, 2**64), MOMENTS)
def test_no_more_requests_run_than_there_are_slots(seed: int, time: Seconds) -> None:
    load = Load(low=2, peak=9, period=Seconds(600), service=Seconds(10), slots=30, jitter=0.5)
    running, waiting = requests_in_flight(load, time, seed, "worker")
    assert 0 <= running <= 30
    assert waiting == 0 or running == 30


@given(st.integers(-(2**70), 2**70), st.text(), st.integers(-(2**70), 2**70))
def test_a_chance_is_a_share_and_always_the_same(seed: int, name: str, number: int) -> None:
    assert 0 <= chance(seed, name, number) < 1
    assert chance(seed, name, number) == chance(seed, name, number)


def test_chances_are_even() -> None:
    drawn = [chance(7, "evenness", number) for number in range(2000)]
    assert 0.47 < sum(drawn) / len(drawn) < 0.53


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gpus: [", "not YAML"),
        ("seed: 2026-02-31", "not YAML"),
        ("gpus: [{name: a, total: 9999TiB}]", "gpus.0.total: Input should be less than or equal to"),
        ("seed: 1", "gpus: Field required"),
        (
            "gpus: [{name: a, total: 24 parsecs}]",
            "gpus.0.total: '24 parsecs' is not a size; write bytes or a unit",
        ),
        ("gpus: [{name: a, total: 1GiB, memory: 2}]", "gpus.0.memory: Extra inputs are not permitted"),
        (
            "gpus: [{name: a, total: 1GiB, reserved: 2GiB}]",
            "gpus.0: reserved and overhead exceed the total of 1.0 GiB",
        ),
        (
            "gpus: [{name: a, total: 1GiB}]\nprocesses: [{name: b, argv: [b], gpu: 3}]",
            "scenario: 'b': there is no gpu 3; the last is 0",
        ),
        (
            "gpus: [{name: a, total: 1GiB}]\n"
            "processes: [{name: b, argv: [b], gpu: 0, memory: {kv: {per_request: 1}}}]",
            "processes.0: kv and leak.per_request need a load",
        ),
        (
            "gpus: [{name: a, total: 1GiB}]\nprocesses: [{name: b, argv: [b], parent: c}]",
            "scenario: 'b': its parent 'c' must stand above it",
        ),
        (
            "gpus: [{name: a, total: 1GiB}]\nprocesses: [{name: b, argv: [b], life: {lasts: 2h, every: 1h}}]",
            "processes.0.life: lasts (7200 s) is longer than every (3600 s)",
        ),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_with_its_file_and_place(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        load_scenario(file)
    assert str(refused.value).startswith(f"{file}: {told}")


def test_a_scenario_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml: No such file"):
        load_scenario(tmp_path / "nowhere.yaml")
