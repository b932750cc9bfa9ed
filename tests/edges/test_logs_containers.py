"""Log files of containers: which are followed, and how they are followed through rotation and floods."""

import json

import pytest

from vramwatch.core.oom_lines import TRIGGERS
from vramwatch.logs import tail
from vramwatch.logs.containers import LINES_MOST, LOOKS_BETWEEN_SEARCHES, ContainerWatch
from vramwatch.logs.tail import Tail
from vramwatch.logs.watch import LogWatch
from vramwatch.procfs.container_logs import ContainerLogs

OOM = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 80.00 GiB"
ID = "ab" * 32
OTHER = "cd" * 32


class Host:
    """A host's files with containers of Docker and of the kubelet."""

    def __init__(self, root):
        self.root = root

    def docker(self, name, container=ID):
        folder = self.root / "var/lib/docker/containers" / container
        folder.mkdir(parents=True)
        (folder / "config.v2.json").write_text(json.dumps({"Name": f"/{name}", "Config": {"Image": "i"}}))
        file = folder / f"{container}-json.log"
        file.touch()
        return file

    def pod(self, namespace, pod, container, restart=0):
        folder = self.root / f"var/log/pods/{namespace}_{pod}_0a1b-2c3d/{container}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{restart}.log"
        file.touch()
        return file


def docker_line(message):
    return json.dumps({"log": f"{message}\n", "stream": "stderr", "time": "2026-11-20T10:00:00Z"}) + "\n"


def cri_line(message):
    return f"2026-11-20T10:00:00.000000001Z stderr F {message}\n"


def add(file, text):
    with file.open("a") as opened:
        opened.write(text)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def watch_of(host, *names):
    seen = []
    watch = ContainerWatch(names, seen.append, host.root)
    watch.look()
    return watch, seen


def search(watch):
    for _ in range(LOOKS_BETWEEN_SEARCHES):
        watch.look()


# --- which --------------------------------------------------------------------------------------


def test_the_logs_of_docker_and_of_pods_are_found_with_their_names(host):
    host.docker("chat")
    host.pod("prod", "chat-0", "server", 0)
    host.pod("prod", "chat-0", "server", 3)
    found = {log.names: (log.path, log.container) for log in ContainerLogs(host.root).found()}
    assert found == {
        ("chat",): (f"var/lib/docker/containers/{ID}/{ID}-json.log", ID),
        ("prod/chat-0/server", "server"): ("var/log/pods/prod_chat-0_0a1b-2c3d/server/3.log", None),
    }


def test_only_the_containers_that_were_named_are_opened(host):
    chat, other = host.docker("chat-1"), host.docker("billing", OTHER)
    watch, seen = watch_of(host, "chat-*")
    add(chat, docker_line(OOM))
    add(other, docker_line(OOM))
    watch.look()
    assert [(each.container, each.container_name) for each in seen] == [(ID, "chat-1")]
    watch.close()


@pytest.mark.parametrize("name", ["server", "prod/chat-0/server", "prod/*"])
def test_a_container_of_a_pod_is_named_by_itself_or_in_full(host, name):
    file = host.pod("prod", "chat-0", "server")
    watch, seen = watch_of(host, name)
    add(file, cri_line(OOM))
    watch.look()
    assert [each.container_name for each in seen] == ["prod/chat-0/server"]
    watch.close()


def test_what_was_logged_before_the_start_is_not_read_and_a_new_container_is_from_its_beginning(host):
    add(host.docker("chat"), docker_line(OOM))
    watch, seen = watch_of(host, "*")
    assert seen == []
    add(host.docker("late", OTHER), docker_line(OOM))
    search(watch)
    assert [each.container_name for each in seen] == ["late"]
    watch.close()


def test_a_container_that_is_started_again_is_followed_into_its_next_file(host):
    first = host.pod("prod", "chat-0", "server", 0)
    watch, seen = watch_of(host, "server")
    add(first, cri_line(OOM))
    add(host.pod("prod", "chat-0", "server", 1), cri_line(OOM))
    search(watch)
    assert len(seen) == 2
    assert len(watch._tails) == 1
    watch.close()


def test_a_container_that_is_gone_holds_no_descriptor(host):
    file = host.docker("chat")
    watch, _ = watch_of(host, "chat")
    for each in (file, file.parent / "config.v2.json"):
        each.unlink()
    file.parent.rmdir()
    search(watch)
    assert watch._tails == {}


def test_a_host_without_containers_has_none(tmp_path):
    assert list(ContainerLogs(tmp_path).found()) == []


def test_a_log_that_is_a_link_out_of_the_host_is_not_read(tmp_path):
    host = Host(tmp_path / "host")
    outside = tmp_path / "outside"
    file = host.docker("chat")
    file.unlink()
    file.symlink_to(outside)
    outside.touch()
    watch, seen = watch_of(host, "chat")
    add(outside, docker_line(OOM))
    watch.look()
    assert seen == []
    watch.close()


# --- how ----------------------------------------------------------------------------------------


class Followed:
    """One file and its tail."""

    def __init__(self, folder, name="x.log"):
        self.file = folder / name
        self.file.touch()
        self.tail = Tail(folder, name, TRIGGERS, from_end=True)

    def look(self):
        return [line.decode() for line in self.tail.look()]


@pytest.fixture
def followed(tmp_path):
    one = Followed(tmp_path)
    assert one.look() == []
    yield one
    one.tail.close()


def test_half_a_line_waits_for_its_other_half(followed):
    add(followed.file, "out of me")
    assert followed.look() == []
    add(followed.file, "mory 1\nall is well\nout of memory 2\n")
    assert followed.look() == ["out of memory 1", "out of memory 2"]


def test_a_rotated_file_is_read_to_its_end_and_then_the_new_one(followed):
    add(followed.file, "out of memory 1\n")
    followed.file.rename(followed.file.with_suffix(".1"))
    add(followed.file.with_suffix(".1"), "out of memory 2\n")
    followed.file.write_text("out of memory 3\n")
    assert followed.look() == ["out of memory 1", "out of memory 2", "out of memory 3"]


def test_a_rotated_file_goes_on_until_a_new_one_is_there(followed):
    followed.file.rename(followed.file.with_suffix(".1"))
    add(followed.file.with_suffix(".1"), "out of memory 1\n")
    assert followed.look() == ["out of memory 1"]
    followed.file.write_text("out of memory 2\n")
    assert followed.look() == ["out of memory 2"]


def test_a_truncated_file_is_read_from_its_beginning(followed):
    add(followed.file, "all is well\n" * 10 + "half a line")
    assert followed.look() == []
    followed.file.write_text("out of memory\n")
    assert followed.look() == ["out of memory"]


def test_a_file_that_is_not_there_yet_is_followed_once_it_is(tmp_path):
    late = Tail(tmp_path, "late.log", TRIGGERS, from_end=False)
    assert list(late.look()) == []
    (tmp_path / "late.log").write_text("out of memory\n")
    assert list(late.look()) == [b"out of memory"]
    late.close()


def test_a_fifo_or_a_folder_in_the_place_of_a_log_is_not_read(tmp_path):
    import os

    os.mkfifo(tmp_path / "fifo.log")
    (tmp_path / "folder.log").mkdir()
    for name in ("fifo.log", "folder.log"):
        one = Tail(tmp_path, name, TRIGGERS, from_end=False)
        assert list(one.look()) == []
        one.close()


def test_a_flood_is_caught_up_with_by_passing_over_its_older_part(tmp_path, monkeypatch):
    monkeypatch.setattr(tail, "LOOK_MOST", 1 << 16)
    monkeypatch.setattr(tail, "BEHIND_MOST", 1 << 18)
    monkeypatch.setattr(tail, "BITE", 1 << 12)
    followed = Followed(tmp_path)
    followed.look()
    add(followed.file, "out of memory, long ago\n" + "all is well\n" * 100_000 + "out of memory, just now\n")
    assert followed.look() == ["out of memory, just now"]
    assert followed.tail.passed_over > 1_000_000
    followed.tail.close()


def test_a_look_reads_a_bounded_part_and_the_next_one_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(tail, "LOOK_MOST", 1 << 12)
    monkeypatch.setattr(tail, "BITE", 1 << 10)
    followed = Followed(tmp_path)
    followed.look()
    add(followed.file, "all is well\n" * 500 + "out of memory\n")
    assert followed.look() == []
    assert followed.look() == ["out of memory"]
    followed.tail.close()


def test_a_container_that_only_talks_of_memory_costs_a_bounded_number_of_lines_a_look(host, caplog):
    file = host.docker("chat")
    watch, seen = watch_of(host, "chat")
    for _ in range(2):
        add(file, docker_line(OOM) * 20 * LINES_MOST)
        watch.look()
    assert len(seen) == 2 * LINES_MOST
    add(file, docker_line(OOM))
    watch.look()
    assert len(seen) == 2 * LINES_MOST + 1
    assert [record.message for record in caplog.records] == [
        "the log of container chat grows faster than it is read; parts are left out"
    ]
    watch.close()


def test_garbage_in_a_file_is_passed_over(host):
    file = host.docker("chat")
    watch, seen = watch_of(host, "chat")
    with file.open("ab") as opened:
        opened.write(b'\xff\x00out of memory\xfe\n{"log": 7, "x": "out of memory"}\n[out of memory\n')
    add(file, docker_line(OOM))
    watch.look()
    assert len(seen) == 1
    watch.close()


def test_what_a_container_logs_reaches_the_daemon_through_the_queue(host):
    file = host.docker("chat")
    watch = LogWatch([], ["chat"], host.root)
    try:
        seen = []
        while not seen:
            add(file, docker_line(OOM))  # the thread may not have made its first look yet
            watch._closed.wait(0.05)
            seen = watch.take()
        assert seen[0].container == ID
    finally:
        watch.close()
    assert not any(thread.is_alive() for thread in watch._threads)
