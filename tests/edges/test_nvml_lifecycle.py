"""When a reader is started, ended and given up: decisions alone, with handed-in time."""

from signal import SIGABRT, SIGKILL, SIGSEGV, SIGTERM

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vramwatch.core.model import EventKind, Fault, FaultKind
from vramwatch.core.units import Seconds
from vramwatch.driver.lifecycle import Lifecycle, Phase
from vramwatch.driver.wire import Calling

MEMORY_OF_A = Calling("nvmlDeviceGetMemoryInfo_v2", "GPU-a", 0, 2.0)
MEMORY_OF_B = Calling("nvmlDeviceGetMemoryInfo_v2", "GPU-b", 1, 2.0)
INIT = Calling("nvmlInitWithFlags", None, None, 15.0)
DEADLINE, START_DEADLINE = Seconds(2.0), Seconds(15.0)


def serving(life: Lifecycle, now: float) -> Lifecycle:
    return life.started(now).ready(now)


def hung(life: Lifecycle, now: float, inside: Calling | None = MEMORY_OF_A) -> Lifecycle:
    """A reader is started, hangs, is killed and has ended."""
    life = serving(life, now).overdue(now, DEADLINE, inside).life
    life = life.still_ending(now + 2.0, pid=7).life
    return life.ended(now + 2.1)


def stuck(life: Lifecycle, now: float, pid: int, inside: Calling | None) -> Lifecycle:
    """A reader is started, hangs, is killed and lives on for longer than is waited."""
    life = serving(life, now).overdue(now, DEADLINE, inside).life
    life = life.still_ending(now + 2.1, pid).life
    return life.still_ending(now + 4.2, pid).life


def test_the_first_poll_may_start_a_reader():
    assert Lifecycle().may_start(0.0)


def test_a_reader_that_does_not_answer_gets_term_then_2_s_then_kill():
    told = serving(Lifecycle(), 10.0).overdue(12.0, DEADLINE, MEMORY_OF_A)
    assert told.signal == SIGTERM
    assert told.life.fault == Fault(
        FaultKind.HUNG,
        "the driver did not answer within 2s, inside nvmlDeviceGetMemoryInfo_v2 on GPU-a for 2s",
        "nvmlDeviceGetMemoryInfo_v2",
    )
    waiting = told.life.still_ending(13.9, pid=7)
    assert waiting.signal is None
    assert waiting.life.still_ending(14.0, pid=7).signal == SIGKILL


def test_the_kill_tells_which_gpu_and_call_hung_and_for_how_long():
    (event,) = serving(Lifecycle(), 10.0).overdue(12.0, DEADLINE, MEMORY_OF_A).events
    assert event.kind is EventKind.READER_KILLED
    assert event.gpu == "GPU-a"
    assert "nvmlDeviceGetMemoryInfo_v2" in event.detail
    assert "2s" in event.detail


def test_a_hanging_start_is_told_as_such():
    move = Lifecycle().started(0.0).overdue(15.0, START_DEADLINE, INIT)
    (event,) = move.events
    assert event.kind is EventKind.INIT_HUNG
    assert event.gpu is None
    assert "did not start within 15s" in event.detail


def test_a_gpu_that_hangs_while_it_is_opened_counts_as_that_gpu_hanging():
    opening = Calling("nvmlDeviceGetHandleByIndex", "index:3", 3, 15.0)
    move = Lifecycle().started(0.0).overdue(15.0, START_DEADLINE, opening)
    assert move.events[0].kind is EventKind.READER_KILLED
    assert move.life.suspects["index:3"].count == 1


def test_restarts_back_off_to_a_minute_and_begin_anew_after_a_good_one():
    life, now, delays = Lifecycle(), 0.0, []
    for _ in range(8):
        life = serving(life, now).crashed(now, "was ended by SIGKILL", SIGKILL, None).life
        delays.append(life.start_at - now)
        now = life.start_at
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    life = serving(life, now).answered(now + 59.0)
    assert life.crashed(now + 59.0, "ended", None, None).life.start_at - (now + 59.0) == 60
    life = life.answered(now + 60.0)
    assert life.crashed(now + 60.0, "ended", None, None).life.start_at - (now + 60.0) == 1


def test_a_missing_driver_is_looked_for_every_30_s():
    why = Fault(FaultKind.NO_DRIVER, "no driver")
    life, now = Lifecycle(), 0.0
    for _ in range(3):
        life = life.started(now).said_farewell(now, why)
        assert life.fault is why
        assert not life.may_start(now + 29.9)
        assert life.may_start(now + 30.0)
        now += 30.0


def test_a_gpu_that_hung_twice_is_left_out_and_longer_each_time_up_to_10_minutes():
    life, now, spans = hung(Lifecycle(), 0.0), 100.0, []
    assert life.left_out(now) == {}
    for _ in range(6):
        life = hung(life, now)
        assert life.left_out(now) == {"GPU-a": 0}
        until = life.suspects["GPU-a"].until
        spans.append(until - now)
        assert life.left_out(until) == {}
        now = until
    assert spans == [60, 120, 240, 480, 600, 600]


def test_a_left_out_gpu_says_why_and_until_when():
    life = hung(hung(Lifecycle(), 0.0), 100.0)
    why = life.why_left_out("GPU-a", 110.0)
    assert why.kind is FaultKind.LEFT_OUT
    assert why.detail == "it hung 2 times, last in nvmlDeviceGetMemoryInfo_v2; it is tried again in 50s"


def test_many_slow_calls_blame_no_gpu():
    slow = MEMORY_OF_A._replace(seconds=0.3)
    assert hung(hung(Lifecycle(), 0.0, slow), 100.0, slow).suspects == {}


def test_a_hang_is_forgiven_after_a_good_hour():
    life = serving(hung(Lifecycle(), 0.0), 10.0)
    assert life.answered(3500.0).suspects
    assert not life.answered(3700.0).suspects


@pytest.mark.parametrize("signal", [SIGSEGV, SIGABRT])
def test_a_crash_inside_the_library_counts_against_the_gpu(signal):
    move = serving(Lifecycle(), 0.0).crashed(1.0, "was ended by it", signal, MEMORY_OF_A)
    assert move.life.suspects["GPU-a"].count == 1
    assert move.life.fault.kind is FaultKind.CRASHED
    assert move.life.fault.call == "nvmlDeviceGetMemoryInfo_v2"


def test_a_reader_that_answers_nonsense_is_ended_and_replaced():
    move = serving(Lifecycle(), 0.0).babbled(1.0, "something unreadable")
    assert move.signal == SIGTERM
    assert [event.kind for event in move.events] == [EventKind.READER_KILLED]
    life = move.life.still_ending(3.0, pid=7).life.ended(3.1)
    assert life.fault.detail == "the reader of the GPUs answered something unreadable"
    assert life.may_start(4.1)


def test_a_reader_that_closed_its_end_and_lives_is_ended():
    why = Fault(FaultKind.CRASHED, "it closed its end")
    move = serving(Lifecycle(), 0.0).lingers(1.0, why, None)
    assert move.signal == SIGTERM
    assert move.life.fault is why


def test_a_kill_from_outside_counts_against_no_gpu():
    move = serving(Lifecycle(), 0.0).crashed(1.0, "was ended by SIGKILL", SIGKILL, MEMORY_OF_A)
    assert move.life.suspects == {}


def test_while_an_unkillable_reader_lives_one_replacement_runs_without_its_gpu():
    life = stuck(Lifecycle(), 0.0, 7, MEMORY_OF_A)
    assert life.may_start(10.0)
    assert life.left_out(10.0) == {"GPU-a": 0}
    assert "pid 7" in life.why_left_out("GPU-a", 10.0).detail


def test_the_unkillable_reader_is_an_event_of_its_own():
    life = serving(Lifecycle(), 0.0).overdue(0.0, DEADLINE, MEMORY_OF_A).life
    life = life.still_ending(2.0, 7).life
    assert not life.still_ending(3.9, 7).events
    (event,) = life.still_ending(4.0, 7).events
    assert event.kind is EventKind.READER_STUCK
    assert event.gpu == "GPU-a"


def test_no_second_replacement_is_started_until_one_of_two_stuck_readers_ends():
    life = stuck(stuck(Lifecycle(), 0.0, 7, MEMORY_OF_A), 100.0, 8, MEMORY_OF_B)
    assert not life.may_start(10_000.0)
    life = life.stuck_ended(7)
    assert life.may_start(10_000.0)
    assert life.left_out(10_000.0) == {"GPU-b": 1}


def test_none_is_started_while_an_unkillable_reader_is_stuck_in_init():
    life = Lifecycle().started(0.0).overdue(15.0, START_DEADLINE, INIT).life
    life = life.still_ending(17.0, 7).life.still_ending(19.0, 7).life
    assert not life.may_start(10_000.0)
    assert life.fault.kind is FaultKind.HUNG
    assert "nvmlInitWithFlags" in life.fault.detail
    assert life.stuck_ended(7).may_start(10_000.0)


def test_a_reader_that_hangs_in_init_and_can_be_killed_is_tried_again():
    life = Lifecycle().started(0.0).overdue(15.0, START_DEADLINE, INIT).life
    life = life.still_ending(17.0, 7).life.ended(17.1)
    assert not life.may_start(18.0)
    assert life.may_start(18.2)


def test_a_released_reader_starts_when_the_gpus_are_taken_up_again_and_not_before():
    life = hung(Lifecycle(), 0.0).let_go()
    assert not life.may_start(10_000.0)
    assert life.fault.kind is FaultKind.RELEASED
    assert life.taken_up().may_start(2.2)


EVENTS = st.lists(st.sampled_from(["hang a", "hang b", "hang init", "crash", "stuck a", "good"]), max_size=30)


@given(EVENTS)
@example(
    ["hang a"] * 2
    + ["good"]
    + ["hang a"] * 2
    + ["stuck a", "good"]
    + ["hang a"] * 8
    + ["good", "hang a", "stuck a"]
)
def test_whatever_happens_the_reader_may_start_within_a_minute_unless_one_is_stuck(happenings):
    life, now = Lifecycle(), 0.0
    inside = {"hang a": MEMORY_OF_A, "hang b": MEMORY_OF_B, "hang init": INIT}
    for pid, happening in enumerate(happenings):
        if not life.may_start(now):
            break
        if happening in inside:
            life = hung(life, now, inside[happening])
        elif happening == "crash":
            life = serving(life, now).crashed(now, "was ended", SIGSEGV, MEMORY_OF_B).life
        elif happening == "stuck a":
            life = stuck(life, now, pid, MEMORY_OF_A)
        else:
            life = serving(life, now).answered(now + 70.0)
            life = life.crashed(now + 70.0, "was ended", SIGKILL, None).life
        now = max(now + 5.0, life.start_at)
        assert life.phase is Phase.ABSENT
        assert life.start_at <= now + 60.0
        assert life.may_start(life.start_at) == (len(life.stuck) <= 1)
