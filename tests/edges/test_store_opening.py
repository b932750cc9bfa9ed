"""Which files are a store, who may open them, and what is said when they may not."""

import errno
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.polls import holding, instant, owner, poll
from vramwatch.core.errors import StoreError
from vramwatch.core.units import GIB, Bytes, Seconds
from vramwatch.store import History, Store, tables
from vramwatch.store.migrations import APPLICATION_ID, VERSION
from vramwatch.store.opening import driver

NOBODY = 65534


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "vramwatch.db"


def opened(path):
    return Store.open(path, "nvml", "0.1.0")


def filled(path):
    """A store with one poll, stopped cleanly."""
    store = opened(path)
    store.write(poll(store.next_seq(), holding(7)))
    store.close()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_store_is_for_the_daemon_to_write_and_for_its_group_to_read(path):
    before = os.umask(0o077)
    try:
        store = opened(path)
        store.write(poll(1, holding(7)))
    finally:
        os.umask(before)
    assert mode(path.parent) & 0o027 == 0
    assert [mode(each) for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm"))] == [0o640] * 3
    store.close()


def test_the_file_says_whose_it_is_and_how_it_is_to_be_kept(path):
    filled(path)
    with sqlite3.connect(path) as connection:
        pragmas = ("application_id", "user_version", "auto_vacuum", "journal_mode")
        values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
        steps = connection.execute("SELECT version, program FROM schema_version").fetchall()
    connection.close()
    assert values == [APPLICATION_ID, VERSION, 2, "wal"]
    assert steps == [(version, "0.1.0") for version in range(1, VERSION + 1)]


def test_the_tables_are_those_that_the_migrations_make(path):
    filled(path)
    connection = sqlite3.connect(path)
    for table in tables.TABLES:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table.name})")]
        assert columns == [column.name for column in table.columns], table.name
    connection.close()


def test_a_second_daemon_is_told_which_one_has_the_store(path):
    store = opened(path)
    with pytest.raises(StoreError, match=rf"another vramwatch daemon \(pid {os.getpid()}\)") as refused:
        opened(path)
    assert refused.value.exit_code == 74
    store.close()
    opened(path).close()


def test_a_store_of_a_newer_schema_is_left_as_it_was(path):
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    for open_it in (opened, History.open):
        with pytest.raises(StoreError, match="a newer vramwatch wrote this store"):
            open_it(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_left_alone(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    before = path.read_bytes()
    for open_it in (opened, History.open):
        with pytest.raises(StoreError, match="another program's database"):
            open_it(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(path):
    path.parent.mkdir()
    path.write_text("a page of text that somebody put here " * 100)
    for open_it in (opened, History.open):
        with pytest.raises(StoreError, match="not a vramwatch store"):
            open_it(path)


def damage(path):
    """Overwrite all but the first page."""
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * len(content[4096:])
    path.write_bytes(content)
    return bytes(content)


def test_a_reader_is_told_in_words_that_a_store_is_damaged(path):
    filled(path)
    damage(path)
    with pytest.raises(StoreError, match=r"vramwatch\.db: the store cannot be used, it is damaged"):
        History.open(path).latest()


def test_a_damaged_store_is_set_aside_with_its_date_and_a_new_one_begun(path, caplog):
    filled(path)
    content = damage(path)
    store = opened(path)
    store.write(poll(1, holding(7)))
    assert History.open(path).latest().at.seq == 1
    store.close()
    (aside,) = path.parent.glob("vramwatch.db.corrupt-*")
    assert aside.read_bytes() == content
    (line,) = [record.message for record in caplog.records if "damaged" in record.message]
    assert f"set_aside={aside.name}" in line


@pytest.mark.parametrize("start", [0, 100])
def test_a_store_whose_first_page_is_destroyed_is_set_aside_because_a_daemon_had_it(path, start):
    filled(path)
    content = bytearray(path.read_bytes())
    content[start:4096] = b"\xff" * (4096 - start)
    path.write_bytes(content)
    filled(path)
    assert len(list(path.parent.glob("vramwatch.db.corrupt-*"))) == 1


def test_a_store_that_is_found_damaged_while_it_is_written_is_set_aside(path):
    store = opened(path)
    store.write(poll(1, holding(7)))
    store.close()
    store = opened(path)
    damage(path)
    store.write(poll(2, holding(7)))
    assert not store.tend(instant(2), Seconds(1.0))
    for seq in range(3, 5):
        store.write(poll(seq, holding(7, Bytes(seq * GIB))))
    assert History.open(path).latest().at.seq == 4
    assert len(list(path.parent.glob("vramwatch.db.corrupt-*"))) == 1
    store.close()


def test_a_store_that_cannot_grow_says_that_its_disk_is_full_and_what_to_do(path):
    with closing(opened(path)) as store:
        store.write(poll(1, holding(7)))
        connection = driver(store._connection)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        crowd = poll(2, *(holding(pid, of=owner(str(pid))) for pid in range(100, 1100)))
        said = r"vramwatch\.db: the store cannot be used: its disk is full; make room"
        with pytest.raises(StoreError, match=said):
            store.write(crowd)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room on its disk"),
        (errno.EROFS, "mount its disk for writing"),
        (errno.EACCES, "make its directory writable for this user"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_with_what_to_do_about_it(path, monkeypatch, number, remedy):
    def refuse(place, *options, **more):
        raise OSError(number, os.strerror(number), str(place))

    monkeypatch.setattr(os, "open", refuse)
    said = rf"{os.strerror(number)} \(.*vramwatch\.db\.lock\); {remedy}, or choose another with --store"
    with pytest.raises(StoreError, match=said) as refused:
        opened(path)
    assert refused.value.exit_code == 74


def test_a_disk_that_gives_no_locks_is_refused_with_what_to_do(path, monkeypatch):
    def without_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without_locks)
    with pytest.raises(StoreError, match="choose a local disk with --store"):
        opened(path)


def test_an_empty_file_becomes_a_store_and_is_none_before(path):
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StoreError, match="start the daemon once"):
        History.open(path)
    opened(path).close()
    assert History.open(path).latest() is None


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "state").touch()
    with pytest.raises(StoreError, match="make its directory writable"):
        opened(tmp_path / "state" / "vramwatch.db")


def test_reading_where_there_is_no_store_says_what_to_start(path):
    with pytest.raises(StoreError, match="there is no store; start the daemon"):
        History.open(path)
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="this is not a file"):
        History.open(path)


def test_a_reader_that_came_after_a_clean_stop_sees_what_the_next_daemon_writes(path):
    filled(path)
    history = History.open(path)
    assert history.latest().at.seq == 1
    store = opened(path)
    store.write(poll(2, holding(7)))
    assert history.latest().at.seq == 2
    store.close()
    history.close()


# --- as a member of the group who may write nothing ---------------------------------------------

AS_ANOTHER_USER = """
import os, sys
from pathlib import Path
import sqlalchemy.dialects.sqlite.pysqlite
from vramwatch.core.errors import StoreError
from vramwatch.store import History, Store
os.setgroups([]); os.setgid({gid}); os.setuid({uid})  # only now: this interpreter may be root's own
try:
    print({what})
except StoreError as error:
    print(error)
"""


LATEST = "History.open(Path(sys.argv[1])).latest().at.seq"


def read_as(uid, gid, path, what=LATEST):
    """Return what another user's reader prints."""
    code = AS_ANOTHER_USER.format(uid=uid, gid=gid, what=what)
    answer = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=60
    )
    return answer.stdout.strip()


@pytest.fixture
def shared():
    """A state directory whose group is NOBODY's; pytest's own directories are closed to other users."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        state = Path(directory) / "state"
        state.mkdir(mode=0o750)
        os.chown(state, 0, NOBODY)
        state.chmod(0o2750)  # files made here belong to the group, as in the installed state directory
        yield state / "vramwatch.db"


def test_the_group_reads_beside_the_daemon_and_after_it_stopped_or_was_killed(shared):
    store = opened(shared)
    store.write(poll(1, holding(7)))
    assert read_as(NOBODY, NOBODY, shared) == "1"
    store.write(poll(2, holding(8)))
    assert read_as(NOBODY, NOBODY, shared) == "2"
    store.close()
    assert read_as(NOBODY, NOBODY, shared) == "2"
    write_and_die = (
        "import os, sys; from pathlib import Path; from tests.polls import holding, instant, poll;"
        "from vramwatch.store import Store; store = Store.open(Path(sys.argv[1]), 'nvml', '0.1.0');"
        "store.write(poll(3, holding(7))); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", write_and_die, shared], check=False, timeout=60)
    assert read_as(NOBODY, NOBODY, shared) == "3"


def test_everybody_else_is_told_which_group_to_join(shared):
    filled(shared)
    assert "may not read the store; join its group" in read_as(NOBODY - 1, NOBODY - 1, shared)


def test_a_daemon_that_may_not_write_the_store_says_whose_it_is(shared):
    filled(shared)
    shared.parent.chmod(0o2770)
    for each in shared.parent.iterdir():
        each.chmod(0o660 if each.suffix == ".lock" else 0o640)
    told = read_as(NOBODY, NOBODY, shared, "Store.open(Path(sys.argv[1]), 'nvml', '0.1.0')")
    assert "this user may not write the store" in told


def test_a_reader_in_the_daemons_own_process_takes_no_lock_from_it(path):
    store = opened(path)
    store.write(poll(1, holding(7)))
    History.open(path).close()
    log = Path(f"{path}-wal")
    subprocess.run([sys.executable, "-c", PASSER_BY, path], check=True, timeout=60)
    assert log.exists()
    store.write(poll(2, holding(8)))
    assert History.open(path).latest().at.seq == 2
    store.close()


PASSER_BY = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM tick").fetchall()
connection.close()  # the last one to close would take the log away
"""
