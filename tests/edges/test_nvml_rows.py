"""Laws of what is decided about rows, figures and names, without a driver."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nvml.gpu import GIB
from vramwatch.core.model import ClaimKind, EventKind, Fault, FaultKind, Gpu, MemoryBasis, Missing
from vramwatch.driver.answers import balance, reading
from vramwatch.driver.devices import Sharing
from vramwatch.driver.lists import LAYOUTS, POISON, WIDEST, join, row_size
from vramwatch.driver.memory import sharing_of
from vramwatch.driver.roster import Roster
from vramwatch.driver.wire import (
    COMPUTE,
    GRAPHICS,
    MESSAGE_MOST,
    Answer,
    ClaimRow,
    FaultRow,
    Figures,
    GpuRow,
    Identity,
    Request,
    decode,
    encode,
)

SIZES = st.integers(0, 2**48)
ALL_ONES_32, ALL_ONES_64 = 2**32 - 1, 2**64 - 1
INSTANCES = st.one_of(st.just(ALL_ONES_32), st.integers(0, 13))
ROWS = st.lists(
    st.tuples(
        st.integers(1, 2**22),
        st.one_of(st.just(ALL_ONES_64), SIZES),
        INSTANCES,
        INSTANCES,
        st.just(ALL_ONES_64),
    ),
    min_size=1,
    max_size=40,
)
WIDE_ROW = struct.Struct("=I4xQIIQ")


def written(rows, size):
    """Return the poisoned buffer after a driver has written ``rows`` of ``size`` bytes."""
    data = b"".join(WIDE_ROW.pack(*row)[:size] for row in rows)
    return data.ljust((len(rows) + 1) * WIDEST, bytes((POISON,)))


@given(ROWS, st.sampled_from(sorted(LAYOUTS)))
def test_the_size_of_a_row_is_measured_whatever_the_driver_calls_it(rows, size):
    assert row_size(written(rows, size), len(rows)) == size


@given(ROWS)
def test_a_buffer_that_was_wiped_by_the_driver_has_no_layout_to_trust(rows):
    wiped = written(rows, 24).replace(bytes((POISON,)), b"\0")
    assert row_size(wiped, len(rows)) is None


@given(ROWS, st.sampled_from([8, 20, 28]))
def test_rows_of_another_size_are_not_trusted(rows, size):
    assert row_size(written(rows, size), len(rows)) not in (16, 24, 32) or len(rows) == 0


@given(st.lists(st.tuples(st.sampled_from([1, 2, 4]), ROWS), max_size=3))
def test_joined_lists_name_each_process_once_and_add_nothing(lists):
    claims = join((kind, [row[:4] for row in rows]) for kind, rows in lists)
    keys = [(c.pid, c.gpu_instance, c.compute_instance) for c in claims]
    assert len(keys) == len(set(keys))
    told = [used for _, rows in lists for _, used, *_ in rows if used != ALL_ONES_64]
    assert all(claim.used is None or claim.used in told for claim in claims)
    if any(claim.used is None for claim in claims):
        assert any(used == ALL_ONES_64 for _, rows in lists for _, used, *_ in rows)


def test_a_size_that_one_list_withholds_is_taken_from_the_other():
    rows = [(1, ALL_ONES_64)], [(1, GIB)]
    assert join([(COMPUTE, rows[0]), (GRAPHICS, rows[1])]) == [
        ClaimRow(1, GIB, COMPUTE | GRAPHICS, None, None)
    ]
    assert join([(COMPUTE, rows[1]), (GRAPHICS, rows[0])]) == [
        ClaimRow(1, GIB, COMPUTE | GRAPHICS, None, None)
    ]


@given(st.sampled_from(["v1", "v2", "unified"]), SIZES, SIZES, SIZES, SIZES, SIZES)
def test_memory_balances_to_the_byte_or_is_refused(basis, total, used, free, reserved, held):
    memory = balance(Figures(basis, total, used, free, reserved), held)
    if memory is None:
        assert basis != "unified"
        assert used > total
        return
    assert memory.used + memory.reserved + memory.free == memory.total == total
    assert min(memory.used, memory.reserved, memory.free) >= 0
    assert memory.used == (min(held, total) if basis == "unified" else used)


def test_what_the_host_holds_of_unified_memory_is_reserved():
    memory = balance(Figures("unified", 100, 0, 60, 0), held=30)
    assert (memory.used, memory.free, memory.reserved) == (30, 60, 10)
    assert memory.basis is MemoryBasis.UNIFIED


@pytest.mark.parametrize(
    ("name", "total", "host", "is_node", "sharing"),
    [
        ("NVIDIA H100 80GB HBM3", 80, 128, False, Sharing.OWN),
        ("NVIDIA H200", 139, 128, False, Sharing.OWN),
        ("NVIDIA H200", 125, 128, False, Sharing.OWN),
        ("NVIDIA GB10", 0, 128, False, Sharing.HOST),
        ("NVIDIA GB10", 128, 128, False, Sharing.HOST),
        ("NVIDIA Thor", 122, 128, False, Sharing.HOST),
        ("NVIDIA GH200 480GB", 96, 576, True, Sharing.NODE),
    ],
)
def test_only_a_gpu_without_memory_of_its_own_shares_the_hosts(name, total, host, is_node, sharing):
    assert sharing_of(name, total * GIB, host * GIB, is_node) is sharing


FULL = Answer(
    [
        GpuRow(
            f"GPU-{gpu:036d}",
            Figures("v2", 2**40, 2**39, 2**39, 0),
            [ClaimRow(2**22 - pid, 2**39, 7, None, None) for pid in range(950)],
            None,
            0.99,
            99.0,
            700.123,
        )
        for gpu in range(16)
    ],
    [],
    None,
    {"memory": 0.1},
    40,
)


def test_the_fullest_answer_of_16_gpus_fits_into_a_message():
    assert len(encode(FULL)) < MESSAGE_MOST


def test_messages_arrive_as_they_were_sent():
    request = Request(["GPU-a"], True, {"GPU-b": 1})
    assert decode(encode(request)) == request


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b'["Gossip"]', b'["Ready",1]', b"\xff", b"[[[", b'[["Ready"]]']
)
def test_what_is_no_message_is_refused(line):
    with pytest.raises(ValueError, match=r".+"):
        decode(line)


@pytest.mark.parametrize(
    "row",
    [
        GpuRow("GPU-a", Figures("v2", -1, 0, 0, 0)),
        GpuRow("GPU-a", Figures("v9", 1, 0, 0, 0)),
        GpuRow("GPU-a", Figures("v2", "much", 0, 0, 0)),
        GpuRow("GPU-a", Figures("v2", 1, 0, 0, 0), [ClaimRow(1, -5, 0, None, None)]),
        GpuRow("GPU-a", Figures("v2", 1, 0, 0, 0), [(1, 2)]),
        GpuRow("GPU-a", Figures("v2", 1, 0, 0, 0), None, FaultRow("boredom", "")),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(row):
    with pytest.raises((ValueError, TypeError)):
        reading(Gpu("GPU-a", "0", "a"), row)


def test_claims_keep_their_kinds():
    row = GpuRow("GPU-a", Figures("v2", 10, 5, 5, 0), [ClaimRow(1, 5, COMPUTE | GRAPHICS, 3, 0)])
    (claim,) = reading(Gpu("GPU-a", "0", "a"), row).claims
    assert claim.kinds == {ClaimKind.COMPUTE, ClaimKind.GRAPHICS}
    assert (claim.gpu_instance, claim.compute_instance) == (3, 0)


A, B = Identity("GPU-a", "0", "a", None, None, False), Identity("GPU-b", "1", "b", None, None, False)


def test_a_device_that_is_left_out_has_not_vanished():
    roster = Roster()
    roster.take([A, B], {}, 0.0)
    assert roster.take([B], {"GPU-a"}, 1.0) == ()
    assert roster.missing(1.0) == ()
    assert roster.of_device("GPU-a", 0) == (Gpu("GPU-a", "0", "a"),)


def test_a_gpu_that_will_not_tell_its_uuid_is_the_one_known_in_its_place():
    roster = Roster()
    roster.take([A, B], {}, 0.0)
    assert roster.take([Identity("index:0", "0", "", None, None, False), B], {}, 1.0) == ()
    assert roster.gpu("index:0") == Gpu("GPU-a", "0", "a")
    assert roster.device("index:0") == "GPU-a"


def test_vanished_instances_are_remembered_in_bounded_number():
    roster = Roster()
    for n in range(400):
        roster.take([Identity(f"MIG-{n}", "0:0", "mig", None, "GPU-a", False)], {}, float(n))
    missing = roster.missing(400.0)
    assert len(missing) == 256
    assert missing[-1] == Missing(
        Gpu("MIG-398", "0:0", "mig", None, "GPU-a"),
        Fault(FaultKind.GONE, "the driver no longer lists the GPU"),
    )


def test_a_row_about_a_gpu_that_was_never_named_is_refused():
    with pytest.raises(ValueError, match="in no inventory"):
        Roster().gpu("GPU-x")


def test_the_first_inventory_is_no_news():
    roster = Roster()
    assert roster.take([A], {}, 0.0) == ()
    (event,) = roster.take([A, B], {}, 1.0)
    assert (event.kind, event.gpu, event.detail) == (EventKind.GPU_APPEARED, "GPU-b", "GPU 1 (b) appeared")
