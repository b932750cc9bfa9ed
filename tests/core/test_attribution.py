"""A reading divided among processes: the books balance, and what is left is explained."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.attribution import (
    DRIVER_QUANTUM,
    GHOST_AFTER,
    Listed,
    Surroundings,
    attribute,
    join,
    tolerance,
)
from vramwatch.core.model import (
    Claim,
    ClaimKind,
    Explanation,
    Fault,
    FaultKind,
    Gauge,
    GhostKind,
    Gpu,
    Instant,
    Ledger,
    Memory,
    MemoryBasis,
    Owner,
    OwnerKind,
    ProcessFacts,
    ProcessKey,
    ProcessState,
    Reading,
    SeriesKey,
    SubjectKind,
    Tenant,
)
from vramwatch.core.series import process_key, process_subject, samples
from vramwatch.core.units import GIB, MIB, Bytes

GPU = Gpu("GPU-1", "0", "NVIDIA H100")
NOW = Instant(seq=7, wall=1_000_000.0, boottime=500.0, boot_id="boot")
EARLIER = replace(NOW, seq=6, boottime=490.0)
TOTAL = Bytes(80 * GIB)
RESERVED = Bytes(600 * MIB)
COMPUTE = frozenset({ClaimKind.COMPUTE})


def reading(used: int, **more: object) -> Reading:
    free = Bytes(TOTAL - RESERVED - used)
    return replace(Reading(GPU, Memory(TOTAL, Bytes(used), free, RESERVED)), **more)


def tenant(
    pid: int, owner: str = "rule:chat", state: ProcessState = ProcessState.ALIVE, since: float = 0.0
) -> Tenant:
    facts = ProcessFacts(ProcessKey("boot", pid, pid * 10), state, since)
    return Tenant(facts, Owner(owner, owner, OwnerKind.RULE))


def ledger(
    used: int,
    *claims: Claim,
    listed: Listed | None = None,
    tenants: dict[int, Tenant] | None = None,
    surroundings: Surroundings = Surroundings(),  # noqa: B008 - frozen
    **more: object,
) -> Ledger:
    known = tenants if tenants is not None else {claim.pid: tenant(claim.pid) for claim in claims}
    return attribute(NOW, reading(used, **more), listed or Listed(NOW, claims), known, surroundings)


def claim(pid: int, used: int | None, *place: int, kinds: frozenset[ClaimKind] = COMPUTE) -> Claim:
    return Claim(pid, None if used is None else Bytes(used), kinds, *place)


def held(book: Ledger) -> int:
    return sum(holding.held for holding in book.holdings if holding.held is not None)


# --- the balance -------------------------------------------------------------------------------------

SIZES = st.integers(0, TOTAL - RESERVED)
CLAIMS = st.lists(
    st.builds(
        Claim,
        pid=st.integers(1, 5),
        used=st.none() | SIZES,
        kinds=st.frozensets(st.sampled_from(ClaimKind), max_size=3),
        gpu_instance=st.none() | st.integers(0, 1),
        compute_instance=st.none() | st.integers(0, 1),
    ),
    max_size=8,
).map(tuple)
TENANTS = st.dictionaries(
    st.integers(1, 5),
    st.tuples(st.sampled_from("abc"), st.sampled_from(ProcessState), st.floats(0, 1000)),
    max_size=5,
).map(lambda known: {pid: tenant(pid, *rest) for pid, rest in known.items()})
LISTS = st.none() | st.builds(
    Listed,
    at=st.sampled_from([NOW, EARLIER]),
    claims=CLAIMS,
    fault=st.none() | st.just(Fault(FaultKind.NOT_SUPPORTED, "no lists here")),
)
SURROUNDINGS = st.builds(Surroundings, hidden_pids=st.booleans(), mps=st.booleans())
LEDGERS = st.builds(attribute, st.just(NOW), SIZES.map(reading), LISTS, TENANTS, SURROUNDINGS)


@given(LEDGERS)
def test_the_books_balance_to_the_byte(book: Ledger) -> None:
    memory = book.memory
    assert held(book) + book.unattributed == memory.used
    assert memory.used + memory.reserved + memory.free == memory.total


@given(LEDGERS)
def test_every_pid_stands_in_the_ledger_once_the_largest_first_and_withheld_last(book: Ledger) -> None:
    pids = [holding.pid for holding in book.holdings]
    assert len(pids) == len(set(pids))
    known = [holding.held for holding in book.holdings if holding.held is not None]
    assert known == sorted(known, reverse=True)
    assert [holding.held for holding in book.holdings[len(known) :]] == [None] * (len(pids) - len(known))


@given(LEDGERS)
def test_bytes_are_explained_exactly_when_there_are_more_than_rounding_makes(book: Ledger) -> None:
    is_rounding = abs(book.unattributed) <= tolerance(len(book.holdings))
    assert (book.explanations == ()) is is_rounding
    assert len(book.explanations) == len(set(book.explanations))


@given(CLAIMS, st.randoms(use_true_random=False))
def test_joining_is_of_no_order_and_joining_twice_changes_nothing(
    claims: tuple[Claim, ...], shuffler
) -> None:
    shuffled = list(claims)
    shuffler.shuffle(shuffled)
    joined = join(claims)
    assert join(shuffled) == joined
    assert join(claims + claims) == joined
    assert join(joined.values()) == joined
    assert joined.keys() == {each.pid for each in claims}


@given(CLAIMS)
def test_no_process_holds_more_than_its_rows_say_together(claims: tuple[Claim, ...]) -> None:
    for pid, joined in join(claims).items():
        said = [each.used for each in claims if each.pid == pid and each.used is not None]
        assert joined.used is None or max(said) <= joined.used <= sum(said)


# --- joining -----------------------------------------------------------------------------------------


def test_a_process_in_the_compute_and_the_graphics_list_counts_once() -> None:
    rows = (claim(7, 5 * GIB), claim(7, 4 * GIB, kinds=frozenset({ClaimKind.GRAPHICS})))
    book = ledger(5 * GIB, *rows)
    assert [(each.pid, each.held) for each in book.holdings] == [(7, 5 * GIB)]
    assert book.holdings[0].kinds == {ClaimKind.COMPUTE, ClaimKind.GRAPHICS}


def test_a_list_that_withholds_says_nothing_against_one_that_tells() -> None:
    assert join((claim(7, None), claim(7, 5)))[7].used == 5


def test_a_process_in_two_mig_instances_holds_what_it_holds_in_both() -> None:
    assert join((claim(7, 5, 1, 0), claim(7, 3, 2, 0)))[7] == claim(7, 8)


def test_a_sum_with_a_withheld_part_is_withheld() -> None:
    assert join((claim(7, 5, 1, 0), claim(7, None, 2, 0)))[7].used is None


# --- what goes wrong between two calls ---------------------------------------------------------------


def test_a_process_that_exits_between_two_calls_leaves_a_negative_rest_that_is_kept_and_shown() -> None:
    book = ledger(1 * GIB, claim(7, 1 * GIB), claim(8, 5 * GIB))
    assert book.unattributed == -5 * GIB
    assert book.explanations == (Explanation.SHARED,)


def test_a_withheld_claim_counts_nothing_and_is_named_as_the_likely_reason() -> None:
    book = ledger(9 * GIB, claim(7, None), claim(8, 1 * GIB))
    assert book.unattributed == 8 * GIB
    assert book.explanations == (Explanation.WITHHELD, Explanation.MANAGED)
    assert [each.pid for each in book.holdings] == [8, 7]


def test_a_listed_pid_without_a_tenant_is_held_by_a_process_that_is_not_visible() -> None:
    book = ledger(1 * GIB, claim(4242, 1 * GIB), tenants={})
    assert book.holdings[0].tenant.owner.name == "pid 4242 (not visible)"
    assert book.holdings[0].ghost is None


def test_an_older_list_still_tells_the_holders_and_is_named_as_a_reason() -> None:
    book = ledger(3 * GIB, listed=Listed(EARLIER, (claim(7, 1 * GIB),)), tenants={7: tenant(7)})
    assert not book.is_fresh
    assert book.listed == EARLIER
    assert book.explanations == (Explanation.STALE_LIST, Explanation.MANAGED)


@pytest.mark.parametrize("listed", [None, Listed(NOW, (), Fault(FaultKind.NOT_SUPPORTED, "no lists here"))])
def test_without_a_list_every_byte_is_unattributed(listed: Listed | None) -> None:
    book = attribute(NOW, reading(3 * GIB), listed, {}, Surroundings())
    assert book.unattributed == 3 * GIB
    assert book.explanations == (Explanation.NO_LIST,)
    assert book.listed is None
    assert not book.is_fresh


# --- explanations ------------------------------------------------------------------------------------


def test_what_rounding_makes_needs_no_explanation() -> None:
    assert ledger(1 * GIB + 2 * DRIVER_QUANTUM, claim(7, 1 * GIB)).explanations == ()
    assert ledger(1 * GIB + 2 * DRIVER_QUANTUM + 1, claim(7, 1 * GIB)).explanations == (Explanation.MANAGED,)


def test_bytes_with_nobody_listed_are_held_by_nobody() -> None:
    assert ledger(20 * GIB).explanations == (Explanation.NOBODY,)


def test_bytes_with_nobody_listed_are_more_likely_another_namespaces() -> None:
    book = ledger(20 * GIB, surroundings=Surroundings(hidden_pids=True))
    assert book.explanations == (Explanation.HIDDEN_PIDS, Explanation.NOBODY)


def test_a_v1_figure_holds_what_the_driver_reserves() -> None:
    memory = Memory(TOTAL, Bytes(912 * MIB), Bytes(TOTAL - 912 * MIB), Bytes(0), MemoryBasis.V1)
    assert ledger(0, memory=memory).explanations == (Explanation.DRIVER, Explanation.NOBODY)


def test_mps_is_a_reason_where_it_runs_or_a_client_is_listed() -> None:
    client = claim(7, 1 * GIB, kinds=frozenset({ClaimKind.MPS}))
    assert Explanation.MPS in ledger(9 * GIB, client).explanations
    assert Explanation.MPS in ledger(9 * GIB, claim(7, 1), surroundings=Surroundings(mps=True)).explanations
    assert Explanation.MPS not in ledger(9 * GIB, claim(7, 1)).explanations


# --- ghosts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "ghost"),
    [
        (ProcessState.GONE, GhostKind.GONE),
        (ProcessState.ZOMBIE, GhostKind.ZOMBIE),
        (ProcessState.STUCK, GhostKind.STUCK),
        (ProcessState.ALIVE, None),
        (ProcessState.HIDDEN, None),
    ],
)
def test_memory_of_a_process_that_is_over_is_a_ghosts(state: ProcessState, ghost: GhostKind | None) -> None:
    since = NOW.boottime - GHOST_AFTER
    book = ledger(1 * GIB, claim(7, 1 * GIB), tenants={7: tenant(7, state=state, since=since)})
    assert book.holdings[0].ghost is ghost
    assert book.ghost_bytes == (1 * GIB if ghost else 0)


def test_an_exit_in_progress_is_no_ghost() -> None:
    since = NOW.boottime - GHOST_AFTER + 0.1
    book = ledger(1 * GIB, claim(7, 1 * GIB), tenants={7: tenant(7, state=ProcessState.GONE, since=since)})
    assert book.holdings[0].ghost is None


def test_a_process_that_ended_after_an_older_list_is_no_ghost() -> None:
    gone = tenant(7, state=ProcessState.GONE, since=EARLIER.boottime - 1.0)
    book = ledger(0, listed=Listed(EARLIER, (claim(7, 1 * GIB),)), tenants={7: gone})
    assert book.holdings[0].ghost is None


# --- series ------------------------------------------------------------------------------------------


def told(book: Ledger) -> dict[tuple[SubjectKind, str, str], float]:
    return {
        (each.series.kind, each.series.subject, each.series.quantity): each.value for each in samples(book)
    }


def test_a_ledger_feeds_the_series_of_gpu_processes_owners_ghosts_and_nobody() -> None:
    since = NOW.boottime - GHOST_AFTER
    book = ledger(
        9 * GIB,
        claim(7, 5 * GIB),
        claim(8, 1 * GIB),
        tenants={7: tenant(7), 8: tenant(8, state=ProcessState.ZOMBIE, since=since)},
        utilization=0.5,
        temperature=61.0,
        power=310.5,
        peaks={7: Bytes(6 * GIB)},
        gauges=(Gauge(7, "torch_reserved_bytes", 4.0), Gauge(99, "torch_reserved_bytes", 1.0)),
    )
    assert told(book) == {
        (SubjectKind.GPU, "", "used_bytes"): 9 * GIB,
        (SubjectKind.GPU, "", "reserved_bytes"): RESERVED,
        (SubjectKind.GPU, "", "total_bytes"): TOTAL,
        (SubjectKind.GPU, "", "utilization_ratio"): 0.5,
        (SubjectKind.GPU, "", "temperature_celsius"): 61.0,
        (SubjectKind.GPU, "", "power_watts"): 310.5,
        (SubjectKind.PROCESS, "boot/7/70", "used_bytes"): 5 * GIB,
        (SubjectKind.PROCESS, "boot/7/70", "peak_bytes"): 6 * GIB,
        (SubjectKind.PROCESS, "boot/7/70", "torch_reserved_bytes"): 4.0,
        (SubjectKind.PROCESS, "boot/8/80", "used_bytes"): 1 * GIB,
        (SubjectKind.OWNER, "rule:chat", "used_bytes"): 6 * GIB,
        (SubjectKind.GHOST, "", "used_bytes"): 1 * GIB,
        (SubjectKind.UNATTRIBUTED, "", "used_bytes"): 3 * GIB,
    }
    assert {each.series.gpu for each in samples(book)} == {"GPU-1"}


def test_an_older_list_feeds_no_series_but_those_of_the_gpu_and_what_was_read_now() -> None:
    listed = Listed(EARLIER, (claim(7, 1 * GIB),))
    book = ledger(1 * GIB, listed=listed, tenants={7: tenant(7)}, peaks={7: Bytes(2 * GIB)})
    assert {(kind, quantity) for kind, _, quantity in told(book)} == {
        (SubjectKind.GPU, "used_bytes"),
        (SubjectKind.GPU, "reserved_bytes"),
        (SubjectKind.GPU, "total_bytes"),
        (SubjectKind.PROCESS, "peak_bytes"),
    }


def test_an_owner_with_a_withheld_process_has_no_sum() -> None:
    book = ledger(1 * GIB, claim(7, 1 * GIB), claim(8, None))
    assert not [kind for kind, _, _ in told(book) if kind is SubjectKind.OWNER]


def test_a_gauge_cannot_speak_for_the_driver() -> None:
    book = ledger(1 * GIB, claim(7, 1 * GIB), gauges=(Gauge(7, "used_bytes", 5.0),))
    assert told(book)[SubjectKind.PROCESS, "boot/7/70", "used_bytes"] == 1 * GIB


@given(LEDGERS)
def test_the_sums_of_the_owners_are_the_sums_of_their_processes(book: Ledger) -> None:
    figures = told(book)
    owners = {subject: value for (kind, subject, _), value in figures.items() if kind is SubjectKind.OWNER}
    for owner, used in owners.items():
        mine = [each for each in book.holdings if each.tenant.owner.key == owner]
        assert used == sum(
            figures[SubjectKind.PROCESS, process_subject(each.tenant.facts.key), "used_bytes"]
            for each in mine
        )
    withheld = {each.tenant.owner.key for each in book.holdings if each.held is None}
    everybody = {each.tenant.owner.key for each in book.holdings}
    assert owners.keys() == (everybody - withheld if book.is_fresh else set())


@given(LEDGERS)
def test_what_processes_and_nobody_hold_is_what_the_gpu_uses(book: Ledger) -> None:
    figures = {key: value for key, value in told(book).items() if key[2] == "used_bytes"}
    processes = sum(value for (kind, _, _), value in figures.items() if kind is SubjectKind.PROCESS)
    if book.is_fresh:
        assert processes + figures[SubjectKind.UNATTRIBUTED, "", "used_bytes"] == book.memory.used


@given(LEDGERS)
def test_no_series_is_fed_twice(book: Ledger) -> None:
    keys: list[SeriesKey] = [each.series for each in samples(book)]
    assert len(keys) == len(set(keys))


@given(st.text(), st.integers(0, 2**22), st.integers(0, 2**63))
def test_a_process_key_comes_back_from_its_text(boot_id: str, pid: int, start_ticks: int) -> None:
    key = ProcessKey(boot_id, pid, start_ticks)
    assert process_key(process_subject(key)) == key


@pytest.mark.parametrize("text", ["", "boot", "boot/7", "boot/x/7", "boot/7/-1"])
def test_a_text_that_names_no_process_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names no process"):
        process_key(text)
