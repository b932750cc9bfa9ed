"""What other programs' logs say, as the daemon stores it: numbers at the next poll, and never a text."""

from tests.edges.test_daemon import SEEING, Hand, blind, every_second, make, told
from vramwatch.core.model import EventKind, Origin, OutOfMemory
from vramwatch.core.oom_lines import parse
from vramwatch.core.oom_sightings import Sighting
from vramwatch.core.units import GIB

CANARY = "sk-canary-hunter2"
LINE = f"{CANARY} CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 80.00 GiB"
SEEN = Sighting(parse(LINE), unit="llama.service", pid=42)


class Handed:
    """Sightings as a test hands them out: the n-th poll's at its n-th call."""

    def __init__(self, *polls):
        self.polls = list(polls)
        self.closed = False

    def take(self):
        return self.polls.pop(0) if self.polls else []

    def close(self):
        self.closed = True


def out_of_memory(path):
    return [event for event in told(path) if event.kind is EventKind.OUT_OF_MEMORY]


def test_what_a_log_says_is_an_event_of_the_next_poll_with_its_gpu(path):
    logs = Handed([], [SEEN])
    make(Hand(every_second(3)), path, logs=logs).run()
    (event,) = out_of_memory(path)
    assert event.gpu == "GPU-hand"
    assert event.detail == (
        "origin=log kind=allocation engine=torch unit=llama.service pid=42 tried_bytes=2147483648 "
        "total_bytes=85899345920 device=0"
    )
    assert logs.closed


def test_the_polls_event_carries_its_numbers_for_who_judges_it(path, monkeypatch):
    polls = []
    daemon = make(Hand(every_second(2)), path, logs=Handed([SEEN]))
    monkeypatch.setattr(daemon._logbook, "tell", polls.append)
    daemon.run()
    (found,) = [event.out_of_memory for event in polls[0].events if event.out_of_memory]
    numbers = {"tried_bytes": 2 * GIB, "total_bytes": 80 * GIB, "device": 0}
    assert found == OutOfMemory(42, "GPU-hand", numbers, Origin.LOG)


def test_a_process_that_is_gone_already_is_found_where_it_was_at_the_poll_before(path):
    make(Hand([(0.0, SEEING), (1.0, blind())]), path, logs=Handed([], [SEEN])).run()
    assert [event.gpu for event in out_of_memory(path)] == ["GPU-hand"]


def test_a_server_that_fails_in_a_loop_is_an_event_a_minute(path):
    make(Hand(every_second(130)), path, logs=Handed(*[[SEEN] * 50 for _ in range(130)])).run()
    events = out_of_memory(path)
    assert len(events) == 3
    assert "repeated=" in events[1].detail


def test_neither_the_store_nor_the_log_has_a_word_of_the_line(path, caplog):
    caplog.set_level("DEBUG")
    make(Hand(every_second(3)), path, logs=Handed([SEEN])).run()
    assert "tried_bytes" in caplog.text
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"tried_bytes" in kept
    for word in (CANARY, "Tried to allocate"):
        assert word not in caplog.text
        assert word.encode() not in kept
