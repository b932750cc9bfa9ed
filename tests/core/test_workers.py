"""What a worker says of itself, beside what the driver says of it."""

from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.model import ProcessKey
from vramwatch.core.records import worker_record
from vramwatch.core.units import GIB, Bytes
from vramwatch.core.workers import Worker
from vramwatch.sdk.wire import Device, Hello, Report

KEY = ProcessKey("boot", 4100, 7)


def worker(*devices, remedies=("ask",), **report):
    return Worker(KEY, 1000, Hello(remedies=remedies), 10.0, Report(1, devices=devices, **report), 12.0)


def told(one, gpu="GPU-a"):
    return {gauge.quantity: gauge.value for gauge in one.gauges(gpu)}


def test_what_is_not_known_is_not_told():
    assert told(worker(Device("GPU-a", allocated=5))) == {"torch_allocated_bytes": 5.0}
    assert told(worker(Device("GPU-b", allocated=5))) == {}
    assert told(Worker(KEY, 1000, Hello(), 10.0)) == {}


def test_the_bytes_of_a_cache_are_those_of_the_storages_behind_it():
    both = told(worker(Device("GPU-a", kv_logical=3, kv_resident=8)))
    assert (both["engine_kv_bytes"], both["kv_logical_bytes"]) == (8.0, 3.0)
    assert told(worker(Device("GPU-a", kv_logical=3)))["engine_kv_bytes"] == 3.0


def test_a_worker_without_an_allocator_tells_its_requests_on_whichever_gpu_it_is():
    assert told(worker(requests_running=2, requests_total=7), "GPU-any") == {
        "requests_running": 2.0,
        "requests_total": 7.0,
    }


@given(st.integers(max_value=-1))
def test_a_negative_figure_is_no_figure(value):
    assert told(worker(Device("GPU-a", allocated=value, reserved=value), requests_running=value)) == {}


@given(st.integers(0, 2**62), st.integers(0, 2**40))
def test_a_worker_is_doubted_only_where_it_says_more_than_the_driver(said, held):
    more = worker(Device("GPU-a", reserved=said)).excess("GPU-a", Bytes(held))
    assert more is None or more > 0
    if said <= held:
        assert more is None
    if said > 2 * held + GIB:
        assert more is not None


def test_where_the_driver_withholds_its_figure_nothing_can_be_doubted():
    assert worker(Device("GPU-a", reserved=9 * GIB)).excess("GPU-a", None) is None


def test_consent_is_to_each_remedy_by_its_name():
    one = worker(remedies=("ask", "signal:SIGURG"))
    assert one.consents_to("ask")
    assert one.consents_to("signal:SIGURG")
    assert not one.consents_to("signal:SIGTERM")
    assert not worker(remedies=()).consents_to("ask")


def test_a_record_tells_how_long_ago_it_enrolled_and_reported():
    record = worker_record(worker(Device("GPU-a", allocated=5), requests_running=2), (), 15.0)
    assert (record["enrolled_seconds"], record["reported_seconds"]) == (5.0, 3.0)
    assert record["gpus"]["GPU-a"]["allocated_bytes"] == 5
    assert record["requests_running"] == 2
