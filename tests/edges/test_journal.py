"""Entries of the systemd journal, written to a socket such as it has."""

import contextlib
import socket
from pathlib import Path

import pytest

from tests.notices import KEY, digest, item, message, trial
from vramwatch.core.incidents import Severity
from vramwatch.core.messages import Host
from vramwatch.core.outgoing import Delivered, Retry
from vramwatch.core.policy import Notice
from vramwatch.notifiers.journal import Journal


@contextlib.contextmanager
def journal(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(5)
        yield server


def read(datagram):
    """Return the fields of an entry, as journald reads them."""
    fields = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if not is_short:
            size = int.from_bytes(datagram[:8], "little")
            value, datagram = datagram[8 : 8 + size], datagram[9 + size :]
        assert name.decode().replace("_", "").isalnum()
        assert name.isupper()
        fields[name.decode()] = value.decode()
    return fields


def written(told, path, count=1):
    """Return the entries that a message makes, and what came of it."""
    with journal(path / "socket") as server:
        outcome = Journal(socket=path / "socket").send(told, None)
        return [read(server.recv(1 << 20)) for _ in range(count)], outcome


def test_an_incident_is_an_entry_that_its_fields_find(tmp_path):
    (entry,), outcome = written(message(), tmp_path)
    assert outcome == Delivered("1 written to the journal")
    assert entry["MESSAGE"].startswith("gpu7: CRITICAL  chat on GPU 0: a leak")
    assert entry["MESSAGE"].endswith("Run: vramwatch why 0a1b2c3d4e5f")
    assert len(entry["MESSAGE_ID"]) == 32
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("2", "vramwatch-alert")
    assert entry["VRAMWATCH_INCIDENT"] == "0a1b2c3d4e5f@gpu7"
    assert entry["VRAMWATCH_HOST"] == "gpu7"
    assert entry["VRAMWATCH_KEY"] == KEY
    assert entry["VRAMWATCH_CAUSE"] == "leak"
    assert entry["VRAMWATCH_SUBJECT"] == "chat on GPU 0"
    assert entry["VRAMWATCH_COMMAND"] == "vramwatch why 0a1b2c3d4e5f"


@pytest.mark.parametrize(
    ("told", "priority"),
    [
        (message(item(severity=Severity.WARNING)), "4"),
        (message(item(notice=Notice.RESOLVED)), "5"),
        (trial(), "6"),
        (digest(), "6"),
    ],
)
def test_the_priority_says_how_grave_it_is(told, priority, tmp_path):
    assert written(told, tmp_path)[0][0]["PRIORITY"] == priority


def test_each_incident_of_a_message_is_an_entry_of_its_own(tmp_path):
    made = written(message(item("a"), item("b"), item("c")), tmp_path, 3)[0]
    assert [each["VRAMWATCH_INCIDENT"] for each in made] == ["a@gpu7", "b@gpu7", "c@gpu7"]


def test_foreign_text_makes_no_field(tmp_path):
    evil = "gpu7\nPRIORITY=0\nMESSAGE=all is well"
    told = message(item(owner=f"rule:{evil}", scene=None), host=Host(evil))
    (entry,), _ = written(told, tmp_path)
    assert entry["PRIORITY"] == "2"
    assert "CRITICAL" in entry["MESSAGE"]


def test_without_a_journal_it_is_tried_again(tmp_path):
    outcome = Journal(socket=tmp_path / "none").send(message(), None)
    assert outcome == Retry(f"{tmp_path / 'none'}: No such file or directory")


def test_what_was_written_before_a_failure_is_not_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr("vramwatch.notifiers.journal.TIMEOUT", 0.2)
    path = tmp_path / "socket"
    notifier, told = Journal(socket=path), message(*(item(f"{number:012x}") for number in range(256)))
    read_first = []
    with journal(path) as server:
        outcome = notifier.send(told, None)  # nobody reads: the queue fills
        assert outcome == Retry(f"{path} takes nothing within 0.2 s")
        server.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                read_first.append(read(server.recv(1 << 20))["VRAMWATCH_INCIDENT"])
        rest = []
        while isinstance(outcome, Retry):
            outcome = notifier.send(told, None)
            with contextlib.suppress(BlockingIOError):
                while True:
                    rest.append(read(server.recv(1 << 20))["VRAMWATCH_INCIDENT"])
    assert read_first
    everything = [*read_first, *rest]
    assert len(everything) == len(set(everything)) == 256


@pytest.mark.skipif(not Path("/run/systemd/journal/socket").exists(), reason="no systemd journal runs here")
def test_the_journal_of_this_machine_takes_an_entry():
    assert Journal().send(trial(), None) == Delivered("1 written to the journal")
