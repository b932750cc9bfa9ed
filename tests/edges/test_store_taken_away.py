"""A store whose file is deleted, moved or replaced under the daemon that writes it."""

from contextlib import closing

import pytest

from tests.polls import poll
from vramwatch.core.errors import StoreError
from vramwatch.store import History, Store

TAKEN = "was deleted, moved or replaced while the daemon wrote it; restart the daemon"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "here" / "v.db"


@pytest.fixture
def store(path):
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        store.write(poll(1))
        yield store


def seqs(path):
    with closing(History.open(path)) as history:
        return [each.at.seq for each in history.polls(0.0, 2e9)]


def delete(path):
    path.unlink()


def move_its_folder(path):
    path.parent.rename(path.parent.with_name("there"))


def put_a_file_in_place_of_its_folder(path):
    move_its_folder(path)
    path.parent.touch()


def put_another_in_its_place(path):
    path.rename(path.with_name("old.db"))
    path.touch()


@pytest.mark.parametrize(
    "take", [delete, move_its_folder, put_a_file_in_place_of_its_folder, put_another_in_its_place]
)
def test_a_store_that_is_taken_away_is_refused_instead_of_written_without_a_name(store, path, take):
    take(path)
    for seq in (2, 3):
        with pytest.raises(StoreError, match=TAKEN):
            store.write(poll(seq))


def test_what_is_moved_back_is_gone_on_with_and_nothing_is_lost(store, path):
    path.rename(path.with_name("away"))
    with pytest.raises(StoreError, match=TAKEN):
        store.write(poll(2))
    path.with_name("away").rename(path)
    store.write(poll(2))
    store.close()
    assert seqs(path) == [1, 2]


def test_a_store_that_another_daemon_has_begun_meanwhile_is_left_to_it(store, path):
    for each in path.parent.iterdir():
        each.unlink()
    with closing(Store.open(path, "nvml", "0.1.0")) as another:
        another.write(poll(7))
        with pytest.raises(StoreError, match=TAKEN):
            store.write(poll(8))
    assert seqs(path) == [7]


def test_after_a_restart_a_new_one_is_begun(store, path):
    path.unlink()
    with pytest.raises(StoreError, match=TAKEN):
        store.write(poll(2))
    store.close()
    with closing(Store.open(path, "nvml", "0.1.0")) as again:
        again.write(poll(3))
    assert seqs(path) == [3]
