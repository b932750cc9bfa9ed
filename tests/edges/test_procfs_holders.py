"""Who has the devices open when nobody seems to hold them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.edges.procfs_trees import lay_out
from vramwatch.core.model import ProcessState
from vramwatch.procfs import Holder, Holders, find_holders


def test_a_zombies_thread_an_orphan_an_mps_server_and_a_stuck_process_are_found(tmp_path):
    assert find_holders(lay_out("ghosts", tmp_path) / "proc") == Holders(
        found=(
            Holder(900, 100000, "python3", ProcessState.ZOMBIE, 1, ("nvidia3", "nvidiactl")),
            Holder(910, 100000, "python3", ProcessState.ALIVE, 1, ("nvidia-uvm", "nvidia0")),
            Holder(920, 100000, "nvidia-cuda-mps", ProcessState.ALIVE, 1, ("nvidia0", "nvidia1")),
            Holder(930, 100000, "python3", ProcessState.STUCK, 1, ("nvidia1",)),
        ),
        unreadable=0,
        is_complete=True,
    )


def test_a_search_that_takes_too_long_ends_and_says_so(tmp_path):
    ticks = count()
    found = find_holders(lay_out("ghosts", tmp_path) / "proc", time_limit=3, clock=lambda: float(next(ticks)))
    assert not found.is_complete
    assert len(found.found) < 4


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    """A folder that every user may enter: pytest's own are closed to all but their owner."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def without_privilege() -> Iterator[None]:
    """Be nobody for a while, where the tests run as root."""
    owner = os.geteuid()
    if owner == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(owner)


def test_tables_that_may_not_be_read_are_counted(readable_folder):
    root = lay_out("ghosts", readable_folder) / "proc"
    (root / "910/fd").chmod(0)
    with without_privilege():
        holders = find_holders(root)
    (root / "910/fd").chmod(0o755)
    assert holders.unreadable == 1
    assert [holder.pid for holder in holders.found] == [900, 920, 930]
    assert holders.is_complete


def test_an_empty_proc_holds_nothing(tmp_path):
    assert find_holders(tmp_path / "nowhere") == Holders((), 0, is_complete=True)


def test_the_real_proc_is_searched_in_time():
    assert find_holders().is_complete
