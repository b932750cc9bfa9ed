"""The socket of workers: where it may stand, and who can open it."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.workers import Line
from vramwatch.clock import read_boot_id
from vramwatch.reception import Admission, Bounds, Reception, ReceptionError
from vramwatch.sdk.wire import Welcome

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")

NOBODY = 65534


@pytest.fixture
def path(tmp_path):
    return tmp_path / "enrol.sock"


@pytest.fixture
def open_folder():
    """A directory that others may look into, as a runtime directory is."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def open_at(path, **admission):
    return Reception(path, Admission(**admission), Bounds(), read_boot_id())


def refusal(path):
    with pytest.raises(ReceptionError) as refused:
        open_at(path).close()
    assert "workers.socket" in str(refused.value), "it says what to do"
    return str(refused.value)


def test_the_socket_is_closed_to_others(path):
    with closing(open_at(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_the_socket_is_given_to_the_group(path):
    group = os.getgroups()[-1] if os.geteuid() else NOBODY
    with closing(open_at(path, group=group)):
        assert path.stat().st_gid == group


def test_a_symbolic_link_in_its_place_is_refused_and_left_alone(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere.sock")
    assert "symbolic link" in refusal(path)
    assert path.is_symlink()


def test_a_file_in_its_place_is_refused_and_left_alone(path):
    path.write_text("mine")
    assert "no socket" in refusal(path)
    assert path.read_text() == "mine"


@as_root
def test_a_socket_of_another_user_is_refused_and_left_alone(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(str(path))
    os.chown(path, NOBODY, NOBODY)
    assert f"belongs to uid {NOBODY}" in refusal(path)
    assert path.is_socket()


def test_a_directory_that_others_can_write_is_refused(path, tmp_path):
    tmp_path.chmod(0o1777)
    assert "others can write here" in refusal(path)
    assert not path.exists()


@as_root
def test_a_directory_of_another_user_is_refused(path, tmp_path):
    os.chown(tmp_path, NOBODY, NOBODY)
    assert f"belongs to uid {NOBODY}" in refusal(path)


def test_a_directory_that_is_a_symbolic_link_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert "symbolic link" in refusal(tmp_path / "link" / "enrol.sock")


def test_a_socket_left_by_a_killed_daemon_is_taken_over(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))
    with closing(open_at(path)), Line(path) as line:
        assert isinstance(line.enrol(), Welcome)


@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_STREAM])
def test_a_socket_where_another_program_answers_is_left_to_it(path, kind):
    with socket.socket(socket.AF_UNIX, kind) as first:
        first.bind(str(path))
        first.listen()
        assert "another program answers here" in refusal(path)
        assert path.is_socket()


def test_a_socket_that_was_put_in_its_place_meanwhile_is_not_removed_at_the_end(path):
    with closing(open_at(path)):
        path.unlink()
        path.write_text("of another")
    assert path.read_text() == "of another"


def test_a_path_longer_than_the_kernel_takes_is_no_hindrance(tmp_path):
    folder = tmp_path / ("d" * 200)
    folder.mkdir()
    with closing(open_at(folder / "enrol.sock")):
        assert (folder / "enrol.sock").is_socket()


def test_names_that_this_machine_does_not_know_are_refused():
    with pytest.raises(ReceptionError, match="groupadd"):
        Admission.of("no-such-group", None)
    with pytest.raises(ReceptionError, match=r"workers\.users"):
        Admission.of(None, ("no-such-user",))


# --- who is let in --------------------------------------------------------------------------------


def enrols_as(path, uid, groups):
    """Return what is heard by a process of this user that says hello; an OSError by its name."""
    words = [str(path), str(uid), *map(str, groups)]
    done = subprocess.run(
        [sys.executable, "-c", HELLO, *words], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


HELLO = """
import os, sys
from tests.workers import Line
path, uid, *groups = sys.argv[1:]
os.setgroups(list(map(int, groups)))
os.setresgid(int(uid), int(uid), int(uid))
os.setresuid(int(uid), int(uid), int(uid))
try:
    with Line(path) as line:
        print(getattr(line.enrol(), "reason", "welcome"))
except OSError as error:
    print(type(error).__name__)
"""


@as_root
def test_another_user_enrols_as_a_member_of_the_group_alone(open_folder):
    path = open_folder / "enrol.sock"
    with closing(open_at(path, group=4242)):
        assert enrols_as(path, 1000, []) == "PermissionError"
        assert enrols_as(path, 1000, [4242]) == "welcome"
        path.chmod(0o666)  # as an operator may who has a container's user in mind
        assert "uid 1000 may not enrol" in enrols_as(path, 1000, [])


@as_root
def test_a_group_that_the_daemon_is_not_in_is_refused_and_nothing_is_left(open_folder):
    open_folder.chmod(0o700)
    os.chown(open_folder, NOBODY, NOBODY)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(open_folder / "enrol.sock")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "SupplementaryGroups=" in done.stdout
    assert not list(open_folder.iterdir())


AS_NOBODY = """
import os, sys
from pathlib import Path
from vramwatch.reception import Admission, Bounds, Reception, ReceptionError
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
try:
    Reception(Path(sys.argv[1]), Admission(group=4242), Bounds(), "boot")
except ReceptionError as error:
    print(error)
"""


@as_root
def test_of_the_group_the_users_that_are_named_enrol_alone(open_folder):
    path = open_folder / "enrol.sock"
    with closing(open_at(path, group=4242, users=frozenset({1001}))):
        assert "uid 1000 may not enrol" in enrols_as(path, 1000, [4242])
        assert enrols_as(path, 1001, [4242]) == "welcome"
