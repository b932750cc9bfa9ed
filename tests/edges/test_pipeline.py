"""One poll through the house: read, ask who, divide."""

from dataclasses import replace

from vramwatch.assembly import engines
from vramwatch.core.attribution import Surroundings
from vramwatch.core.cadence import Rates
from vramwatch.core.model import (
    Claim,
    Explanation,
    Fault,
    FaultKind,
    Gpu,
    Instant,
    Memory,
    Missing,
    Owner,
    OwnerKind,
    ProcessFacts,
    ProcessKey,
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
