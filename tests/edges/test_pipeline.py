"""One poll through the house: read, ask who, divide."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from vramwatch.assembly import engines
from vramwatch.core.attribution import Surroundings
from vramwatch.core.cadence import Rates
from vramwatch.core.layers import PARTS
from vramwatch.core.model import (
    Claim,
    EventKind,
    Explanation,
    Fault,
    FaultKind,
    Gauge,
    Gpu,
    Instant,
    Memory,
    Missing,
    Origin,
    Owner,
    OwnerKind,
    ProcessFacts,
    ProcessKey,
    ProcessState,
    Reading,
    Readings,
    SubjectKind,
)
from vramwatch.core.owners import OwnerRule
from vramwatch.core.ports import Feed
from vramwatch.core.series import samples
from vramwatch.core.units import GIB, MIB, Bytes
from vramwatch.pipeline import Pipeline

GPU = Gpu("GPU-a", "0", "H100", pci="00000000:65:00.0")
FACTS = ProcessFacts(ProcessKey("boot", 42, 7), name="python3", argv=("python3", "serve.py"), uid=1000)


class World:
    """A source and its people; ``used`` and ``facts`` are changed by the test between polls."""

    def __init__(self):
        self.used = 10 * GIB
        self.claims = (Claim(42, Bytes(9 * GIB)),)
        self.facts_now = FACTS
        self.fault = None
        self.asked_for_facts = 0

    def read(self, at, ask):
        if self.fault:
            return Readings(missing=(Missing(GPU, self.fault),))
        listed = ask.lists is None or GPU.uuid in ask.lists
        memory = Memory(Bytes(80 * GIB), Bytes(self.used), Bytes(80 * GIB - self.used), Bytes(0))
        return Readings((Reading(GPU, memory, self.claims if listed else None),))

    def facts(self, pids, at):
        self.asked_for_facts += 1
        return dict.fromkeys(pids, self.facts_now)


def make(world, **options):
    feed = Feed(world, world, None, live=False)
    settings = {"engines": engines(), "rules": (), "owners": {}, "surroundings": Surroundings()}
    return Pipeline(feed, rates=Rates(), **{**settings, **options})


def at(second):
    return Instant(int(second * 10), 1.7e9 + second, 100.0 + second, "boot")


def holding(poll):
    return poll.ledgers[0].holdings[0]


def test_between_two_lists_the_books_balance_and_say_that_the_list_is_old():
    world = World()
    pipeline = make(world)
    pipeline.turn(at(0))
    world.used += 500 * MIB
    (ledger,) = pipeline.turn(at(1)).ledgers
    assert not ledger.is_fresh
    assert ledger.holdings[0].held + ledger.unattributed == ledger.memory.used
    assert ledger.explanations[0] is Explanation.STALE_LIST
    assert not [s for s in samples(ledger) if s.series.kind is SubjectKind.PROCESS]


def test_who_stands_behind_a_pid_is_asked_when_a_list_is_read_and_not_oftener():
    world = World()
    pipeline = make(world)
    for second in range(5):
        pipeline.turn(at(second))
    assert world.asked_for_facts == 1


def test_an_owner_that_history_has_fixed_is_kept_whatever_is_learnt_later():
    known = Owner("unit:llama.service", "llama.service", OwnerKind.UNIT)
    pipeline = make(World(), owners={FACTS.key: known}, rules=(OwnerRule({"command": "*"}, "late"),))
    assert holding(pipeline.turn(at(0))).tenant.owner == known


def test_a_title_that_comes_late_names_the_engine_but_not_another_owner():
    world = World()
    pipeline = make(world)
    before = holding(pipeline.turn(at(0))).tenant
    world.facts_now = replace(
        FACTS, name="VLLM::EngineCor", argv=("VLLM::EngineCore",), title="VLLM::EngineCore"
    )
    after = holding(pipeline.turn(at(6))).tenant
    assert before.engine is None or before.engine.engine != "vllm"
    assert after.engine.engine == "vllm"
    assert after.owner == before.owner


def test_new_rules_name_new_processes():
    world = World()
    pipeline = make(world)
    pipeline.turn(at(0))
    pipeline.name_by((OwnerRule({"command": "*serve.py*"}, "chat"),))
    world.facts_now = replace(FACTS, key=ProcessKey("boot", 42, 8))
    assert holding(pipeline.turn(at(6))).tenant.owner.key == "rule:chat"


def test_a_changed_budget_counts_for_processes_that_run_and_their_owner_stays():
    world = World()
    pipeline = make(world, rules=(OwnerRule({"command": "*"}, "chat", "a", Bytes(GIB)),))
    assert holding(pipeline.turn(at(0))).tenant.owner.budget == GIB
    pipeline.name_by(
        (
            OwnerRule({"command": "*"}, "other"),
            OwnerRule({"command": "nothing"}, "chat", "b", Bytes(2 * GIB)),
        )
    )
    owner = holding(pipeline.turn(at(6))).tenant.owner
    assert (owner.key, owner.team, owner.budget) == ("rule:chat", "b", 2 * GIB)
    pipeline.name_by(())
    assert holding(pipeline.turn(at(12))).tenant.owner == owner


def test_an_owner_of_history_has_the_budget_that_its_rule_says_now():
    known = Owner("rule:chat", "chat", OwnerKind.RULE, None, Bytes(GIB))
    rules = (OwnerRule({"command": "nothing"}, "chat", None, Bytes(3 * GIB)),)
    pipeline = make(World(), owners={FACTS.key: known}, rules=rules)
    assert holding(pipeline.turn(at(0))).tenant.owner == replace(known, budget=Bytes(3 * GIB))


def test_a_gpu_that_was_lost_is_not_divided_by_the_list_from_before():
    world = World()
    pipeline = make(world)
    pipeline.turn(at(0))
    world.fault = Fault(FaultKind.LOST, "the GPU is lost")
    assert pipeline.turn(at(1)).missing[0].fault.kind is FaultKind.LOST
    world.fault, world.claims = None, None
    (ledger,) = pipeline.turn(at(2)).ledgers
    assert ledger.holdings == ()
    assert ledger.listed is None


def test_what_the_kernel_counts_by_control_group_is_a_series_of_its_own():
    groups = {GPU.pci: {"/system.slice/llama.service": Bytes(9 * GIB)}}
    pipeline = make(World(), read_groups=lambda: groups)
    (ledger,) = pipeline.turn(at(0)).ledgers
    (sample,) = [s for s in samples(ledger) if s.series.kind is SubjectKind.CGROUP]
    assert (sample.series.subject, sample.value) == ("/system.slice/llama.service", 9 * GIB)


def test_processes_that_come_and_go_without_end_cost_no_memory():
    world = World()
    pipeline = make(world)
    for life in range(500):
        world.facts_now = replace(FACTS, key=ProcessKey("boot", 42, life + 1))
        pipeline.turn(at(life * 10))
    assert len(pipeline._tenants) == len(pipeline._left) + len(pipeline._present) <= 62
    assert len(pipeline._owners) <= 62


# --- what processes say of themselves -----------------------------------------------------------------


class Inside:
    """Says what the test tells it to, of whoever is present."""

    def __init__(self, *gauges):
        self.said = gauges
        self.asked = []

    def gauges(self, present, at):
        self.asked.append(present)
        return dict.fromkeys(present, self.said)


def told(poll):
    return {gauge.quantity: gauge.value for gauge in poll.ledgers[0].reading.gauges}


def test_what_a_process_says_of_itself_stands_with_the_list_and_is_stored_as_its_series():
    inside = Inside(Gauge(42, "torch_reserved_bytes", 8.0 * GIB))
    pipeline = make(World(), insides=(inside,))
    poll = pipeline.turn(at(0))
    assert told(poll) == {"torch_reserved_bytes": 8.0 * GIB}
    assert inside.asked[0][GPU.uuid][42].facts == FACTS
    assert [s.value for s in samples(poll.ledgers[0]) if s.series.quantity == "torch_reserved_bytes"] == [
        8.0 * GIB
    ]
    assert told(pipeline.turn(at(1))) == {}  # no list was read: nobody was asked
    assert len(inside.asked) == 1


def test_a_figure_that_changes_while_memory_stands_still_is_told():
    inside = Inside(Gauge(42, "torch_allocated_bytes", 1.0))
    pipeline = make(World(), insides=(inside,))
    pipeline.turn(at(0))
    inside.said = (Gauge(42, "torch_allocated_bytes", 2.0),)
    assert told(pipeline.turn(at(6))) == {"torch_allocated_bytes": 2.0}


def test_of_two_who_tell_one_figure_the_first_counts():
    first, second = Inside(Gauge(42, "requests_running", 1.0)), Inside(Gauge(42, "requests_running", 9.0))
    assert told(make(World(), insides=(first, second)).turn(at(0))) == {"requests_running": 1.0}


@given(st.floats(0, 1e18))
def test_no_word_of_a_process_changes_the_books(value):
    liar = Inside(*(Gauge(42, quantity, value) for quantity in PARTS), Gauge(43, PARTS[0], value))
    honest, lied_to = (make(World(), insides=insides).turn(at(0)).ledgers[0] for insides in ((), (liar,)))
    assert replace(lied_to, reading=replace(lied_to.reading, gauges=())) == honest


def test_a_process_that_counts_one_more_out_of_memory_is_told_of_as_an_event_of_its_own():
    inside = Inside(Gauge(42, "ooms_total", 3.0))
    pipeline = make(World(), insides=(inside,))
    assert not pipeline.turn(at(0)).events  # nobody knows when those were
    inside.said = ()
    assert not pipeline.turn(at(6)).events
    inside.said = (Gauge(42, "ooms_total", 5.0),)
    (event,) = pipeline.turn(at(12)).events
    assert (event.kind, event.origin) == (EventKind.OUT_OF_MEMORY, Origin.WORKER)
    assert (event.gpu, event.pid, event.numbers) == (GPU.uuid, 42, {"ooms": 2.0})


# --- what is forgotten ----------------------------------------------------------------------------


def test_of_a_ghost_whose_history_was_deleted_no_more_is_told_than_its_pid():
    world = World()
    named = world.facts_now = replace(FACTS, user="alice", title="alice's train.py")
    pipeline = make(world)
    pipeline.turn(at(0))
    world.facts_now = replace(named, state=ProcessState.GONE, state_since=101.0)
    pipeline.turn(at(6))
    pipeline.forget({FACTS.key})
    for second in (7, 12):  # between two lists, and with the next
        tenant = holding(pipeline.turn(at(second))).tenant
        assert tenant.facts == ProcessFacts(FACTS.key, ProcessState.GONE, 101.0)
        assert "alice" not in str(tenant)


def test_nor_of_one_that_is_found_to_have_ended_at_the_next_list():
    world = World()
    named = world.facts_now = replace(FACTS, user="alice", title="alice's train.py")
    pipeline = make(world)
    pipeline.turn(at(0))
    pipeline.forget({FACTS.key})
    world.facts_now = replace(named, state=ProcessState.GONE, state_since=101.0)
    assert "alice" not in str(holding(pipeline.turn(at(6))).tenant)


def test_who_lives_is_met_anew_after_its_history_was_deleted():
    world = World()
    pipeline = make(world)
    before = holding(pipeline.turn(at(0))).tenant
    pipeline.forget({FACTS.key})
    assert holding(pipeline.turn(at(6))).tenant == before
