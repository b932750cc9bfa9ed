"""A store whose file is deleted or replaced under the daemon that writes it."""

import sqlite3
from contextlib import closing

import pytest

from tests.polls import poll
from vramwatch.core.errors import StoreError
from vramwatch.store import History, Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "v.db"


@pytest.fixture
def store(path):
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        store.write(poll(1))
        yield store


def seqs(path):
    with closing(History.open(path)) as history:
        return [each.at.seq for each in history.polls(0.0, 2e9)]


@pytest.mark.parametrize("left", [(), ("-wal", "-shm"), ("-wal", "-shm", ".lock")], ids=str)
def test_a_store_that_was_deleted_is_begun_anew_and_said(store, path, caplog, left):
    """Whatever of its files is left beside it."""
    for each in path.parent.iterdir():
        if each.name.removeprefix(path.name) not in left:
            each.unlink()
    store.write(poll(2))
    store.write(poll(3))
    assert "store taken away" in caplog.text
    with pytest.raises(StoreError, match="another vramwatch daemon"):
        Store.open(path, "nvml", "0.1.0")
    store.close()
    assert seqs(path) == [2, 3]


def test_a_store_that_was_replaced_is_gone_on_with(store, path, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "v.db"
    with closing(Store.open(other, "nvml", "0.1.0")) as another:
        another.write(poll(1))
        another.write(poll(2))
    with closing(sqlite3.connect(other)) as backup:
        backup.execute("VACUUM INTO ?", (str(tmp_path / "new"),))
    (tmp_path / "new").rename(path)
    store.write(poll(3))
    store.close()
    assert seqs(path) == [1, 2, 3]


def test_a_store_that_another_daemon_has_taken_meanwhile_is_left_to_it(store, path):
    for each in path.parent.iterdir():
        each.unlink()
    with closing(Store.open(path, "nvml", "0.1.0")) as another:
        another.write(poll(7))
        for _ in range(2):
            with pytest.raises(StoreError, match="another vramwatch daemon"):
                store.write(poll(2))
    store.write(poll(8))
    store.close()
    assert seqs(path) == [7, 8]
