"""Whether memory came back: by the driver's figure, whatever is answered."""

from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_ladder import key
from vramwatch.core.attempts import Apply, RemedyName, Result
from vramwatch.core.units import GIB, MIB
from vramwatch.core.verification import Trial as _Trial
from vramwatch.core.verification import afterwards, answered, carried_out, read, verdict
from vramwatch.sdk.wire import STATES, Answer


def trial(remedy=RemedyName.ASK, targets=(1,), done=True):
    apply = Apply(
        "a1", "i1", "GPU-1", "rule:chat", remedy, tuple(map(key, targets)), frozenset(), "", 10 * GIB, GIB
    )
    begun = _Trial(apply, 100.0, 30.0, 600.0)
    return carried_out(begun, 100.0, None) if done else begun


def says(one, state, at=101.0, pid=1, **more):
    return answered(one, key(pid), Answer("a1", state, **more), at)


def shows(one, *held, at=102.0):
    for step, each in enumerate(held):
        one = read(one, each, at + 0.25 * step)
    return one


figures = st.lists(st.integers(0, 20 * GIB), max_size=6)
answers = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(sorted(STATES))), max_size=5)


@given(figures, answers, st.floats(100.0, 2000.0))
def test_only_the_driver_makes_a_success(held, said, now):
    one = trial(targets=(1, 2))
    for pid, state in said:
        one = says(one, state, pid=pid)
    one = shows(one, *held)
    outcome = verdict(one, now)
    if outcome is not None and outcome.result is Result.RECOVERED:
        assert 10 * GIB - held[-1] >= GIB
        assert outcome.freed == 10 * GIB - held[-1]
    if not held or 10 * GIB - held[-1] < GIB:
        assert outcome is None or outcome.result is not Result.RECOVERED


@given(figures, answers)
def test_every_attempt_comes_to_an_end(held, said):
    one = trial(targets=(1, 2))
    for pid, state in said:
        one = says(one, state, pid=pid)
    assert verdict(shows(one, *held), 100.0 + 600.0 + 31.0) is not None


@given(figures)
def test_nothing_is_judged_before_it_was_done(held):
    assert verdict(shows(trial(done=False), *held), 1e6) is None


def test_what_is_freed_is_counted_once_it_has_come_to_rest():
    falling = shows(says(trial(), "done"), 9 * GIB, 8 * GIB)
    assert verdict(falling, 103.0) is None
    rested = shows(falling, 8 * GIB, at=103.0)
    assert verdict(rested, 103.0).freed == 2 * GIB


def test_memory_that_came_back_and_grows_on_at_once_came_back():
    growing = shows(says(trial(), "done"), 2 * GIB, 2 * GIB + 16 * MIB)
    assert verdict(growing, 103.0).result is Result.RECOVERED


def test_done_without_a_fall_is_without_effect_and_says_by_how_much():
    one = shows(says(trial(), "done"), 10 * GIB - 100 * MIB)
    assert verdict(one, 130.0) is None
    outcome = verdict(one, 131.0)
    assert outcome.result is Result.INEFFECTIVE
    assert outcome.freed == 100 * MIB


def test_a_refusal_keeps_its_reason():
    outcome = verdict(says(trial(), "refused", reason="a graph is being captured"), 140.0)
    assert outcome.result is Result.REFUSED
    assert "a graph is being captured" in outcome.detail


def test_the_word_of_a_stranger_counts_for_nothing():
    one = answered(trial(), key(9), Answer("a1", "refused"), 101.0)
    one = answered(one, key(1), Answer("another", "refused"), 101.0)
    assert verdict(one, 131.0).result is Result.UNANSWERED


def test_a_worker_that_is_signalled_answers_by_an_id_of_its_own():
    signalled = answered(trial(RemedyName.SIGNAL), key(1), Answer("signal-1", "busy"), 101.0)
    assert verdict(signalled, 200.0) is None
    assert verdict(signalled, 701.0).result is Result.BUSY
    asked = answered(trial(), key(1), Answer("signal-1", "busy"), 101.0)
    assert verdict(asked, 131.0).result is Result.UNANSWERED


def test_busy_extends_the_wait_and_a_last_word_ends_it():
    one = says(trial(), "busy")
    assert verdict(one, 500.0) is None
    assert verdict(says(one, "done", at=500.0), 531.0).result is Result.INEFFECTIVE


def test_what_comes_back_into_use_is_a_working_set():
    outcome = verdict(shows(says(trial(), "done"), 8 * GIB, 8 * GIB), 103.0)
    assert afterwards(trial().apply, outcome, 8 * GIB) is None
    returned = afterwards(trial().apply, outcome, 10 * GIB)
    assert returned.result is Result.RETURNED
    assert returned.freed == 2 * GIB
