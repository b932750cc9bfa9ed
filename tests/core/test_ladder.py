"""Laws of what is done about memory: whatever stands, whatever was tried, whoever has enrolled."""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.treated import GROWTH, HELLO, IDLE, UUID, grown
from vramwatch.core.attempts import NOTHING_DONE, Apply, Attempt, Outcome, RemedyName, Result
from vramwatch.core.ladder import (
    TABLE,
    Hindrance,
    Ladder,
    Occasion,
    Record,
    WithheldApply,
    decide,
    wanted_of,
)
from vramwatch.core.model import ProcessKey
from vramwatch.core.parties import Offer, Party, Unfit
from vramwatch.core.policy import Case
from vramwatch.core.units import GIB
from vramwatch.core.verdicts import Cause
from vramwatch.core.workers import Worker
from vramwatch.remedies.ask import Ask
from vramwatch.remedies.signal import Signal

NOW = 1_700_100_000.0
OTHER = "GPU-other"


def key(pid):
    return ProcessKey("boot", pid, 7)


@dataclass(frozen=True)
class Always:
    """A rung that can always do something, to everybody."""

    remedy: RemedyName
    is_dry: bool = False
    cooldown: float = 0.0
    costs_service: bool = False

    def offer(self, case, party):
        return Offer(tuple(party.processes), f"do {self.remedy}", self.costs_service)


EVERY = tuple(Always(each) for each in RemedyName)


def attempt(remedy=RemedyName.ASK, result=Result.INEFFECTIVE, at=NOW - 60.0, **more):
    chosen = {
        "incident": "c0ffee00beef",
        "gpu": UUID,
        "owner": "rule:chat",
        "gpus": frozenset({UUID}),
        **more,
    }
    apply = Apply(
        f"{at:.0f}",
        chosen["incident"],
        chosen["gpu"],
        chosen["owner"],
        remedy,
        (key(1),),
        chosen["gpus"],
        "",
        12 * GIB,
        GROWTH // 2,
        result is Result.DRY_RUN,
    )
    if result is None:
        return Attempt(apply, at)
    return Attempt(apply, at, Outcome(result), at + 1.0)


workers = st.builds(
    lambda pid, remedies, group, world, training, running: Worker(
        key(pid),
        1000,
        replace(HELLO, remedies=tuple(remedies), group=group, world=world),
        0.0,
        replace(IDLE, training=training, requests_running=running),
    ),
    st.integers(1, 6),
    st.sets(st.sampled_from(["ask", "signal:SIGURG", "signal:SIGUSR1"])),
    st.sampled_from(["", "tp"]),
    st.integers(1, 3),
    st.sampled_from([*[False] * 9, True]),
    st.sampled_from([0, 1, None]),
)
parties = st.builds(
    lambda held, pids, enrolled, elsewhere: Party(
        held,
        frozenset(map(key, pids)),
        {each.key: each for each in enrolled},
        {key(pid): frozenset({UUID} | ({OTHER} if pid in elsewhere else set())) for pid in pids},
    ),
    st.sampled_from([*[12 * GIB] * 6, 20 * GIB, 5 * GIB, None]),
    st.sets(st.integers(1, 6)),
    st.lists(workers, max_size=6),
    st.sets(st.integers(1, 6)),
)
causes = st.sampled_from([*[Cause.FRAGMENTATION] * 8, *[Cause.LEAK] * 8, *Cause])
"""Those that are acted on make up most of them: of the others little can be wrong."""

records = st.builds(
    lambda attempts: Record(tuple(sorted(attempts, key=lambda each: each.at))),
    st.lists(
        st.builds(
            attempt,
            st.sampled_from(list(RemedyName)),
            st.sampled_from([*[Result.BUSY] * 8, *[None] * 2, *Result]),
            st.floats(NOW - 7200.0, NOW - 1.0),
            incident=st.sampled_from(["c0ffee00beef", *["another"] * 4]),
            owner=st.sampled_from(["rule:chat", "rule:other"]),
            gpus=st.sampled_from([frozenset({UUID}), frozenset({OTHER}), frozenset({UUID, OTHER})]),
        ),
        max_size=8,
    ),
)
ladders = st.builds(
    Ladder,
    rungs=st.sampled_from([EVERY, EVERY, (Ask(mode="apply"), Signal(mode="apply")), (Ask(),)]),
    per_owner=st.integers(1, 6),
    per_host=st.integers(1, 8),
    give_up_after=st.integers(1, 9),
    spread=st.just(0.0),
)


def case(cause=Cause.FRAGMENTATION, pid=None):
    made = grown(cause)
    judgement = replace(made.incident.judgement, pid=pid)
    return Case(replace(made, incident=replace(made.incident, judgement=judgement)))


def decided(cause, party, ladder, record, off=None, pid=None):
    return decide(case(cause, pid), party, ladder, record, Occasion(NOW, off))


@settings(max_examples=300)
@given(causes, parties, records, st.none() | st.integers(1, 6))
def test_only_who_consents_to_the_very_remedy_is_reached(cause, party, record, pid):
    rungs = (Ask(mode="apply"), Signal(mode="apply"))
    action = decided(cause, party, Ladder(rungs), record, pid=pid)
    if isinstance(action, Apply):
        wanted = {"ask": "ask", "signal": "signal:SIGURG"}[action.remedy]
        assert action.targets
        assert all(party.workers[each].consents_to(wanted) for each in action.targets)


@settings(max_examples=300)
@given(causes, parties, records)
def test_ranks_are_reached_together_or_not_at_all(cause, party, record):
    action = decided(cause, party, Ladder((Ask(mode="apply"),)), record)
    if isinstance(action, Apply):
        for target in action.targets:
            hello = party.workers[target].hello
            if hello.group:
                ranks = [
                    k
                    for k, w in party.workers.items()
                    if (w.hello.group, w.hello.world) == ("tp", hello.world)
                ]
                assert len(ranks) >= hello.world
                assert set(ranks) <= set(action.targets)


@settings(max_examples=300)
@given(causes, parties, ladders, records)
def test_nothing_is_begun_on_a_gpu_where_something_is_under_way(cause, party, ladder, record):
    action = decided(cause, party, ladder, record)
    if isinstance(action, Apply) and not action.dry_run:
        busy = [each for each in record.attempts if each.is_under_way]
        assert all(each.apply.gpus.isdisjoint(action.gpus) for each in busy)


@settings(max_examples=300)
@given(causes, parties, ladders, records)
def test_no_budget_is_ever_exceeded(cause, party, ladder, record):
    action = decided(cause, party, ladder, record)
    if isinstance(action, Apply) and not action.dry_run:
        hour = [
            each for each in record.attempts if each.result not in NOTHING_DONE and NOW - each.at < 3600.0
        ]
        assert len(hour) < ladder.per_host
        assert sum(each.apply.owner == action.owner for each in hour) < ladder.per_owner


@settings(max_examples=300)
@given(causes, parties, ladders, records)
def test_every_action_stands_in_the_table_of_its_cause(cause, party, ladder, record):
    action = decided(cause, party, ladder, record)
    if isinstance(action, Apply):
        assert action.remedy in TABLE[cause]


@settings(max_examples=300)
@given(causes, parties, ladders, records)
def test_nobody_is_touched_who_trains_nor_while_remedies_are_off(cause, party, ladder, record):
    assert not isinstance(decided(cause, party, ladder, record, off="off"), Apply)
    if any(each.report and each.report.training for each in party.enrolled):
        assert not isinstance(decided(cause, party, ladder, record), Apply)


@settings(max_examples=300)
@given(causes, parties, ladders, records)
def test_nothing_is_done_whose_effect_could_not_be_seen(cause, party, ladder, record):
    action = decided(cause, party, ladder, record)
    if isinstance(action, Apply):
        assert party.held is not None
        assert action.before == party.held
        assert action.wanted == wanted_of(case(cause), ladder)


@settings(max_examples=300)
@given(causes, parties, ladders, records)
def test_what_was_withheld_is_not_said_twice(cause, party, ladder, record):
    action = decided(cause, party, ladder, record)
    if isinstance(action, WithheldApply):
        assert decided(cause, party, ladder, replace(record, withheld=action)) is None


@settings(max_examples=300)
@given(parties, records, st.integers(1, 4))
def test_after_so_many_attempts_without_effect_nothing_more_is_tried(party, record, most):
    lost = tuple(attempt(at=NOW - 50.0 + n, incident="another") for n in range(most))
    tried = Record((*record.attempts, *lost))
    action = decided(Cause.FRAGMENTATION, party, Ladder(EVERY, give_up_after=most), tried)
    assert not isinstance(action, Apply)


def test_a_rung_that_had_no_effect_is_climbed_past():
    party = Party(12 * GIB, frozenset({key(1)}))
    ladder = Ladder(EVERY, per_owner=99, per_host=99)
    first = decided(Cause.FRAGMENTATION, party, ladder, Record())
    assert first.remedy is RemedyName.ASK
    unanswered = attempt(RemedyName.ASK, Result.UNANSWERED)
    second = decided(Cause.FRAGMENTATION, party, ladder, Record((unanswered,)))
    assert second.remedy is RemedyName.SIGNAL
    lied = attempt(RemedyName.ASK, Result.INEFFECTIVE)
    assert decided(Cause.FRAGMENTATION, party, ladder, Record((lied,))).remedy is RemedyName.ENGINE


def test_busy_is_no_reason_to_climb():
    party = Party(12 * GIB, frozenset({key(1)}))
    busy = attempt(RemedyName.ASK, Result.BUSY)
    action = decided(Cause.FRAGMENTATION, party, Ladder(EVERY), Record((busy,)))
    assert action.remedy is RemedyName.ASK


def test_a_group_of_another_user_is_not_asked_along():
    hello = replace(HELLO, group="tp", world=2)
    mine, foreign = Worker(key(1), 1000, hello, 0.0, IDLE), Worker(key(2), 1001, hello, 0.0, IDLE)
    party = Party(12 * GIB, frozenset({key(1)}), {each.key: each for each in (mine, foreign)})
    assert isinstance(Ask(mode="apply").offer(case(), party), Unfit)


def test_what_costs_service_is_spread_by_the_incident_and_not_by_chance():
    party = Party(12 * GIB, frozenset({key(1)}))
    ladder = Ladder((Always(RemedyName.COMMAND, costs_service=True),), spread=600.0)
    made = case(Cause.LEAK)
    opened = made.incident.opened
    ready = [
        seconds
        for seconds in range(0, 601, 10)
        if isinstance(decide(made, party, ladder, Record(), Occasion(opened + seconds)), Apply)
    ]
    assert ready == list(range(ready[0], 601, 10))
    assert 0 < ready[0] < 600
    early = decide(made, party, ladder, Record(), Occasion(opened))
    assert early.hindrance is Hindrance.SPREAD


ONE = Party(12 * GIB, frozenset({key(1)}), gpus={key(1): frozenset({UUID, OTHER})})


def hindrance(record, ladder=None, party=ONE):
    action = decided(Cause.FRAGMENTATION, party, ladder or Ladder(EVERY), record)
    return action.hindrance if isinstance(action, WithheldApply) else None


def test_something_under_way_on_any_gpu_of_its_targets_holds_an_attempt_back():
    elsewhere = attempt(result=None, incident="another", owner="rule:other", gpus=frozenset({OTHER}))
    assert hindrance(Record((elsewhere,))) is Hindrance.IN_FLIGHT
    far = replace(elsewhere, apply=replace(elsewhere.apply, gpus=frozenset({"GPU-third"})))
    assert hindrance(Record((far,))) is None


def test_an_owner_and_a_host_have_a_budget_an_hour():
    ladder = Ladder(EVERY, per_owner=2, per_host=3)
    theirs = [attempt(result=Result.BUSY, at=NOW - 60.0 * n, incident="another") for n in (3, 2)]
    others = [attempt(result=Result.BUSY, at=NOW - 60.0 * n, owner="rule:other") for n in (3, 2, 1)]
    assert hindrance(Record(tuple(theirs)), ladder) is Hindrance.BUDGET
    assert hindrance(Record(tuple(theirs[:1])), ladder) is None
    assert hindrance(Record(tuple(others)), ladder) is Hindrance.BUDGET
    planned = [replace(each, outcome=Outcome(Result.DRY_RUN)) for each in theirs + others]
    assert hindrance(Record(tuple(planned)), ladder) is None


def test_a_permit_that_was_not_given_is_asked_again_before_the_cooldown():
    ladder = Ladder((Always(RemedyName.ASK, cooldown=7200.0),))
    denied = attempt(result=Result.NOT_PERMITTED, at=NOW - 300.0)
    assert hindrance(Record((denied,)), ladder) is Hindrance.COOLDOWN
    assert hindrance(Record((replace(denied, at=NOW - 700.0, ended=NOW - 690.0),)), ladder) is None
    done = attempt(result=Result.BUSY, at=NOW - 700.0)
    assert hindrance(Record((done,)), ladder) is Hindrance.COOLDOWN


def test_one_rank_that_does_not_consent_spares_its_whole_group():
    hello = replace(HELLO, group="tp", world=2)
    ranks = [Worker(key(n), 1000, hello, 0.0, IDLE) for n in (1, 2)]
    party = Party(12 * GIB, frozenset({key(1)}), {each.key: each for each in ranks})
    assert Ask(mode="apply").offer(case(), party).targets == (key(1), key(2))
    ranks[1] = replace(ranks[1], hello=replace(hello, remedies=()))
    party = replace(party, workers={each.key: each for each in ranks})
    assert isinstance(Ask(mode="apply").offer(case(), party), Unfit)


def test_who_trains_holds_back_every_remedy():
    trains = Worker(key(1), 1000, HELLO, 0.0, replace(IDLE, training=True))
    party = replace(ONE, workers={trains.key: trains})
    assert hindrance(Record(), party=party) is Hindrance.TRAINING


def test_a_fall_counts_from_what_an_attempt_without_effect_has_left_so_that_growth_after_it_is_no_recovery():
    tried = attempt(RemedyName.SIGNAL)
    record = Record((replace(tried, outcome=replace(tried.outcome, freed=3 * GIB)),))  # 9 of 12 GiB are left
    ladder = Ladder((Always(RemedyName.ASK),), least=GIB)
    grows = replace(ONE, held=9 * GIB - GIB // 16)  # below what was held at firing by more than is wanted
    assert hindrance(record, ladder, grows) is None
    fell = replace(ONE, held=8 * GIB)
    assert hindrance(record, ladder, fell) is Hindrance.RECOVERED
