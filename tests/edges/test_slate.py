"""While the store cannot be written people are told from memory, and afterwards nothing is told twice."""

import random
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import replace

import pytest

from tests.outbox_daemon import (
    AT_ONCE,
    Daemon,
    Fragile,
    Keyed,
    Keyless,
    Killed,
    Receiver,
    chain,
    ends,
    fatal,
    fires,
    line,
)
from tests.polls import instant
from vramwatch.core.incidents import State
from vramwatch.core.messages import MessageKind
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.core.policy import Notice, Withheld, Withholding


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def daemon(start, receiver):
    """A daemon that has told of the incident "before", and whose store cannot be written since."""
    made = start(line(AT_ONCE, Keyed(receiver=receiver)))
    made.turn(fires("before"))
    made.turn()
    made.lock()
    return made


OPENED, RESOLVED = Notice.OPENED, Notice.RESOLVED


def told(path, incident):
    """What the store says of every step of an incident: the notice, and what became of it."""
    return [
        (
            each.step.notice,
            each.step.reason if isinstance(each.step, Withheld) else each.delivery and each.delivery.outcome,
        )
        for each in chain(path, incident)
    ]


def test_what_fires_while_the_store_cannot_be_written_is_told_at_once_and_never_again(daemon, receiver, path):
    daemon.turn(fires())
    daemon.turn(ends("before"))
    daemon.turn()
    heard = [("before", OPENED), ("chat", OPENED), ("before", RESOLVED)]
    assert receiver.notices() == heard
    assert daemon.backlog.fault
    daemon.lock(is_locked=False)
    for _ in range(3):
        daemon.turn(after=301)
    assert receiver.notices() == heard
    assert daemon.backlog.is_empty
    assert told(path, "chat") == [(OPENED, "delivered")]
    assert told(path, "before") == [(OPENED, "delivered"), (RESOLVED, "delivered")]
    keys = [message.key for message in receiver.got]
    assert [chain(path, "chat")[0].delivery.key, chain(path, "before")[1].delivery.key] == keys[1:]


def test_what_was_decided_before_and_has_not_left_yet_is_told_too(start, receiver, path):
    daemon = start(line(replace(AT_ONCE, group_wait=30.0), Keyed(receiver=receiver)))
    daemon.turn(fires())
    daemon.lock()
    daemon.turn(fires("other"))
    daemon.turn(after=29)
    assert sorted(receiver.notices()) == [("chat", OPENED), ("other", OPENED)]
    daemon.lock(is_locked=False)
    daemon.turn(after=60)
    daemon.turn(after=60)
    assert len(receiver.got) == 2
    assert told(path, "chat") == told(path, "other") == [(OPENED, "delivered")]


def test_a_kill_before_the_store_knows_repeats_what_it_held_under_the_same_key(start, receiver, path):
    slow = line(replace(AT_ONCE, group_wait=30.0), Keyed(receiver=receiver))
    daemon = start(slow)
    daemon.turn(fires())
    daemon.lock()
    daemon.turn(fires("lost"))
    daemon.turn(after=30)
    assert sorted(receiver.notices()) == [("chat", OPENED), ("lost", OPENED)]
    daemon.kill()
    again = Daemon(path, slow)
    again.now = daemon.now
    again.turn()
    again.turn()
    again.close()
    keys = {message.key for message in receiver.got for item in message.items if item.incident.id == "chat"}
    assert receiver.notices().count(("chat", OPENED)) == 2
    assert len(keys) == 1


def test_what_failed_is_tried_again_from_memory_and_from_the_store_under_one_key(daemon, receiver, path):
    receiver.answers = [Retry("refused")] * 4
    daemon.turn(fires())
    daemon.turn(after=300)
    daemon.turn(after=300)
    daemon.lock(is_locked=False)
    daemon.turn(after=300)
    daemon.turn(after=300)
    daemon.turn(after=300)
    tries = [message for message in receiver.got if message.items[0].incident.id == "chat"]
    assert len(tries) == 5
    assert len({message.key for message in tries}) == 1
    (row,) = chain(path)
    assert (row.delivery.outcome, row.delivery.attempts) == ("delivered", 5)


def test_what_is_under_way_as_the_store_fails_is_told_once(start, receiver, path):
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn()
    daemon.turn(fires(), settle=False)
    daemon.lock()
    daemon.turn(fires("other"))
    daemon.lock(is_locked=False)
    daemon.turn()
    daemon.turn()
    assert Counter(receiver.notices()) == {("chat", OPENED): 1, ("other", OPENED): 1}
    assert told(path, "chat") == told(path, "other") == [(OPENED, "delivered")]


def test_of_what_came_and_went_meanwhile_the_end_alone_is_told_and_the_store_knows_why(
    daemon, receiver, path
):
    receiver.answers = [Retry("refused")] * 2
    daemon.turn(fires())
    daemon.turn(ends())
    daemon.turn(after=300)
    daemon.turn(after=300)
    daemon.lock(is_locked=False)
    daemon.turn(after=300)
    daemon.turn()
    assert receiver.notices()[-1] == ("chat", RESOLVED)
    assert told(path, "chat") == [(OPENED, Withholding.SUPERSEDED), (RESOLVED, "delivered")]


def test_what_is_rejected_meanwhile_is_not_tried_again(daemon, receiver, path):
    receiver.answers = [Rejected("HTTP 400")]
    daemon.turn(fires())
    daemon.lock(is_locked=False)
    for _ in range(3):
        daemon.turn(after=301)
    assert len(receiver.got) == 2
    assert told(path, "chat") == [(OPENED, "rejected")]


def test_a_test_message_leaves_meanwhile_and_is_answered(daemon, receiver):
    daemon.turn(fires())
    pending = daemon.outbox.send("hook", MessageKind.TEST, "hello", daemon.now)
    daemon.turn()
    assert pending.wait(5.0) == Delivered("ok")


def test_what_the_receiver_calls_a_message_is_known_while_nothing_can_be_stored(daemon, receiver):
    receiver.answers = [Delivered("ok", "C1/18")]
    daemon.turn(fires())
    daemon.turn(ends())
    daemon.turn()
    assert [item.reference for item in receiver.got[-1].items] == ["C1/18"]


def test_a_new_configuration_meanwhile_goes_on_with_what_is_under_way(daemon, receiver):
    receiver.answers = [Retry("refused")]
    daemon.turn(fires())
    daemon.outbox.reconfigure([line(replace(AT_ONCE, edits=True), Keyed(receiver=receiver))], 86400.0)
    daemon.turn(after=300)
    daemon.turn()
    assert Counter(receiver.notices()) == {("before", OPENED): 1, ("chat", OPENED): 2}
    assert len({message.key for message in receiver.got}) == 2


@pytest.mark.parametrize("seed", range(12))
def test_whatever_fails_while_the_store_comes_and_goes_nothing_is_lost_and_nothing_told_twice(path, seed):
    chance = random.Random(seed)
    receivers = {"hook": Moody(chance), "mail": Moody(chance)}
    lines = (
        line(AT_ONCE, Keyed(receiver=receivers["hook"])),
        line(replace(AT_ONCE, name="mail", group_wait=3.0), Keyless(receiver=receivers["mail"])),
    )
    stands = dict.fromkeys("abc", State.RESOLVED)
    with closing(Daemon(path, *lines)) as daemon:
        for turn in range(150):
            is_ending = turn >= 130
            if chance.random() < 0.1 or is_ending:
                daemon.lock(is_locked=not is_ending and daemon.backlog.fault is None)
            moved = []
            for id in "abc":
                if not is_ending and chance.random() < 0.2:
                    is_over = stands[id] is State.RESOLVED
                    moved.append(fires(id) if is_over else ends(id))
                    stands[id] = State.FIRING if is_over else State.RESOLVED
            after = 400.0 if is_ending else chance.choice((0.5, 1, 400))
            daemon.turn(*moved, after=after, settle=chance.random() < 0.7)
        assert daemon.backlog.is_empty
    for channel, receiver in receivers.items():
        for incident, state in stands.items():
            steps = [each for each in chain(path, incident) if each.step.channel == channel]
            for each in steps:
                if not isinstance(each.step, Withheld):
                    assert each.delivery.outcome == "delivered"
            heard = [notice for id, notice in receiver.taken if id == incident]
            if steps:
                assert (heard[-1] is RESOLVED) == (state is State.RESOLVED)
        under = Counter(receiver.keys)
        assert set(under.values()) <= {1}


class Moody(Receiver):
    """A receiver that is busy at times; what it takes is told by ``taken``, with its key."""

    def __init__(self, chance):
        super().__init__()
        self.chance, self.taken, self.keys = random.Random(chance.random()), [], []

    def take(self, message):
        super().take(message)
        if self.chance.random() < 0.15:
            return Retry("busy")
        self.taken += [(item.incident.id, item.notice) for item in message.items]
        self.keys.append(message.key)
        return Delivered("ok")


# --- killed while the store comes and goes --------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that is the kill
@pytest.mark.parametrize("seed", range(6))
def test_killed_while_the_store_comes_and_goes_what_is_stored_is_told_and_repeated_by_its_key(path, seed):
    receivers = fatal(seed)
    kills = _lives(path, seed, receivers)
    assert kills >= 5
    for channel, receiver in receivers.items():
        arrived = {message.key for message in receiver.got}
        for incident in "abc":
            for each in chain(path, incident):
                if each.step.channel == channel and not isinstance(each.step, Withheld):
                    assert each.delivery.outcome == "delivered"
                    assert each.delivery.key in arrived
        under = defaultdict(set)
        for message in receiver.got:
            for item in message.items:
                under[item.incident.id, item.notice, item.transition.at].add(message.key)
        # what left while nothing could be stored may leave in other company after a kill, see decision 0006
        assert sum(len(keys) > 1 for keys in under.values()) <= 2


def _lives(path, seed, receivers, turns=120):
    """Run ``turns`` polls in which the store cannot be written at times, killed and started again."""
    random.seed(seed)  # the outbox spreads its attempts by it
    chance = Fragile.chance = random.Random(seed)
    Fragile.is_calm = False
    lines = (
        line(AT_ONCE, Keyed(receiver=receivers["hook"])),
        line(replace(AT_ONCE, name="mail", group_wait=3.0), Keyless(receiver=receivers["mail"])),
    )
    kills, turn, now = 0, 0, instant(1).wall
    while turn < turns:
        Fragile.risk = 0.0
        daemon = Daemon(path, *lines, desk=Fragile)
        daemon.now = now
        stands = {case.incident.id: case.incident.state for case in daemon.desk.told(0.0, now).cases}
        try:
            while turn < turns:
                turn += 1
                is_ending = turn >= turns - 20
                Fragile.risk = 0.0 if is_ending else 0.08
                if is_ending or chance.random() < 0.2:
                    daemon.lock(is_locked=not is_ending and daemon.backlog.fault is None)
                moved = [] if is_ending else [id for id in "abc" if chance.random() < 0.3]
                is_over = {id: stands.get(id, State.RESOLVED) is State.RESOLVED for id in moved}
                stands |= {id: State.FIRING if over else State.RESOLVED for id, over in is_over.items()}
                after = 400.0 if is_ending else chance.choice((0.5, 1, 400))
                daemon.turn(*(fires(id) if over else ends(id) for id, over in is_over.items()), after=after)
                daemon.die_with_its_threads()
            daemon.close()
        except Killed:
            kills += 1
            now = daemon.now
            daemon.kill()
    return kills
