"""Which window is fed by which ledger, and what ends one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers import CARD, HOUR, STEP, Moment, Process, one, poll, torch, watch
from vramwatch.core.floors import WARM_UP
from vramwatch.core.folding import (
    EXAMINED_EVERY,
    OWNER_KEPT,
    SETTLED_AFTER,
    GpuWindows,
)
from vramwatch.core.layers import excess, layers
from vramwatch.core.model import SubjectKind
from vramwatch.core.units import MIB
from vramwatch.core.windows import LONGEST_HOLE, Accident, Layer

SERVE, CHAT = "unit:serve.service", "unit:chat.service"


def fold(windows, *moments, seq=1):
    """Fold ``moments`` as the only polls of a card; return what changed at the last."""
    for number, moment in enumerate(moments, seq):
        told = poll(number, moment)
        windows.fold(told.ledgers[0], told.at.boottime)
    return windows.changed


def folded(*moments):
    windows = GpuWindows()
    fold(windows, *moments)
    return windows


def process(windows, pid=4100):
    (found,) = [each for each in windows.processes.values() if each.pid == pid]
    return found.window


TWO = Moment(0.0, (Process(9000.0), Process(2000.0, 7, "chat"), Process(500.0, 8, "chat")), 0.5, hidden=300.0)


# --- which ledger feeds which window ----------------------------------------------------------------


def test_a_process_list_feeds_a_window_for_each_process_each_owner_what_nobody_holds_and_the_gpu():
    windows = folded(TWO)
    assert {each.pid: each.window.used.last for each in windows.processes.values()} == {
        4100: 9000 * MIB,
        7: 2000 * MIB,
        8: 500 * MIB,
    }
    assert {key: each.window.used.last for key, each in windows.owners.items()} == {
        SERVE: 9000 * MIB,
        CHAT: 2500 * MIB,
    }
    assert windows.unattributed.window.used.last == 300 * MIB
    assert windows.gpu.window.used.last == 11_800 * MIB
    kinds = [each.window.kind for each in windows.all()]
    assert kinds == [SubjectKind.PROCESS] * 3 + [SubjectKind.OWNER] * 2 + [
        SubjectKind.UNATTRIBUTED,
        SubjectKind.GPU,
    ]


def test_what_others_hold_is_taken_and_what_is_left_is_the_same_for_everybody():
    for each in folded(TWO).all():
        window = each.window
        assert window.taken + window.used.last == 11_800 * MIB
        assert window.capacity == (CARD - 400) * MIB


def test_a_reading_without_a_list_feeds_the_gpu_alone():
    windows = folded(TWO, Moment(STEP, None, 0.5, hidden=11_800.0))
    assert windows.gpu.window.now == windows.gpu.window.used.time > process(windows).now


def test_where_no_process_was_ever_listed_the_gpu_itself_is_judged():
    windows = folded(Moment(0.0, (), 0.5, hidden=9000.0), Moment(STEP, (), 0.5, hidden=9000.0))
    assert windows.gpu.window.whole
    assert [each.window.kind for each in windows.all()] == [SubjectKind.GPU]
    assert not folded(TWO).gpu.window.whole


def test_a_gpu_without_a_list_that_is_all_but_empty_has_ended_a_life():
    windows = folded(Moment(0.0, (), 0.5, hidden=9000.0))
    assert fold(windows, Moment(STEP, (), 0.0, hidden=100.0), seq=2)
    assert windows.gpu is None
    fold(windows, Moment(2 * STEP, (), 0.5, hidden=9000.0), seq=3)
    assert windows.gpu.window.used.began == windows.gpu.window.now


def test_a_process_whose_bytes_are_withheld_has_no_window_and_makes_nobodys_bytes_its_own():
    windows = folded(Moment(0.0, (Process(None), Process(2000.0, 7)), 0.5))
    assert [each.pid for each in windows.processes.values()] == [7]
    assert windows.unattributed.window.withheld
    assert not folded(TWO).unattributed.window.withheld


def test_work_is_requests_where_a_process_counts_them_and_busy_seconds_elsewhere():
    def told(second, requests):
        beside = Process(1000.0, 7, "chat")
        counting = Process(9000.0, told={"requests_total": requests})
        return Moment(second, (counting, beside), 0.5)

    windows = folded(*(told(i * 10.0, 500.0 + 3 * i) for i in range(11)))
    assert process(windows).counts_requests
    assert process(windows).used.work == 30.0
    assert process(windows, 7).used.work == pytest.approx(0.5 * 100.0)


def test_a_process_is_idle_by_its_own_requests_however_busy_its_neighbours_are():
    def told(second):
        quiet = Process(9000.0, told={"requests_running": 0.0, "requests_waiting": 0.0})
        return Moment(second, (quiet, Process(1000.0, 7, "chat")), 0.9)

    windows = folded(*(told(i * 30.0) for i in range(20)))
    assert len(process(windows).used.rests) == 1
    assert len(process(windows, 7).used.rests) == 0


# --- layers -----------------------------------------------------------------------------------------

BYTES = st.integers(0, 80_000).map(lambda mebibytes: float(mebibytes * MIB))


@given(BYTES, BYTES, BYTES, BYTES)
def test_the_layers_of_a_process_add_up_to_what_the_driver_shows(held, reserved, allocated, kv):
    told = {
        "torch_reserved_bytes": reserved,
        "torch_allocated_bytes": allocated,
        "engine_kv_bytes": kv,
    }
    parts = dict(layers(held, told))
    if excess(held, told) is not None:
        assert not parts
        return
    assert parts.keys() == set(Layer)
    assert sum(parts.values()) == held


@given(BYTES, BYTES)
def test_a_process_that_tells_more_than_the_driver_shows_has_no_layers_but_for_what_moves_in_seconds(
    held, told
):
    more = told - held
    is_too_much = more > max(256 * MIB, 0.1 * held)
    assert (excess(held, {"torch_allocated_bytes": told}) == more) is is_too_much
    assert bool(dict(layers(held, {"torch_allocated_bytes": told}))) is not is_too_much


@given(BYTES, st.sets(st.sampled_from(["torch_reserved_bytes", "torch_allocated_bytes", "engine_kv_bytes"])))
def test_a_figure_that_is_not_told_makes_no_layer(held, names):
    parts = dict(layers(held, dict.fromkeys(names, 1.0 * MIB)))
    assert (Layer.NON_TORCH in parts) is ("torch_reserved_bytes" in names)
    assert (Layer.CACHED in parts) is ({"torch_reserved_bytes", "torch_allocated_bytes"} <= names)
    assert (Layer.LIVE in parts) is ("torch_allocated_bytes" in names)
    assert (Layer.KV in parts) is ("engine_kv_bytes" in names)


def test_what_may_be_dropped_from_the_cache_at_any_time_is_no_use_of_it():
    told = {"engine_kv_bytes": 5000.0, "engine_evictable_bytes": 1800.0}
    assert dict(layers(9000.0, told)) == {Layer.KV: 3200.0}


def test_a_process_that_tells_of_its_layers_has_a_lane_for_each():
    windows = folded(one(0.0, 9000.0, 0.5, told=torch(8000.0, reserve=200.0, kv=3000.0)))
    lanes = process(windows).layers
    assert {layer: lane.last / MIB for layer, lane in lanes.items()} == {
        Layer.NON_TORCH: 800.0,
        Layer.CACHED: 200.0,
        Layer.LIVE: 5000.0,
        Layer.KV: 3000.0,
    }


# --- what ends a window -----------------------------------------------------------------------------


def test_a_process_that_is_no_longer_listed_leaves_and_its_departure_is_remembered():
    windows = folded(TWO)
    assert fold(windows, replace(TWO, time=STEP, processes=TWO.processes[:1], hidden=2800.0), seq=2)
    assert [each.pid for each in windows.processes.values()] == [4100]
    departures = windows.unattributed.window.departures
    assert len(departures) == 2
    assert {each.unattributed for each in departures} == {300 * MIB}


def test_a_pid_that_is_used_again_is_another_process_with_a_window_of_its_own():
    windows = folded(*(one(i * STEP, 9000.0, 0.5) for i in range(5)))
    assert fold(windows, one(5 * STEP, 4000.0, 0.5, begins=4.5 * STEP), seq=6)
    (key,) = windows.processes
    assert key.start_ticks == round(450 * STEP) + 1
    assert process(windows).used.began == process(windows).now
    assert len(process(windows).used.minutes) == 0


def test_another_total_is_another_device_and_everything_begins_anew():
    windows = folded(*(replace(TWO, time=i * STEP) for i in range(5)))
    assert fold(windows, replace(TWO, time=5 * STEP, total=2 * CARD), seq=6)
    assert all(each.window.used.began == each.window.now for each in windows.all())
    assert not fold(windows, replace(TWO, time=6 * STEP, total=2 * CARD + 10), seq=7)


def test_a_life_that_was_warm_when_it_was_met_is_remembered_though_it_was_seen_for_minutes():
    old = [one(i * STEP, 9000.0, 0.5, begins=-3 * HOUR) for i in range(20)]
    windows = folded(*old)
    fold(windows, Moment(20 * STEP, (Process(500.0, 99, "other"),), 0.0), seq=21)
    (life,) = windows.owners[SERVE].window.members.lives
    assert life.base == 9000 * MIB


def test_a_life_too_short_to_settle_is_not_remembered():
    minutes = round((WARM_UP + SETTLED_AFTER) / STEP) - 1
    windows = folded(*(one(i * STEP, 9000.0, 0.5) for i in range(minutes)))
    fold(windows, Moment(minutes * STEP, (Process(500.0, 99, "other"),), 0.0), seq=minutes + 1)
    assert windows.owners[SERVE].window.members.lives == []


def test_an_owner_without_processes_is_remembered_for_days_and_then_let_go_of():
    windows = folded(TWO)
    alone = replace(TWO, processes=TWO.processes[:1])
    fold(windows, replace(alone, time=STEP), replace(alone, time=OWNER_KEPT), seq=2)
    assert CHAT in windows.owners
    fold(windows, replace(alone, time=OWNER_KEPT + 2 * STEP), seq=4)
    assert CHAT not in windows.owners


def test_who_is_forgotten_leaves_and_the_others_stay():
    windows = folded(TWO)
    windows.forget({CHAT}, ())
    assert set(windows.owners) == {SERVE}
    assert [each.pid for each in windows.processes.values()] == [4100]
    windows.forget((), set(windows.processes))
    assert windows.processes == {}
    assert set(windows.owners) == {SERVE}


# --- clocks and gaps --------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_moves_no_lane():
    """Lanes count in seconds that do not step; what is told people follows the wall clock."""
    plain, stepped = watch(), watch()
    for seq in range(1, 90):
        moment = one(seq * STEP, 9000.0 + seq % 7 * 100, 0.5 if seq % 3 else 0.0)
        plain.turn(poll(seq, moment))
        stepped.turn(poll(seq, replace(moment, back=3 * HOUR if seq > 40 else 0.0)))
    (one_gpu,), (other_gpu,) = plain._gpus.values(), stepped._gpus.values()
    ours, theirs = process(one_gpu), process(other_gpu)
    for points in ("rests", "valleys"):
        assert getattr(ours.used, points).time == getattr(theirs.used, points).time
    assert ours.used.minutes.index == theirs.used.minutes.index
    assert ours.used.work == theirs.used.work
    assert ours.at(ours.now) - theirs.at(theirs.now) == 3 * HOUR


def test_nobody_knows_what_was_done_in_a_long_hole_so_nothing_was():
    windows = folded(one(0.0, 9000.0, 1.0), one(10.0, 9000.0, 1.0), one(10.0 + LONGEST_HOLE + 1, 9000.0, 1.0))
    assert windows.load.busy == 10.0
    fold(windows, one(10.0 + 2 * LONGEST_HOLE + 1, 9000.0, 1.0), seq=4)
    assert windows.load.busy == 10.0 + LONGEST_HOLE


# --- when a window is looked at ---------------------------------------------------------------------


def test_a_window_is_looked_at_when_it_is_new_and_then_every_quarter_of_an_hour():
    windows = folded(one(0.0, 9000.0, 0.5))
    (watched,) = windows.processes.values()
    assert watched.is_due
    watched.mark_examined()
    looks = []
    for minute in range(1, 61):
        fold(windows, one(minute * STEP, 9000.0, 0.5), seq=minute + 1)
        if watched.is_due:
            looks.append(minute * STEP)
            watched.mark_examined()
    assert looks == [EXAMINED_EVERY * i for i in range(1, 5)]


def test_a_rest_makes_a_window_due_at_once():
    windows = folded(one(0.0, 9000.0, 0.5))
    (watched,) = windows.processes.values()
    watched.mark_examined()
    fold(windows, *(one(i * STEP, 9000.0, 0.0) for i in range(1, 4)), seq=2)
    assert watched.is_due


# --- accidents --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pid", "owner", "hit"),
    [
        (7, None, SubjectKind.PROCESS),
        (None, CHAT, SubjectKind.OWNER),
        (5555, None, SubjectKind.GPU),
        (None, None, SubjectKind.GPU),
    ],
)
def test_an_accident_is_noted_where_it_happened_and_that_window_is_due(pid, owner, hit):
    windows = folded(TWO)
    for each in windows.all():
        each.mark_examined()
    windows.note(Accident(1000.0, "log", {}), pid, owner)
    due = [each for each in windows.all() if each.is_due]
    assert [each.window.kind for each in due] == [hit]
    (accident,) = due[0].window.accidents
    assert {"gpu", "unattributed", "pid 7", "pid 8", "pid 4100"} == accident.flight.keys()


def test_what_was_before_an_accident_names_nobody_who_is_forgotten():
    windows = folded(TWO)
    windows.note(Accident(1000.0, "log", {}))
    windows.forget({CHAT}, ())
    (accident,) = windows.gpu.window.accidents
    assert set(accident.flight) == {"gpu", "unattributed", "pid 4100"}


def test_has_says_whether_a_pid_is_here():
    windows = folded(TWO)
    assert windows.has(7)
    assert not windows.has(9)
    assert not windows.has(None)


# --- budgets ----------------------------------------------------------------------------------------

SIZES = st.integers(1, 11_000).map(lambda n: 2.0 * n)


@given(SIZES, SIZES, SIZES, SIZES)
def test_what_is_left_is_the_lesser_of_what_the_device_and_what_the_budget_leaves(
    own, other, neighbour, budget
):
    at_once = (
        Process(own, 1, budget=budget),
        Process(other, 2, budget=budget),
        Process(neighbour, 3, "neighbour"),
    )
    total = own + other + neighbour + 300.0 + 400.0 + 100.0
    windows = folded(Moment(0.0, at_once, 0.5, total=total))
    for window, held, siblings in ((process(windows, 1), own, other), (process(windows, 2), other, own)):
        left = (window.capacity - window.taken - window.used.last) / MIB
        assert left == pytest.approx(min(100.0, budget - siblings - held), abs=1e-3)
        assert (window.budget is not None) is (budget - siblings - held < 100.0)
    whole = windows.owners[SERVE].window
    left = (whole.capacity - whole.taken - whole.used.last) / MIB
    assert left == pytest.approx(min(100.0, budget - own - other), abs=1e-3)
    assert process(windows, 3).budget is None


def test_a_budget_that_no_longer_binds_is_no_longer_told():
    windows = folded(Moment(0.0, (Process(9000.0, budget=10_000.0),), 0.5))
    assert process(windows).budget == 10_000 * MIB
    fold(windows, Moment(STEP, (Process(9000.0),), 0.5), seq=2)
    assert process(windows).budget is None
    assert process(windows).capacity == (CARD - 400) * MIB


def test_of_the_siblings_only_what_they_have_kept_for_an_hour_is_no_room():
    def told(minute, sibling):
        return Moment(
            minute * STEP, (Process(5000.0, 1, budget=12_000.0), Process(sibling, 2, budget=12_000.0))
        )

    windows = folded(*(told(minute, 1000.0 if minute % 20 == 5 else 4000.0) for minute in range(60)))
    assert process(windows, 1).taken == 1000 * MIB
    fold(windows, *(told(minute, 4000.0) for minute in range(60, 130)), seq=61)
    assert process(windows, 1).taken == 4000 * MIB


# --- after a checkpoint -----------------------------------------------------------------------------


def test_windows_that_were_taken_up_share_one_load_again():
    windows = folded(TWO)
    for each in windows.all():
        each.window.load = replace(each.window.load)
    windows.link()
    fold(windows, replace(TWO, time=STEP, duty=0.25), seq=2)
    assert {each.window.load.duty for each in windows.all()} == {0.25}


def test_an_accident_that_a_process_counts_and_an_event_tells_is_one():
    told = [one(second, 9000.0, told={"ooms_total": ooms}) for second, ooms in ((0.0, 2.0), (5.0, 3.0))]
    windows = folded(*told)
    (counted,) = process(windows).accidents
    windows.note(Accident(counted.time, "worker", {"ooms": 1.0}), 4100)
    assert len(process(windows).accidents) == 1
    windows.note(Accident(counted.time, "log", {}), 4100)
    windows.note(Accident(counted.time + 5.0, "worker", {"ooms": 1.0}), 4100)
    assert len(process(windows).accidents) == 3
