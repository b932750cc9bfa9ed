"""Following the logs of others: journalctl as a child, log files that rotate, floods, and garbage.

A fake journalctl on PATH writes what a test wants to be written; its output has the form of
``journalctl --output=json`` of systemd 252.
"""

import json
import os
import random
import stat
import sys
import threading
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.oom_lines import TRIGGERS
from vramwatch.logs import LogWatch
from vramwatch.logs.formats import cri_message, docker_message, journal_entry
from vramwatch.logs.journal import FIRST_PAUSE, LONGEST_PAUSE, Journal, command, next_pause
from vramwatch.logs.lines import LINE_MOST, Lines
from vramwatch.logs.watch import WAITING_MOST

OOM = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 80.00 GiB"
CANARY = "sk-canary-hunter2"
PATIENCE = 20.0


def entry(message, unit="llama.service", pid=42, cursor="s=1;i=1"):
    return json.dumps(
        {"__CURSOR": cursor, "MESSAGE": message, "_PID": str(pid), "_SYSTEMD_UNIT": unit},
        separators=(",", ":"),
    )


# --- lines --------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
def test_lines_are_the_same_however_the_stream_is_cut(parts, size):
    stream = b"\n".join(b"".join((part, b"out of memory", part)) for part in parts) + b"\n"
    lines = Lines(TRIGGERS)
    found = [line for at in range(0, len(stream), size) for line in lines.feed(stream[at : at + size])]
    assert found == [line for line in stream.split(b"\n") if b"out of memory" in line]


def test_an_endless_line_is_left_out_and_costs_bounded_memory():
    lines = Lines(TRIGGERS)
    for _ in range(100):
        assert not list(lines.feed(b"out of memory " * 1000))
        assert len(lines._rest) <= LINE_MOST
    assert list(lines.feed(b" the end\nout of memory\n")) == [b"out of memory"]


# --- forms --------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_garbage_ends_no_reading_of_a_log(line):
    for read in (journal_entry, docker_message, cri_message):
        read(line)  # must not raise


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"MESSAGE": null, "_SYSTEMD_UNIT": "a"}',
        '{"MESSAGE": [300], "_SYSTEMD_UNIT": "a"}',
        "{}",
        "7",
    ],
)
def test_what_is_no_entry_with_a_message_is_none(line):
    assert journal_entry(line.encode()) is None


@pytest.mark.parametrize("pid", ["0", "-1", "9999999", "99999999999", "٤٢", "", None, 42])
def test_a_pid_that_cannot_be_is_not_known(pid):
    line = json.dumps({"MESSAGE": "m", "_SYSTEMD_UNIT": "a.service", "_PID": pid})
    assert journal_entry(line.encode()).pid is None


def test_a_message_with_colours_comes_as_numbers_and_is_read():
    raw = f"\x1b[31m{OOM}\x1b[0m".encode()
    assert OOM in journal_entry(entry(list(raw)).encode()).message


def test_the_forms_of_containers_are_read():
    assert (
        docker_message(json.dumps({"log": f"{OOM}\n", "stream": "stderr", "time": "…"}).encode())
        == f"{OOM}\n"
    )
    assert cri_message(f"2026-11-20T10:00:00.000000001Z stderr F {OOM}".encode()) == OOM


# --- the journal --------------------------------------------------------------------------------


class FakeJournalctl:
    """A journalctl that notes with what it was called and then does what the test says, in Python."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.calls = folder / "calls"
        monkeypatch.setenv("PATH", str(folder))

    def does(self, body):
        script = self.folder / "journalctl"
        noting = f"print(json.dumps(sys.argv), file=open({str(self.calls)!r}, 'a'))"
        head = f"#!{sys.executable}\nimport sys, json\n{noting}\ndef entry(text): print(text, flush=True)\n"
        script.write_text(head + dedent(body))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def called(self):
        return (
            [json.loads(line) for line in self.calls.read_text().splitlines()] if self.calls.exists() else []
        )


@pytest.fixture
def journalctl(tmp_path, monkeypatch):
    return FakeJournalctl(tmp_path, monkeypatch)


class Following:
    """A Journal on its thread, stopped after some pauses; ``seen`` is what it handed over."""

    def __init__(self, units, pauses=1, **options):
        self.seen, self.paused = [], []
        self.arrived = threading.Event()
        self.journal = Journal(units, self._take, pause=self._pause, **options)
        self.pauses = pauses

    def _take(self, sighting):
        self.seen.append(sighting)
        self.arrived.set()

    def _pause(self, seconds):
        self.paused.append(seconds)
        if len(self.paused) == self.pauses:
            self.journal.close()

    def run(self):
        self.journal.run()
        return self.seen


def test_the_command_follows_named_units_alone_from_now_on():
    words = command(["a.service", "b@*.service"])
    assert words[0] == "journalctl"
    assert "--follow" in words
    assert "--lines=0" in words
    assert [word for word in words if word.startswith("--unit")] == ["--unit=a.service", "--unit=b@*.service"]


def test_an_out_of_memory_line_of_a_unit_is_handed_over_with_its_pid(journalctl):
    journalctl.does(f"entry({entry('all is well')!r})\nentry({entry(OOM)!r})")
    (seen,) = Following(["llama.service"]).run()
    assert (seen.unit, seen.pid, seen.container) == ("llama.service", 42, None)
    assert seen.report.numbers() == {"tried_bytes": 2 << 30, "total_bytes": 80 << 30, "device": 1}


def test_what_others_say_about_a_unit_is_not_taken_for_its_own(journalctl):
    journalctl.does(
        f"entry({entry(OOM, unit='init.scope', pid=1)!r})\nentry({entry(OOM, unit='evil.service')!r})"
    )
    assert Following(["llama*"]).run() == []


def test_a_journalctl_that_ends_is_replaced_later_and_later_and_goes_on_where_it_was(journalctl):
    journalctl.does(f"entry({entry(OOM, cursor='s=ab;i=7;b=cd')!r})")
    following = Following(["llama.service"], pauses=4)
    following.run()
    assert following.paused == [1.0, 2.0, 4.0, 8.0]
    first, *later = journalctl.called()
    assert "--lines=0" in first
    assert all("--after-cursor=s=ab;i=7;b=cd" in call for call in later)


def test_a_unit_that_has_never_logged_is_followed_from_when_it_was_first_asked_for(journalctl):
    journalctl.does("sys.exit(1)")
    Following(["llama.service"], pauses=2).run()
    _, second = journalctl.called()
    assert any(word.startswith("--since=@") for word in second)


def test_a_cursor_that_journalctl_refuses_is_not_tried_again(journalctl):
    journalctl.does(
        f"""
        if any("--after-cursor" in word for word in sys.argv):
            sys.exit(1)
        entry({entry(OOM)!r})
        """
    )
    Following(["llama.service"], pauses=3).run()
    _, second, third = journalctl.called()
    assert any("--after-cursor" in word for word in second)
    assert any("--since=@" in word for word in third)


def test_pauses_grow_to_a_bound_and_begin_anew_after_one_that_lived():
    pause = 0.0
    pauses = [pause := next_pause(pause, 0.1) for _ in range(10)]
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == LONGEST_PAUSE
    assert next_pause(LONGEST_PAUSE, LONGEST_PAUSE + 1) == FIRST_PAUSE


def test_without_journalctl_it_is_said_once_and_tried_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    following = Following(["llama.service"], pauses=3)
    following.run()
    assert len(following.paused) == 3
    (record,) = caplog.records
    assert "journalctl cannot be run" in record.message
    assert "logs.units" in record.message


def test_a_glob_is_asked_for_again_without_a_pause(journalctl):
    journalctl.does(
        f"""
        entry({entry(OOM)!r})
        import time
        time.sleep({PATIENCE})
        """
    )
    following = Following(["llama@*.service", "llama.*"], look_again=0.3)
    thread = threading.Thread(target=following.run)
    thread.start()
    while len(journalctl.called()) < 3:
        following.arrived.wait(0.05)
    following.journal.close()
    thread.join(PATIENCE)
    assert following.paused == []


def test_close_ends_a_journalctl_that_is_silent(journalctl):
    journalctl.does(f"entry({entry(OOM)!r})\nimport time\ntime.sleep(1000)")
    following = Following(["llama.service"])
    thread = threading.Thread(target=following.run)
    thread.start()
    assert following.arrived.wait(PATIENCE)
    child = following.journal._child.pid
    following.journal.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_flood_is_read_in_bounded_memory_and_its_line_is_found(journalctl):
    journalctl.does(
        f"""
        noise = ({entry("a request took 12 ms " + "x" * 80)!r} + "\\n") * 1000
        for _ in range(300):
            sys.stdout.write(noise)
        entry({entry(OOM)!r})
        """
    )
    assert len(Following(["llama.service"]).run()) == 1


def test_a_flood_of_out_of_memory_lines_fills_the_queue_and_no_more(journalctl):
    journalctl.does(
        f"""
        for _ in range(5000):
            sys.stdout.write({entry(OOM)!r} + "\\n")
        sys.stdout.flush()
        import time
        time.sleep(1000)
        """
    )
    watch = LogWatch(["llama.service"], [])
    try:
        while not watch._sightings.full():
            watch._closed.wait(0.02)
        assert len(watch.take()) <= WAITING_MOST
    finally:
        watch.close()
    assert not any(thread.is_alive() for thread in watch._threads)


def test_a_unit_that_only_talks_of_memory_costs_a_bounded_number_of_lines_a_second(journalctl, monkeypatch):
    monkeypatch.setattr("vramwatch.logs.journal.LINES_MOST", 10)
    monkeypatch.setattr("vramwatch.logs.journal.time", Standing())
    journalctl.does(f"sys.stdout.write({entry(OOM)!r} + '\\n')\n" * 500)
    assert len(Following(["llama.service"]).run()) == 10


class Standing:
    """A clock that stands still."""

    def monotonic(self):
        return 100.0

    def time(self):
        return 1_800_000_000.0


def test_garbage_from_journalctl_neither_ends_the_following_nor_is_it_logged(journalctl, caplog):
    noise = random.Random(7).randbytes(200_000).replace(b"\n", b"")
    garbage = journalctl.folder / "garbage"
    garbage.write_bytes(b"out of memory" + noise + b"\n{out of memory " + CANARY.encode() + b"}\n")
    journalctl.does(
        f"""
        sys.stdout.buffer.write(open({str(garbage)!r}, "rb").read())
        sys.stdout.flush()
        entry({entry(f"{CANARY} {OOM} {CANARY}")!r})
        print({CANARY!r}, file=sys.stderr)
        """
    )
    seen = Following(["llama.service"], pauses=2).run()
    assert len(seen) == 2
    assert CANARY not in repr(seen) + caplog.text


def test_nothing_is_followed_without_a_name():
    watch = LogWatch([], [])
    assert watch._threads == []
    assert watch.take() == []
    watch.close()
