"""What a process says when it enrols, and what it reports of itself afterwards."""

import dataclasses
import logging
import signal
import threading

import pytest

from tests.sdk.allocators import MIB, UUID
from tests.sdk.tensors import full_cache
from tests.waiting import wait_until
from vramwatch.sdk import Device, __version__, enroll
from vramwatch.sdk.wire import Refused, Report


def test_a_worker_says_who_it_is_and_what_may_be_asked_of_it(enrol):
    _, peer = enrol(name="chat", model="llama", on_pressure=lambda: None)
    said = peer.hello
    assert (said.name, said.model, said.sdk) == ("chat", "llama", __version__)
    assert said.remedies == ("ask",)
    assert said.clears == ("callback", "gc", "empty_cache")
    assert (said.rank, said.world, said.group) == (0, 1, "")


def test_ranks_of_torchrun_say_what_they_have_in_common(enrol, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "n1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    _, peer = enrol()
    assert (peer.hello.rank, peer.hello.world, peer.hello.group) == (1, 4, "n1:29500")


def test_reports_come_again_and_again_with_the_allocators_figures(enrol, allocator):
    allocator.allocated, allocator.reserved = 3 * MIB, 5 * MIB
    _, peer = enrol()
    first, second = peer.hears(Report), peer.hears(Report)
    assert (first.seq, second.seq) == (1, 2)
    assert second.monotonic > first.monotonic
    (device,) = second.devices
    assert (device.uuid, device.allocated, device.reserved) == (UUID, 3 * MIB, 5 * MIB)


def test_requests_in_flight_are_counted_over_threads(enrol):
    worker, peer = enrol()
    go_on = threading.Event()

    def serve():
        with worker.request():
            go_on.wait()

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    worker.requests_waiting = 7
    report = peer.reports(lambda report: report.requests_running == 3)
    assert (report.requests_total, report.requests_waiting) == (3, 7)
    go_on.set()
    for thread in threads:
        thread.join()
    assert peer.reports(lambda report: report.requests_running == 0).requests_total == 3


def test_a_request_that_fails_is_over_all_the_same(enrol):
    worker, peer = enrol()
    with pytest.raises(ZeroDivisionError), worker.request():
        1 / 0  # noqa: B018
    assert peer.reports(lambda report: report.requests_total == 1).requests_running == 0


def test_tracked_caches_are_reported_until_they_die(enrol):
    worker, peer = enrol()
    cache = full_cache(layers=2, elements=MIB)
    worker.track_kv(cache)
    report = peer.reports(lambda report: report.devices[0].kv_resident)
    (device,) = report.devices
    assert (device.kv_logical, device.kv_resident, device.kv_retained) == (8 * MIB, 8 * MIB, 0)
    assert not report.kv_requires_grad
    del cache
    peer.reports(lambda report: report.devices[0].kv_resident is None)


def test_a_cache_that_outlives_its_request_is_reported_as_retained(enrol):
    worker, peer = enrol()
    with worker.request():
        cache = full_cache(layers=1, elements=MIB, requires_grad=True)
        worker.track_kv(cache)
        peer.reports(lambda report: report.devices[0].kv_retained == 0)
    report = peer.reports(lambda report: report.devices[0].kv_retained)
    assert report.devices[0].kv_retained == 4 * MIB
    assert report.kv_requires_grad
    del cache


def test_a_held_stretch_is_reported(enrol):
    worker, peer = enrol()
    with worker.hold():
        peer.reports(lambda report: report.capturing)
    peer.reports(lambda report: not report.capturing)


def test_a_process_enrols_once(enrol, caplog):
    worker, _ = enrol(name="first")
    assert enroll(name="second") is worker
    assert "enrolled already" in caplog.text


def test_what_means_nothing_is_left_out_and_said(enrol, caplog):
    _, peer = enrol(remedies={"ask", "reboot"}, clears=("gc", "everything"))
    assert peer.hello.remedies == ("ask",)
    assert peer.hello.clears == ("gc",)
    assert "'reboot' means nothing" in caplog.text
    assert "'everything' means nothing" in caplog.text


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_no_signal_is_offered_that_ends_or_stops_a_process(enrol, caplog, name):
    before = signal.getsignal(signal.Signals[name])
    _, peer = enrol(remedies=("ask", f"signal:{name}"))
    assert peer.hello.remedies == ("ask",)
    assert signal.getsignal(signal.Signals[name]) == before
    assert f"'signal:{name}' means nothing here" in caplog.text


@pytest.mark.parametrize(
    ("argument", "wrong"), [("max_pause", "a"), ("cooldown", -1), ("cooldown", float("nan"))]
)
def test_what_is_no_duration_leaves_the_default_and_is_said(enrol, caplog, argument, wrong):
    _, peer = enrol(**{argument: wrong})
    assert peer.hello.remedies == ("ask",)
    assert f"enroll({argument}=…): {wrong!r} is no duration" in caplog.text


def test_what_cannot_be_called_is_not_offered(enrol, caplog):
    _, peer = enrol(on_pressure="drop")
    assert "callback" not in peer.hello.clears
    assert "'drop' cannot be called" in caplog.text


def test_arguments_of_no_use_leave_the_application_alone(daemon, caplog):
    worker = enroll(remedies=7)
    assert not worker.is_enrolled
    assert "not enrolled" in caplog.text
    with worker.request():
        assert not worker.safe_point()


def test_who_is_refused_says_so_once_and_goes_on(daemon, caplog, allocator):
    worker = enroll(allocator=allocator)
    peer = daemon.take()
    peer.hears()
    with caplog.at_level(logging.WARNING):
        peer.says(Refused("uid 1000 may not enrol"))
        wait_until(lambda: worker.refusal)
    assert worker.refusal == "uid 1000 may not enrol"
    assert peer.is_over()
    assert daemon.is_left_alone(1.0)
    worker.close()


def test_a_worker_that_is_turned_out_later_knows_why_and_does_not_come_back_at_once(enrol, daemon):
    worker, peer = enrol()
    peer.says(Refused("too many messages"))
    assert peer.is_over()
    wait_until(lambda: worker.refusal == "too many messages")
    assert not worker.is_enrolled
    assert daemon.is_left_alone(1.0)


def test_the_switch_in_the_environment_turns_everything_off(daemon, monkeypatch, allocator):
    monkeypatch.setenv("VRAMWATCH_DISABLE", "1")
    worker = enroll(allocator=allocator)
    assert daemon.is_left_alone(0.5)
    with worker.request(), worker.hold():
        worker.track_kv(full_cache())
        assert not worker.safe_point()
    worker.close()


def test_a_worker_that_closes_withdraws_its_consent(enrol):
    worker, peer = enrol()
    worker.close()
    assert peer.is_over()
    assert not worker.is_enrolled


@pytest.mark.parametrize("figure", ["many", 1.5, float("nan"), object()])
def test_figures_that_are_none_are_left_out_and_the_rest_is_reported(enrol, allocator, figure):
    worker, peer = enrol()
    worker.requests_waiting = figure
    allocator.allocated = figure
    allocator.reserved = 5
    report = peer.reports(lambda report: report.seq > 2)
    assert report.devices == ()
    assert report.requests_waiting in {None, 1}


def test_more_gpus_than_fit_a_message_are_left_out(enrol, allocator):
    fields = [field.name for field in dataclasses.fields(Device) if field.name != "uuid"]
    many = [Device(f"GPU-{index:036}", **dict.fromkeys(fields, 10**12)) for index in range(32)]
    allocator.devices = lambda: many
    _, peer = enrol()
    told = peer.hears(Report).devices
    assert 8 <= len(told) < 32
    assert list(told) == many[: len(told)]


def test_an_allocator_that_fails_costs_its_figures_alone(enrol, allocator, caplog):
    worker, peer = enrol()
    allocator.devices = lambda: 1 / 0
    assert peer.reports(lambda report: not report.devices)
    assert "ZeroDivisionError" in caplog.text
    with worker.request():
        pass
    assert peer.reports(lambda report: report.requests_total == 1)
