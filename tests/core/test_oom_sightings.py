"""From what logs said to events."""

import pytest

from vramwatch.core.model import (
    Container,
    EventKind,
    Gpu,
    Holding,
    Instant,
    Ledger,
    Memory,
    Origin,
    OutOfMemory,
    Owner,
    OwnerKind,
    Pod,
    ProcessFacts,
    ProcessKey,
    Reading,
    Tenant,
)
from vramwatch.core.oom_lines import OomKind, OomReport
from vramwatch.core.oom_sightings import KEYS_MOST, TELL_EVERY, Digest, Sighting, event, locate
from vramwatch.core.units import GIB, Bytes

REPORT = OomReport(OomKind.ALLOCATION, "torch", tried=Bytes(2 * GIB), free=Bytes(GIB), device=1)
SEEN = Sighting(REPORT, unit="llama.service", pid=42)
ID = "ab" * 32


def holding(pid, **facts):
    process = ProcessFacts(ProcessKey("boot", pid, 7), **facts)
    return Holding(pid, Bytes(GIB), Tenant(process, Owner("k", "n", OwnerKind.UNIT)))


def ledger(gpu, *holdings):
    memory = Memory(Bytes(80 * GIB), Bytes(GIB), Bytes(79 * GIB), Bytes(0))
    at = Instant(1, 1.0, 1.0, "boot")
    return Ledger(at, Reading(Gpu(gpu, "0", "H100"), memory), holdings, Bytes(0), (), at)


def test_an_event_has_the_numbers_in_its_detail_and_as_numbers():
    told = event(SEEN, 0, [ledger("GPU-a", holding(42))])
    assert told.kind is EventKind.OUT_OF_MEMORY
    assert told.detail == (
        "origin=log kind=allocation engine=torch unit=llama.service pid=42 tried_bytes=2147483648 "
        "free_bytes=1073741824 device=1"
    )
    numbers = {"tried_bytes": 2 * GIB, "free_bytes": GIB, "device": 1}
    assert told.out_of_memory == OutOfMemory(42, "GPU-a", numbers, Origin.LOG)


def test_a_preemption_is_an_event_of_its_own_and_no_process_that_ran_out_of_memory():
    report = OomReport(OomKind.PREEMPTION, "sglang", requests=3)
    told = event(Sighting(report, container=ID, container_name="chat"), 4, [])
    assert told.kind is EventKind.KV_CACHE_FULL
    assert told.out_of_memory is None
    assert told.detail == "origin=log kind=preemption engine=sglang container=chat requests=3 repeated=4"


def test_a_pid_that_logs_for_its_workers_is_found_by_its_unit():
    ledgers = [
        ledger("GPU-a", holding(7, unit="other.service")),
        ledger("GPU-b", holding(8, unit="llama.service")),
    ]
    assert locate(SEEN, ledgers) == (42, "GPU-b")


def test_a_start_that_fails_before_it_holds_anything_was_on_the_only_gpu_there_is():
    one, two = ledger("GPU-a"), ledger("GPU-b", holding(7))
    assert locate(SEEN, [one, one], is_whole=True) == (42, "GPU-a")
    assert locate(SEEN, [one], is_whole=False) == (42, None)
    assert locate(SEEN, [one, two], is_whole=True) == (42, None)


def test_a_user_unit_of_the_same_name_is_another():
    mine = holding(8, unit="llama.service", unit_owner="alice")
    assert locate(SEEN, [ledger("GPU-b", mine)]) == (42, None)


def test_a_container_that_has_one_process_there_names_its_pid():
    inside = holding(8, container=Container(ID, "docker"))
    assert locate(Sighting(REPORT, container=ID), [ledger("GPU-b", inside, holding(9))]) == (8, "GPU-b")


def test_a_container_of_a_pod_is_found_by_its_names():
    inside = holding(8, pod=Pod("u-1", "chat-0", "prod", "server"))
    seen = Sighting(REPORT, container_name="prod/chat-0/server")
    assert locate(seen, [ledger("GPU-b", inside)]) == (8, "GPU-b")


def test_which_of_several_gpus_it_was_is_not_guessed_from_a_bare_number():
    both = [ledger("GPU-a", holding(42)), ledger("GPU-b", holding(42))]
    assert locate(SEEN, both) == (42, None)


@pytest.mark.parametrize(
    ("visible", "gpu"),
    [("GPU-a1,GPU-b2", "GPU-b2"), ("GPU-a,GPU-b", "GPU-b2"), ("0,1", None), ("GPU-b2", None), ("", None)],
)
def test_a_device_is_looked_up_among_those_that_were_given_by_uuid(visible, gpu):
    process = holding(42, environment={"CUDA_VISIBLE_DEVICES": visible})
    assert locate(SEEN, [ledger("GPU-a1", process), ledger("GPU-b2", process)]) == (42, gpu)


def test_the_same_again_is_counted_and_told_when_its_minute_is_over():
    digest = Digest()
    assert digest.take([SEEN, SEEN, SEEN], 100.0) == [(SEEN, 0)]
    assert digest.take([SEEN], 130.0) == []
    assert digest.take([], 100.0 + TELL_EVERY) == [(SEEN, 2)]
    assert digest.take([], 100.0 + 2 * TELL_EVERY) == []
    assert digest.take([SEEN], 100.0 + 4 * TELL_EVERY) == [(SEEN, 0)]


def test_two_processes_that_say_the_same_are_two():
    other = Sighting(REPORT, unit="llama.service", pid=43)
    assert Digest().take([SEEN, other], 1.0) == [(SEEN, 0), (other, 0)]


def test_a_crowd_of_processes_is_remembered_within_bounds():
    digest = Digest()
    crowd = [Sighting(REPORT, unit="llama.service", pid=pid) for pid in range(10 * KEYS_MOST)]
    digest.take(crowd, 1.0)
    assert len(digest._known) == KEYS_MOST
