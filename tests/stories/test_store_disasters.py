"""What becomes of the history when the disk, the file or somebody else's program fails the daemon."""

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.nvml.gpu import MIB, Process
from tests.polls import holding, poll
from tests.stories.test_the_daemon import House, stop, wait_until
from vramwatch.core.model import FaultKind
from vramwatch.core.units import Bytes
from vramwatch.store import History, Store
from vramwatch.store.migrations import VERSION

NOBODY = 65534
PAGE = 4096  # SQLite's pages, and the kernel's

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk or be another user")


@pytest.fixture
def house(tmp_path, driver):
    house = House(tmp_path, driver.environment())
    house.write_config("200ms")
    return house


@pytest.fixture
def place(tmp_path):
    """An empty directory for a disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    return place


@contextlib.contextmanager
def moving(driver):
    """Let one process take more memory every few milliseconds: no two polls are alike."""
    over = threading.Event()

    def move():
        size = 0
        while not over.wait(0.05):
            size += 1
            driver.gpus[0].set_processes([Process(os.getpid(), size * MIB)])

    mover = threading.Thread(target=move)
    mover.start()
    try:
        yield
    finally:
        over.set()
        mover.join()


@contextlib.contextmanager
def mounted(place, *how):
    """Give a disk at ``place``; skip where this machine lends none."""
    made = subprocess.run(["mount", *how, place], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no disk of its own here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def settle(house, folder):
    """Move the house's store to ``folder``."""
    house.store = folder / "history.db"
    house.write_config("200ms")


def ready(house, daemon):
    """Wait until the daemon is ready; one that has ended never will be."""
    wait_until(lambda: daemon.poll() is not None or house.health()[0] == 200, "the daemon is ready")
    assert daemon.poll() is None, daemon.stderr.read()


def polls(house):
    return house.health()[1].get("polls", 0)


def goes_on(house, more=5):
    """Wait until the daemon has taken ``more`` polls."""
    until = polls(house) + more
    wait_until(lambda: polls(house) >= until, f"{more} more polls")


def in_trouble(house):
    wait_until(lambda: house.health()[1].get("store"), "the daemon says what is wrong with its store")


def at_ease(house):
    wait_until(lambda: house.health() != (0, {}) and house.health()[1]["store"] is None, "the store is well")


def holes(house):
    """Return why there are gaps in the history beside the daemon's own starts and stops."""
    with contextlib.closing(History.open(house.store)) as history:
        usual = {FaultKind.STARTING, FaultKind.STOPPED}
        return [gap.reason for gap in history.gaps(0.0, 4e9) if gap.reason not in usual]


def set_aside(house):
    """Return what stands beside the store but is neither its log nor its lock."""
    own = {house.store.name + suffix for suffix in ("", "-wal", "-shm", ".lock")}
    return [each for each in house.store.parent.glob(f"{house.store.name}*") if each.name not in own]


def once_run(house):
    """Leave the store of a daemon that was stopped cleanly."""
    with house.running() as daemon:
        ready(house, daemon)
        goes_on(house)
        stop(daemon)


def filled(house):
    """Leave the store of a writer that was stopped cleanly, quicker than by a daemon."""
    with contextlib.closing(Store.open(house.store, "nvml", "0.1.0")) as store:
        for seq in range(1, 6):
            store.write(poll(seq, holding(7, Bytes(seq * MIB))))


# --- the disk -----------------------------------------------------------------------------------


@needs_root
def test_a_full_disk_is_said_once_and_what_memory_kept_is_written_when_there_is_room(house, driver, place):
    settle(house, place)
    with mounted(place, "-t", "tmpfs", "-o", "size=4m", "tmpfs"), house.running() as daemon:
        with moving(driver):
            ready(house, daemon)
            ballast = place / "ballast"
            fill(ballast)
            in_trouble(house)
            goes_on(house)
            ballast.unlink()
            at_ease(house)
        said = stop(daemon)
        assert holes(house) == []
    assert said.count("store not written") == 1
    assert "full" in said
    assert "store written again lost_polls=0" in said


def fill(file):
    """Leave no byte of the disk of ``file``."""
    with file.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(PAGE))


def test_a_store_that_may_not_grow_is_kept_in_memory_until_it_may(house, driver):
    with house.running() as daemon:
        with moving(driver):
            ready(house, daemon)
            before = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (0, before[1]))
            in_trouble(house)
            goes_on(house)
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, before)
            at_ease(house)
        said = stop(daemon)
    assert said.count("store not written") == 1
    assert "store written again lost_polls=0" in said
    assert holes(house) == []


@needs_root
def test_a_disk_that_is_full_at_the_start_ends_the_daemon_with_74(house, place):
    settle(house, place)
    with mounted(place, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        fill(place / "ballast")
        done = house.say("run")
    assert done.returncode == 74
    assert str(house.store) in done.stderr
    assert "Traceback" not in done.stderr


@needs_root
def test_a_disk_that_is_read_only_at_the_start_ends_the_daemon_with_74(house, place):
    settle(house, place)
    with mounted(place, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        once_run(house)
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        done = house.say("run")
        asked = house.say("history", "--since", "1h")
    assert done.returncode == 74
    assert str(house.store) in done.stderr
    assert "Traceback" not in done.stderr
    assert asked.returncode == 0, asked.stderr  # what was kept can still be asked


@needs_root
def test_a_disk_that_turns_read_only_is_said_once_and_the_daemon_polls_on(house, driver, place, tmp_path):
    image = tmp_path / "image"
    with image.open("wb") as disk:
        disk.truncate(16 * MIB)
    made = subprocess.run(["mkfs.ext4", "-q", image], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("there is no mkfs.ext4 here")
    settle(house, place)
    with mounted(place, "-t", "ext4", "-o", "loop,errors=remount-ro", image), house.running() as daemon:
        with moving(driver):
            ready(house, daemon)
            break_disk(place)
            in_trouble(house)
            goes_on(house)
        said = stop(daemon)
    assert said.count("store not written") == 1
    assert "history lost polls=" in said


def break_disk(place):
    """Let the kernel find an error on the disk at ``place``, for which it makes the disk read-only."""
    device = subprocess.run(
        ["findmnt", "-no", "SOURCE", place], capture_output=True, text=True, check=True
    ).stdout.strip()
    trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
    if not trigger.exists():
        pytest.skip("this kernel cannot be told that a disk is broken")
    trigger.write_text("1")


# --- somebody else's lock -----------------------------------------------------------------------


def test_while_another_process_locks_the_store_the_daemon_polls_on_and_then_writes_it_all(house, driver):
    with house.running() as daemon:
        with moving(driver):
            ready(house, daemon)
            with contextlib.closing(sqlite3.connect(house.store, isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                in_trouble(house)
                goes_on(house, 10)
                other.execute("ROLLBACK")
            at_ease(house)
        said = stop(daemon)
    assert said.count("store not written") == 1
    assert "locked" in said
    assert "store written again lost_polls=0" in said
    assert holes(house) == []


# --- a damaged file -----------------------------------------------------------------------------


def overwrite_all_but_the_first_page(content):
    return content[:PAGE] + b"\xff" * (len(content) - PAGE)


def cut_in_half(content):
    return content[: len(content) // PAGE // 2 * PAGE]


def overwrite_the_header(content):
    return b"\xff" * 100 + content[100:]


DAMAGES = [overwrite_all_but_the_first_page, cut_in_half, overwrite_the_header]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_store_found_damaged_at_the_start_is_set_aside_and_a_new_one_begun(house, damage):
    filled(house)
    damaged = damage(house.store.read_bytes())
    house.store.write_bytes(damaged)
    with house.running() as daemon:
        ready(house, daemon)
        goes_on(house)
        said = stop(daemon)
    (aside,) = set_aside(house)
    assert aside.read_bytes() == damaged
    assert aside.name in said
    assert house.say("history", "--since", "1h").returncode == 0


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_store_damaged_under_the_daemon_never_ends_it_and_is_never_deleted(house, driver, damage):
    filled(house)
    with house.running() as daemon:
        with moving(driver):
            ready(house, daemon)
            content = damage(house.store.read_bytes())
            with house.store.open("r+b") as file:
                file.write(content)
                file.truncate(len(content))
            goes_on(house, 10)
        stop(daemon)
    once_run(house)
    assert len(set_aside(house)) == 1
    asked = house.say("history", "--since", "1h")
    assert asked.returncode == 0, asked.stderr


def test_a_file_that_is_no_database_and_that_no_daemon_wrote_is_left_alone_with_74(house):
    letter = b"to whom it may concern\n" * 1000
    house.store.write_bytes(letter)
    for done in (house.say("run"), house.say("history", "--since", "1h")):
        assert done.returncode == 74
        assert str(house.store) in done.stderr
    assert house.store.read_bytes() == letter
    assert set_aside(house) == []


# --- what is not this program's -----------------------------------------------------------------


def make_newer(store):
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")


def make_foreign(store):
    store.unlink()
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
        connection.commit()


@pytest.mark.parametrize(("make", "said"), [(make_newer, "newer"), (make_foreign, "another program")])
def test_a_store_of_a_newer_or_another_program_ends_every_verb_with_74_untouched(house, make, said):
    filled(house)
    make(house.store)
    before = house.store.read_bytes()
    for done in (house.say("run"), house.say("history", "--since", "1h")):
        assert done.returncode == 74
        assert said in done.stderr
        assert "--store" in done.stderr
    assert house.store.read_bytes() == before
    assert set_aside(house) == []


# --- other people -------------------------------------------------------------------------------

AS_ANOTHER_USER = """
import contextlib, io, os, sys
from vramwatch.cli import main
from vramwatch.cli.asking import settings
settings(None)  # who may not read the file is told so by all of the configuration
number, arguments = int(sys.argv[1]), sys.argv[2:]
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main(arguments)  # this interpreter may be root's own: all that the verb imports is read before the change
os.setgroups([]); os.setgid(number); os.setuid(number)
main(arguments)
"""


def ask_as(number, house):
    """Ask for the history as a user and group of this number."""
    asked = ["history", "--since", "1h", "--store", str(house.store), "--format", "csv"]
    return subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, str(number), *asked],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def shared():
    """A state directory as installed, whose group is NOBODY's; pytest's own are closed to other users."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        state = Path(directory) / "state"
        state.mkdir()
        os.chown(state, 0, NOBODY)
        state.chmod(0o2750)
        yield state


@needs_root
def test_a_member_of_the_group_reads_beside_the_daemon_after_it_stopped_and_after_it_was_killed(
    house, driver, shared
):
    settle(house, shared)
    with house.running() as daemon:
        with moving(driver):
            ready(house, daemon)
            goes_on(house)
            beside = ask_as(NOBODY, house)
        stop(daemon)
    after = ask_as(NOBODY, house)
    with house.running() as daemon:
        ready(house, daemon)
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
    killed = ask_as(NOBODY, house)
    for asked in (beside, after, killed):
        assert asked.returncode == 0, asked.stderr
        assert "used_bytes" in asked.stdout
    assert len(beside.stdout) <= len(after.stdout) <= len(killed.stdout)


@needs_root
def test_a_stranger_is_told_which_group_may_read_and_gets_74(house, shared):
    settle(house, shared)
    once_run(house)
    asked = ask_as(NOBODY - 1, house)
    assert asked.returncode == 74
    assert "group" in asked.stderr
    assert "Traceback" not in asked.stderr
