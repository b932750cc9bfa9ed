"""What the verbs are told while a daemon compacts what they read."""

import shutil
from contextlib import closing

import pytest

from tests.edges.test_store_lasting import MIDNIGHT, hourly_polls, opened, tended
from vramwatch.core.model import SubjectKind
from vramwatch.core.series import USED_BYTES
from vramwatch.store import History, reading
from vramwatch.store.opening import driver, open_for_reading

HOUR = 3600.0
SINCE, UNTIL = MIDNIGHT + 1, MIDNIGHT + 3 * HOUR


def row_of(history):
    (row,) = history.series(kind=SubjectKind.GPU, quantity=USED_BYTES)
    return row


ASKED = {
    "at": lambda history: history.at(MIDNIGHT + HOUR / 2),
    "latest": lambda history: history.latest(),
    "span": lambda history: history.span(),
    "samples": lambda history: list(history.samples([row_of(history)], SINCE, UNTIL)),
    "readings": lambda history: list(history.readings([row_of(history)], SINCE, UNTIL)),
    "polls": lambda history: list(history.polls(SINCE, UNTIL)),
    "steps": lambda history: history.steps([row_of(history)], SINCE, UNTIL, 600.0),
    "peaks": lambda history: history.peaks([row_of(history)], SINCE, UNTIL),
    "value_at": lambda history: history.value_at(row_of(history), MIDNIGHT + HOUR / 2),
    "change": lambda history: history.change(SINCE, UNTIL),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A store with two hours that are over and wait to be compacted, and the polls in it."""
    path = tmp_path_factory.mktemp("written") / "vramwatch.db"
    polls = list(hourly_polls(3))
    with closing(opened(path)) as store:
        for each in polls:
            store.write(each)
    return path, polls[-1].at


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_an_answer_is_the_same_whenever_the_hours_that_it_reads_are_compacted(
    written, tmp_path, monkeypatch, ask
):
    original, last = written
    with closing(History.open(original)) as history:
        expected = ask(history)
    assert expected
    statement, was_reached = 0, True
    while was_reached:
        statement += 1
        path = shutil.copy(original, tmp_path / f"{statement}.db")
        with closing(opened(path)) as store:
            seen = []

            def compact_at_its_turn(_, seen=seen, store=store, turn=statement):
                seen.append(None)
                if len(seen) == turn:
                    tended(store, last)

            def watched(path, told=compact_at_its_turn):
                connection, is_immutable = open_for_reading(path)
                driver(connection).set_trace_callback(told)
                return connection, is_immutable

            monkeypatch.setattr(reading, "open_for_reading", watched)
            with closing(History.open(path)) as history:
                assert ask(history) == expected, f"compacted at statement {statement}"
        was_reached = len(seen) >= statement
