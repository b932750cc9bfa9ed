"""What is open in the store when a daemon starts without what it had judged by; and what is forgotten."""

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from tests.polls import START
from tests.servers import DAY, HOUR, STEP, Moment, Process, creeping, one, poll, watch
from tests.verdicts import transition
from vramwatch.control.control import Request
from vramwatch.control.forgetting import Forgetting
from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import Reason, State
from vramwatch.core.units import Seconds
from vramwatch.judging.judge import Judge
from vramwatch.store import History, Store

GROWING = tuple(creeping(count=560, each=25.0))
SEEN = 240
"""Minutes after which it is firing."""


@contextmanager
def judging(path):
    """A daemon's judge on its store, as at a start."""
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        judge = Judge(watch(), store)
        judge.begin()
        yield judge, store
        judge.close()


def live(path, moments, is_killed=False):
    """Judge and store ``moments`` from a start to a clean end, or to a kill."""
    with judging(path) as (judge, store):
        for moment in moments:
            while judge.is_behind:
                judge.catch_up(Seconds(9.0))
            store.write(judge.turn(poll(store.next_seq(), moment)))
        if not is_killed:
            judge.put_down(is_end=True)


def lose_the_checkpoint(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM checkpoint")


def spoil_the_checkpoint(path):
    """Make it one of another version, as an upgrade does."""
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        at, state = store.checkpoint()
        store.write_checkpoint(at, {**state, "version": -1})


def moved(path):
    with closing(History.open(path)) as history:
        return history.incidents(0.0, 2e9)


def still_open(path):
    with closing(History.open(path)) as history:
        return [each.incident for each in history.open_incidents()]


@pytest.fixture
def fired(path):
    """The incident of a store whose daemon ended while it was firing."""
    live(path, GROWING[:SEEN])
    (incident,) = still_open(path)
    assert incident.state is State.FIRING
    return incident


# --- a start without a usable checkpoint ----------------------------------------------------------


@pytest.mark.parametrize("spoil", [lose_the_checkpoint, spoil_the_checkpoint])
def test_an_open_incident_goes_on_under_its_name_when_its_growth_is_found_again(path, fired, spoil):
    spoil(path)
    live(path, GROWING[SEEN:])
    told = moved(path)
    assert {each.incident.id for each in told} == {fired.id}
    assert {each.reason for each in told if each.at.wall >= START + SEEN * STEP} == {Reason.UPDATED}
    assert still_open(path)[0].state is State.FIRING


def test_it_is_over_where_its_process_has_ended_meanwhile(path, fired):
    lose_the_checkpoint(path)
    live(path, [one(SEEN * STEP, 500.0, 0.0, pid=99, owner="other")])
    assert still_open(path) == []
    assert moved(path)[-1].reason is Reason.RESTARTED


def test_it_is_over_where_its_pid_is_that_of_a_process_which_began_later(path, fired):
    lose_the_checkpoint(path)
    live(path, [one((SEEN + 2) * STEP, 9000.0, 0.0, begins=(SEEN + 1) * STEP)])
    assert still_open(path) == []
    assert moved(path)[-1].reason is Reason.RESTARTED


def test_it_goes_stale_after_a_day_where_it_is_not_found_again(path, fired):
    lose_the_checkpoint(path)
    flat = [one(SEEN * STEP + i * 600.0, 9300.0, 0.0) for i in range(160)]
    live(path, flat)
    last = moved(path)[-1]
    assert (last.incident.id, last.incident.state, last.reason) == (fired.id, State.RESOLVED, Reason.STALE)
    assert 24 * HOUR <= last.at.wall - START - SEEN * STEP < 25.1 * HOUR


def test_it_goes_stale_where_its_gpu_is_never_read_again(path, fired):
    lose_the_checkpoint(path)
    with judging(path) as (judge, store):
        for i in range(160):
            blind = replace(poll(store.next_seq(), one(SEEN * STEP + i * 600.0, 0.0)), ledgers=())
            store.write(judge.turn(blind))
    assert moved(path)[-1].reason is Reason.STALE
    assert still_open(path) == []


def test_the_day_counts_from_the_start_though_the_daemon_was_down_for_longer(path, fired):
    lose_the_checkpoint(path)
    live(path, [one(3 * DAY, 9300.0, 0.0)])
    assert still_open(path) == [fired]


def test_a_kill_right_after_such_a_start_does_not_leave_it_open_for_ever(path, fired):
    lose_the_checkpoint(path)
    live(path, GROWING[SEEN : SEEN + 2], is_killed=True)
    live(path, [one((SEEN + 2) * STEP, 500.0, 0.0, pid=99, owner="other")])
    assert still_open(path) == []


def test_of_two_that_are_open_on_one_subject_the_newer_goes_on_and_the_older_is_stale(path, fired):
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        seq = store.next_seq()
        newer = transition(
            poll(seq, GROWING[SEEN]).at, "newer", owner="unit:serve.service", pattern="staircase"
        )
        store.write(replace(poll(seq, GROWING[SEEN]), transitions=(newer,)))
    lose_the_checkpoint(path)
    live(path, GROWING[SEEN + 1 : SEEN + 3])
    assert [each.id for each in still_open(path)] == ["newer"]
    assert (moved(path)[-1].incident.id, moved(path)[-1].reason) == (fired.id, Reason.STALE)


def test_where_the_store_could_not_be_read_at_the_start_it_goes_on_with_the_first_checkpoint(path, fired):
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        judge = Judge(watch(), store)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(store, "checkpoint", _locked)
            judge.begin()
        for moment in (one(SEEN * STEP + i, 500.0, 0.0, pid=99, owner="other") for i in range(3)):
            store.write(judge.turn(poll(store.next_seq(), moment)))
            judge.put_down()
    assert still_open(path) == []


def _locked():
    raise StoreError("database is locked")


# --- forgetting -----------------------------------------------------------------------------------


def forget(judge, store, **arguments):
    return Forgetting(store, judge).forget(Request("forget", arguments, "root"))


def remembered(judge):
    """All that the judge would write into a checkpoint, as text."""
    return str(judge._watch.checkpoint())


@pytest.mark.parametrize("named", [{"owner": "unit:serve.service"}, {"owner": "serve"}, {"user": "ada"}])
def test_what_is_forgotten_leaves_windows_and_incidents_and_the_others_stay(path, fired, named):
    with judging(path) as (judge, store):
        while judge.is_behind:
            judge.catch_up(Seconds(9.0))
        both = Moment(SEEN * STEP, (Process(9600.0), Process(2000.0, 7, "chat")), 0.0)
        store.write(judge.turn(_of_ada(poll(store.next_seq(), both))))
        assert "unit:serve.service" in remembered(judge)
        assert forget(judge, store, **named)["processes"] == 1
        assert "unit:serve.service" not in remembered(judge)
        assert "unit:chat.service" in remembered(judge)
        judge.put_down(is_end=True)
    assert moved(path) == []
    assert b"unit:serve.service" not in path.read_bytes()


def _of_ada(told):
    """Have the processes of serve run as ada."""
    (book,) = told.ledgers
    holdings = tuple(
        replace(each, tenant=replace(each.tenant, facts=replace(each.tenant.facts, user="ada")))
        if each.tenant.owner.name == "serve"
        else each
        for each in book.holdings
    )
    return replace(told, ledgers=(replace(book, holdings=holdings),))


def test_what_is_forgotten_before_the_checkpoint_was_taken_up_does_not_come_back(path, fired):
    with judging(path) as (judge, store):
        assert judge.is_behind
        forget(judge, store, owner="serve")
        while judge.is_behind:
            judge.catch_up(Seconds(9.0))
        assert "unit:serve.service" not in remembered(judge)


def test_what_was_forgotten_and_still_runs_is_met_anew(path, fired):
    with judging(path) as (judge, store):
        while judge.is_behind:
            judge.catch_up(Seconds(9.0))
        forget(judge, store, owner="serve")
        for moment in GROWING[SEEN:]:
            store.write(judge.turn(poll(store.next_seq(), moment)))
    first, *_ = moved(path)
    assert first.reason is Reason.SEEN
    assert first.incident.id != fired.id


def test_the_reply_counts_and_names_nothing_of_what_was_deleted(path, fired):
    with judging(path) as (judge, store):
        reply = forget(judge, store, owner="serve")
    assert reply.keys() == {"owners", "processes", "series", "samples", "incidents", "probes"}
    assert reply["incidents"] == 1
