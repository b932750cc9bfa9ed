"""What the daemon leaves in the store, seen through it and by hand."""

import resource
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from tests.polls import BOOT, START, blind, gpu, holding, instant, ledger, owner, poll, tenant
from vramwatch.core.errors import StoreError
from vramwatch.core.model import (
    Ancestor,
    Container,
    EngineFacts,
    Event,
    EventKind,
    Fault,
    FaultKind,
    Gauge,
    GhostKind,
    Pod,
    ProcessState,
    SlurmJob,
    Tenant,
)
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.units import GIB, Bytes
from vramwatch.store import GapRow, History, Store

LOST = Fault(FaultKind.LOST, "fell off the bus", "nvmlDeviceGetMemoryInfo_v2", 15)
HUNG = Fault(FaultKind.HUNG, "no answer within 5 s")


@pytest.fixture
def store(path):
    with closing(opened(path)) as store:
        yield store


@pytest.fixture
def history(store, path):
    with closing(History.open(path)) as history:
        yield history


def opened(path, version="0.1.0"):
    return Store.open(path, "nvml", version)


def ask(path, sql):
    """What a person with sqlite3 is told."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def count(path, table):
    return ask(path, f"SELECT count(*) FROM {table}")[0][0]


def write_all(store, *polls):
    for each in polls:
        store.write(each)


# --- samples ------------------------------------------------------------------------------------


def values(history, **which):
    """Every value that began, as (seq, value), a poll a second."""
    return [
        (round(point.wall - START), point.value)
        for point in history.samples(history.series(**which), START, START + 999)
    ]


def test_polls_in_which_nothing_moved_wait_and_are_stored_with_the_next_that_did(store, history, path):
    write_all(store, *(poll(seq, holding(7)) for seq in range(1, 9)))
    assert (history.latest().at.seq, count(path, "tick")) == (1, 1)
    store.write(poll(9, holding(7, Bytes(2 * GIB))))
    assert (history.latest().at.seq, count(path, "tick")) == (9, 2)
    walls = [point.wall - START for point in history.readings(history.series(pid=7), START, START + 99)]
    assert walls == list(range(1, 10))


def test_polls_in_which_nothing_moved_are_stored_within_half_a_minute(store, history):
    write_all(store, *(poll(seq, holding(7)) for seq in range(1, 61)))
    assert history.latest().at.seq >= 60 - 30


def test_what_waits_is_stored_at_the_end(store, path, history):
    write_all(store, *(poll(seq, holding(7)) for seq in range(1, 9)))
    store.close()
    assert history.latest().at.seq == 8


def test_only_the_values_that_changed_are_told(store, history):
    write_all(store, poll(1, holding(7), holding(8)), poll(2, holding(7, Bytes(2 * GIB)), holding(8)))
    changed = [
        (point.series.key.kind, point.series.process and point.series.process.key.pid)
        for point in history.samples(history.series(), START, START + 9)
        if point.wall == START + 2
    ]
    assert changed == [("gpu", None), ("process", 7), ("owner", None)]


def test_bytes_are_integers_and_ratios_are_reals(store, history):
    store.write(poll(1, holding(7), utilization=0.37))
    kinds = {point.series.key.quantity: point.value for point in history.readings(history.series(), 0, 2e9)}
    assert isinstance(kinds["used_bytes"], int)
    assert kinds["utilization_ratio"] == 0.37


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), 1e300])
def test_a_figure_that_no_machine_has_is_not_kept_and_harms_nothing(store, history, figure):
    gauges = (Gauge(7, "torch_reserved_bytes", figure), Gauge(7, "requests_running", figure))
    store.write(poll(1, holding(7), gauges=gauges))
    assert history.latest().ledgers[0].reading.gauges == ()


def test_a_process_that_leaves_ends_its_series_and_its_owners(store, path, history):
    write_all(store, poll(1, holding(7), holding(8, of=owner("other"))), poll(2, holding(7)))
    assert values(history, owner="unit:other.service") == [(1, GIB), (1, GIB), (2, None), (2, None)]
    assert ask(path, "SELECT pid, last_seq FROM process ORDER BY pid") == [(7, None), (8, 1)]


def test_a_process_that_comes_back_goes_on_in_the_same_series(store, path, history):
    write_all(store, poll(1, holding(7)), poll(2), poll(3, holding(7)))
    assert values(history, pid=7) == [(1, GIB), (2, None), (3, GIB)]
    assert ask(path, "SELECT count(DISTINCT id), last_seq FROM process") == [(1, None)]


def test_a_claim_that_the_driver_withholds_is_unknown_and_never_zero(store, history):
    write_all(store, poll(1, holding(7)), poll(2, holding(7, None)), poll(3, holding(7)))
    held = [history.at(START + seq).ledgers[0].holdings[0].held for seq in (1, 2, 3)]
    assert held == [GIB, None, GIB]


def test_a_gpu_that_is_gone_takes_its_series_with_it(store, path, history):
    at = instant(1)
    both = Poll(at, (ledger(at, holding(7)), ledger(at, holding(8), on=gpu(1))))
    write_all(store, both, poll(2, holding(7)))
    assert [each.gpu for each in history.latest().ledgers] == [gpu(0)]
    assert values(history, gpu=gpu(1).uuid, pid=8) == [(1, GIB), (2, None)]
    assert ask(path, "SELECT last_seq FROM process WHERE pid = 8") == [(1,)]


def test_a_list_whose_own_poll_was_lost_counts_from_the_first_poll_that_is_stored(store, history):
    write_all(store, poll(1, holding(7)), poll(3, holding(7, Bytes(5 * GIB)), listed=instant(2)))
    (now,) = history.latest().ledgers
    assert now.holdings[0].held == 5 * GIB
    assert now.listed == instant(3)


# --- who ----------------------------------------------------------------------------------------


def test_all_that_is_known_of_a_process_comes_back_but_its_arguments(store, path, history):
    everything = Tenant(
        replace(
            tenant(7).facts,
            state=ProcessState.ZOMBIE,
            state_since=3.5,
            argv=("python", "serve.py"),
            uid=1000,
            user="ada",
            parent_pid=1,
            ancestors=(Ancestor(1, "bash", ("bash", "-l"), "bash -l"),),
            environment={"CUDA_VISIBLE_DEVICES": "0"},
            container=Container("c0ffee", "docker", "chat", "chat:1"),
            pod=Pod("0b5e", "chat-0", "prod", "server"),
            unit="chat.service",
            unit_owner="ada",
            slurm=SlurmJob("17", "0", "train", "ada"),
            namespace_pid=3,
            started=START,
        ),
        replace(owner(), team="search", budget=Bytes(40 * GIB)),
        EngineFacts("vllm", "worker", "llama-3", 1, True),
    )
    store.write(poll(1, holding(7, tenant=everything, ghost=GhostKind.ZOMBIE)))
    kept = replace(everything, facts=replace(everything.facts, argv=(), ancestors=()))
    assert history.latest().ledgers[0].holdings[0].tenant == kept
    columns = "user, command, container, pod, namespace, unit, job, engine, model"
    (told,) = ask(path, f"SELECT {columns} FROM process")
    assert told == (
        "ada", "python serve.py 7", "chat", "chat-0", "prod", "chat.service", "17", "vllm", "llama-3"
    )  # fmt: skip


def test_names_that_are_not_text_are_stored_all_the_same(store, history):
    odd = tenant(7, title="evil\udcff\x00name", user="\udcfe")
    store.write(poll(1, holding(7, tenant=replace(odd, owner=owner("\udcff")))))
    (held,) = history.latest().ledgers[0].holdings
    assert held.tenant.facts == odd.facts
    assert held.tenant.owner.name == "\\udcff"


def test_an_owner_is_fixed_once_a_process_has_it_also_over_a_restart(path):
    with closing(opened(path)) as store:
        write_all(store, poll(1, holding(7, of=owner("first"))), poll(2, holding(7, of=owner("better"))))
    with closing(opened(path)) as store:
        assert store.owners(BOOT) == {tenant(7).facts.key: owner("first")}
        assert store.owners("another boot") == {}
    assert ask_after(
        path, "SELECT owner.key, alias.name FROM alias JOIN owner ON owner.id = alias.owner"
    ) == [("unit:first.service", "better")]


def ask_after(path, sql):
    """As ``ask``, once the daemon has stopped."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_a_pid_that_was_never_seen_alive_has_no_identity_to_fix_an_owner_to(store):
    store.write(poll(1, holding(7, tenant=tenant(7, start_ticks=0))))
    assert store.owners(BOOT) == {}


def test_an_owner_that_is_renamed_keeps_the_former_name_as_an_alias(store, path):
    renamed = replace(owner("llama"), name="Llama chat")
    write_all(store, poll(1, holding(7)), poll(2, holding(7, of=renamed)))
    assert ask(path, "SELECT owner.name, alias.name FROM owner JOIN alias") == [("Llama chat", "llama")]


# --- gaps and lives -----------------------------------------------------------------------------


def test_a_gpu_that_is_lost_becomes_a_gap_and_the_others_go_on(store, history):
    at = instant(1)
    write_all(
        store,
        Poll(at, (ledger(at, holding(7)), ledger(at, on=gpu(1)))),
        *(blind(seq, LOST, gpu(1), ledger(instant(seq), holding(7))) for seq in (2, 3)),
    )
    now = history.latest()
    assert [each.gpu for each in now.ledgers] == [gpu(0)]
    assert [(each.gpu, each.fault) for each in now.missing] == [(gpu(1), LOST)]
    at = instant(4)
    store.write(Poll(at, (ledger(at, holding(7)), ledger(at, on=gpu(1)))))
    assert history.gaps(START, START + 9) == [
        GapRow(gpu(1).uuid, FaultKind.LOST, LOST.detail, START + 2, START + 4)
    ]


def test_another_reason_is_another_gap(store, history):
    write_all(store, poll(1), blind(2, LOST, gpu()), blind(3, HUNG), poll(4))
    found = [(gap.gpu, gap.reason, gap.since, gap.until) for gap in history.gaps(START, START + 9)]
    assert found == [
        (gpu().uuid, FaultKind.LOST, START + 2, START + 3),
        (None, FaultKind.HUNG, START + 3, START + 4),
    ]


def test_blindness_ends_no_series(store, history):
    write_all(store, poll(1, holding(7)), blind(2, HUNG), poll(3, holding(7)))
    assert values(history, pid=7) == [(1, GIB)]
    assert [p.wall - START for p in history.readings(history.series(pid=7), 0, 2e9)] == [1, 3]
    assert history.at(START + 2).ledgers == ()


def test_a_clean_stop_leaves_a_gap_until_the_next_daemons_first_poll(path):
    with closing(opened(path)) as store:
        write_all(store, poll(1, holding(7)), poll(2, holding(7)))
    with closing(History.open(path)) as history:
        assert [(g.reason, g.since, g.until) for g in history.gaps(START, START + 99)] == [
            (FaultKind.STOPPED, START + 2, None)
        ]
    with closing(opened(path, "0.2.0")) as store:
        store.write(poll(store.next_seq(), holding(7), wall=START + 60))
        with closing(History.open(path)) as history:
            (gap,) = history.gaps(START, START + 99)
            assert (gap.gpu, gap.since, gap.until) == (None, START + 2, START + 60)
            (missing,) = history.at(START + 30).missing
            assert missing.fault.kind is FaultKind.STOPPED
            assert [len(history.at(wall).ledgers) for wall in (START + 2, START + 30, START + 60)] == [
                1,
                0,
                1,
            ]
        lives = ask(path, "SELECT source, version, started_wall, last_seq, clean FROM run")
    assert lives == [("nvml", "0.1.0", START + 1, 2, 1), ("nvml", "0.2.0", START + 60, None, 0)]


def test_what_went_on_while_nobody_looked_is_taken_up_where_it_stands(path):
    with closing(opened(path)) as store:
        store.write(poll(1, holding(7), holding(8)))
    with closing(opened(path)) as store:
        store.write(poll(2, holding(7), holding(9), wall=START + 60))
        with closing(History.open(path)) as history:
            assert [values(history, pid=pid) for pid in (8, 9)] == [[(1, GIB), (60, None)], [(60, GIB)]]


def test_a_life_that_stored_nothing_leaves_no_trace(path):
    with closing(opened(path)) as store:
        store.write(poll(1))
    opened(path).close()
    assert [len(ask_after(path, f"SELECT id FROM {table}")) for table in ("run", "gap", "hour")] == [1, 1, 1]


def test_closing_twice_is_closing_once(path):
    store = opened(path)
    store.close()
    store.close()
    opened(path).close()


# --- the rest of a poll -------------------------------------------------------------------------


def test_pace_and_events_stand_with_their_poll(store, history, path):
    slow = Pace(1.0, 5.0, 0.004, "the driver takes long")
    happened = (
        Event(EventKind.RELEASED, "for 900 s", author="root (uid 0)"),
        Event(EventKind.GPU_APPEARED, "back on the bus", gpu=gpu().uuid),
    )
    write_all(
        store,
        replace(poll(1), pace=Pace(1.0, 5.0, 0.001)),
        replace(poll(2), pace=slow, events=happened),
        replace(poll(3), pace=replace(slow, driver_share=0.003)),
    )
    assert history.at(START + 2).pace == slow
    assert history.at(START + 2).events == happened
    assert [(row.wall, row.event) for row in history.events(START, START + 9)] == [
        (START + 2, each) for each in happened
    ]
    assert count(path, "pace") == 2


# --- when writing fails -------------------------------------------------------------------------


@pytest.fixture
def full_disk():
    """Call it to let no file grow any further, and again to let them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def switch(limit=soft):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    yield switch
    switch()


def test_a_write_that_fails_leaves_nothing_and_is_made_good_by_writing_again(store, path, history, full_disk):
    store.write(poll(1, holding(7)))
    crowd = [holding(pid, of=owner(str(pid))) for pid in range(100, 164)]
    full_disk(path.with_name("vramwatch.db-wal").stat().st_size)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"vramwatch.db: the store cannot be used"):
            store.write(poll(2, *crowd))
    assert (history.latest().at.seq, store.next_seq()) == (1, 2)
    full_disk()
    write_all(store, poll(2, *crowd), poll(3, *crowd))
    assert [len(history.at(START + seq).ledgers[0].holdings) for seq in (1, 2, 3)] == [1, 64, 64]
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert ask(path, "PRAGMA foreign_key_check") == []


def test_the_first_poll_of_a_life_may_fail_too(path, full_disk):
    with closing(opened(path)) as store:
        full_disk(1)
        with pytest.raises(StoreError):
            store.write(poll(1, holding(7)))
        full_disk()
        store.write(poll(1, holding(7)))
        assert count(path, "run") == 1


def test_a_poll_that_stands_already_is_left_as_it_is_and_an_older_one_refused(store, path):
    write_all(store, poll(1, holding(7)), *(poll(2, holding(7, Bytes(2 * GIB))) for _ in range(2)))
    assert count(path, "tick") == 2
    with pytest.raises(StoreError, match="ascending order"):
        store.write(poll(1, holding(7)))
