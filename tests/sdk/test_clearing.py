"""What a worker does when it is asked to give memory back, and what it says of it."""

import threading
import time

import pytest

from tests.sdk.allocators import MIB
from tests.sdk.tensors import full_cache
from tests.waiting import wait_until
from vramwatch.sdk import caches
from vramwatch.sdk.wire import Answer, Report

EVERYTHING = ("callback", "caches", "gc", "empty_cache")


def test_it_clears_in_order_at_its_safe_point_and_tells_the_bytes_of_each(enrol, allocator):
    allocator.allocated, allocator.reserved = 8 * MIB, 20 * MIB
    worker, peer = enrol(on_pressure=lambda: allocator.free(6 * MIB), clears=EVERYTHING)
    peer.asks(*reversed(EVERYTHING))
    assert peer.hears(Answer).state == "accepted"
    assert allocator.emptied == 0
    assert worker.safe_point()
    answer = peer.hears(Answer)
    assert (answer.id, answer.state, answer.reason) == ("one", "done", "")
    assert [step.what for step in answer.cleared] == list(EVERYTHING)
    assert [step.freed_allocated for step in answer.cleared] == [6 * MIB, 0, 0, 0]
    assert [step.freed for step in answer.cleared] == [0, 0, 0, 18 * MIB]
    assert answer.pause >= sum(step.seconds for step in answer.cleared) > 0
    assert not worker.safe_point()


def test_it_clears_nothing_that_it_did_not_offer(enrol, allocator):
    worker, peer = enrol(clears=("gc",))
    peer.asks("empty_cache", "gc")
    peer.hears(Answer)
    assert worker.safe_point()
    assert [step.what for step in peer.hears(Answer).cleared] == ["gc"]
    assert allocator.emptied == 0


def test_it_refuses_when_nothing_of_it_is_offered(enrol):
    _, peer = enrol(clears=("gc",))
    peer.asks("empty_cache")
    answer = peer.hears(Answer)
    assert (answer.state, answer.reason) == ("refused", "offers none of this")


def test_who_does_not_accept_to_be_asked_refuses(enrol):
    _, peer = enrol(remedies=())
    peer.asks("gc")
    assert peer.hears(Answer).reason == "does not accept to be asked"


def test_a_busy_worker_says_so_and_clears_at_its_safe_point(enrol, allocator):
    worker, peer = enrol()
    with worker.request():
        peer.asks("empty_cache")
        assert peer.hears(Answer).state == "busy"
        assert allocator.emptied == 0
    assert worker.safe_point()
    assert peer.hears(Answer).state == "done"


def test_without_a_safe_point_it_clears_once_nothing_was_in_flight_for_a_while(enrol, allocator):
    worker, peer = enrol(idle_after=0.2)
    with worker.request():
        peer.asks("empty_cache")
        assert peer.hears(Answer).state == "busy"
    assert peer.hears(Answer).state == "done"
    assert allocator.emptied == 1


def test_who_never_marked_a_request_is_not_taken_for_idle(enrol, allocator):
    _, peer = enrol(idle_after=0.0)
    peer.asks("empty_cache", within=0.3)
    assert peer.hears(Answer).state == "accepted"
    answer = peer.hears(Answer)
    assert (answer.state, answer.reason) == ("refused", "no safe point within 0.3 s")
    assert allocator.emptied == 0


def test_requests_that_run_all_the_time_let_the_request_to_clear_lapse(enrol, allocator):
    worker, peer = enrol(idle_after=0.0)
    with worker.request():
        peer.asks("empty_cache", within=0.3)
        assert [peer.hears(Answer).state for _ in range(2)] == ["busy", "refused"]
    assert not worker.safe_point()
    assert allocator.emptied == 0


def test_it_never_clears_twice_within_its_cooldown(enrol, allocator):
    worker, peer = enrol(cooldown=60.0)
    peer.asks("empty_cache")
    peer.hears(Answer)
    assert worker.safe_point()
    peer.hears(Answer)
    peer.asks("empty_cache", id="two")
    answer = peer.hears(Answer)
    assert answer.state == "refused"
    assert answer.reason.endswith("cools down for 60 s")
    assert not worker.safe_point()
    assert allocator.emptied == 1


def test_a_request_that_is_replayed_gets_the_answer_again_and_clears_nothing(enrol, allocator):
    worker, peer = enrol(cooldown=0.0)
    peer.asks("empty_cache")
    peer.hears(Answer)
    worker.safe_point()
    done = peer.hears(Answer)
    peer.asks("empty_cache")
    assert peer.hears(Answer) == done
    assert not worker.safe_point()
    assert allocator.emptied == 1


def test_one_request_waits_at_a_time(enrol):
    _, peer = enrol()
    peer.asks("gc")
    peer.asks("gc", id="two")
    answers = [peer.hears(Answer) for _ in range(2)]
    assert [answer.state for answer in answers] == ["accepted", "refused"]


def test_nothing_is_cleared_while_a_graph_is_captured_or_memory_is_held(enrol, allocator):
    worker, peer = enrol(idle_after=0.0)
    with worker.request():
        pass
    with worker.hold():
        peer.asks("empty_cache")
        peer.hears(Answer)
        assert not worker.safe_point()
        peer.hears()  # a report: the thread had its time, and did not take it for idle
        allocator.capturing = True
    assert not worker.safe_point()
    assert allocator.emptied == 0
    allocator.capturing = False
    wait_until(lambda: allocator.emptied or worker.safe_point())
    assert peer.hears(Answer).state == "done"


def test_a_capture_that_the_callback_begins_keeps_the_allocator_untouched(enrol, allocator):
    worker, peer = enrol(on_pressure=lambda: setattr(allocator, "capturing", True))
    peer.asks("callback", "empty_cache")
    peer.hears(Answer)
    worker.safe_point()
    callback, emptied = peer.hears(Answer).cleared
    assert not callback.error
    assert emptied.error.startswith("withheld: a graph is captured")
    assert allocator.emptied == 0


def test_a_callback_that_raises_is_told_and_the_rest_is_cleared_all_the_same(enrol, allocator):
    def fail():
        raise RuntimeError("no such cache")

    worker, peer = enrol(on_pressure=fail)
    peer.asks("callback", "empty_cache")
    peer.hears(Answer)
    assert worker.safe_point()
    answer = peer.hears(Answer)
    assert answer.state == "done"
    assert answer.cleared[0].error == "RuntimeError: no such cache"
    assert allocator.emptied == 1


def test_a_worker_all_of_whose_steps_fail_says_that_it_failed(enrol):
    worker, peer = enrol(on_pressure=lambda: 1 / 0)
    peer.asks("callback")
    peer.hears(Answer)
    worker.safe_point()
    answer = peer.hears(Answer)
    assert (answer.state, answer.reason) == ("failed", "ZeroDivisionError: division by zero")


def test_a_callback_that_hangs_is_told_while_reports_go_on_and_requests_run(enrol):
    go_on = threading.Event()
    worker, peer = enrol(on_pressure=go_on.wait, idle_after=0.0)
    with worker.request():
        pass
    peer.asks("callback", within=0.3)
    assert peer.hears(Answer).state == "accepted"
    answer = peer.hears(Answer)
    assert (answer.state, answer.reason) == ("failed", "has not returned within 0.3 s")
    peer.asks("callback", id="two")
    assert peer.hears(Answer).reason == "what was asked before has not returned"
    began = time.monotonic()
    with worker.request():
        assert time.monotonic() - began < 1
        peer.reports(lambda report: report.requests_running == 1)
    go_on.set()


def test_an_interrupted_callback_is_the_applications_and_ends_as_failed(enrol):
    def interrupted():
        raise KeyboardInterrupt

    worker, peer = enrol(on_pressure=interrupted)
    peer.asks("callback")
    peer.hears(Answer)
    with pytest.raises(KeyboardInterrupt):
        worker.safe_point()
    assert peer.hears(Answer).state == "failed"


def test_a_step_that_held_requests_up_for_too_long_is_withheld_while_some_run(enrol):
    worker, peer = enrol(on_pressure=lambda: time.sleep(0.05), max_pause=0.01, cooldown=0.0)
    with worker.request():
        for id, state in (("one", "done"), ("two", "refused")):
            peer.asks("callback", id=id)
            peer.hears(Answer)
            worker.safe_point()
            answer = peer.hears(Answer)
            assert answer.state == state
        assert "would hold requests up for 0.05" in answer.reason
    peer.asks("callback", id="three")
    peer.hears(Answer)
    worker.safe_point()
    assert peer.hears(Answer).state == "done"


def test_a_request_that_begins_while_an_idle_worker_clears_waits_for_the_step_and_ends_it(enrol, allocator):
    begun, order = threading.Event(), []

    def empty():
        begun.set()
        time.sleep(0.2)
        order.append("emptied")

    allocator.empty_cache = empty
    worker, peer = enrol(idle_after=0.0)
    with worker.request():
        pass
    peer.asks("empty_cache")
    assert begun.wait(10)
    with worker.request():
        order.append("request")
    assert order == ["emptied", "request"]


def test_only_caches_of_requests_that_are_over_are_emptied_and_only_if_offered(enrol):
    worker, peer = enrol(clears=("caches",), cooldown=0.0)
    own = full_cache()
    worker.track_kv(own)
    with worker.request():
        over = full_cache()
        worker.track_kv(over)
    with worker.request():
        running = full_cache()
        worker.track_kv(running)
        peer.asks("caches")
        peer.hears(Answer)
        assert worker.safe_point()
    assert [caches.measure(cache).resident for cache in (own, over, running)] == [800, 0, 800]


def test_a_cache_that_a_later_request_took_up_again_is_that_ones(enrol):
    worker, peer = enrol(clears=("caches",))
    cache = full_cache()
    with worker.request():
        worker.track_kv(cache)
    with worker.request():
        worker.track_kv(cache)
        peer.asks("caches")
        peer.hears(Answer)
        assert worker.safe_point()
    assert caches.measure(cache).resident == 800


def test_what_was_under_way_when_the_daemon_went_is_not_told_to_the_next(enrol, daemon):
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        go_on.wait()

    worker, peer = enrol(on_pressure=slow, idle_after=0.0)
    with worker.request():
        pass
    peer.asks("callback")
    assert begun.wait(10)
    peer.close()
    again = daemon.meet()
    go_on.set()
    again.hears(Report)
    assert isinstance(again.hears(), Report)


def test_what_a_daemon_asked_that_is_gone_is_not_done(enrol, daemon, allocator):
    worker, peer = enrol()
    peer.asks("empty_cache")
    peer.hears(Answer)
    peer.close()
    again = daemon.meet()
    assert not worker.safe_point()
    again.asks("empty_cache")
    assert again.hears(Answer).state == "accepted"
    assert worker.safe_point()
