"""What the store holds is sent: at least once, in order, whatever fails or is killed in between."""

import random
import time
from collections import Counter, defaultdict
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from json import JSONDecodeError

import pytest

from tests.mailboxes import mail_server
from tests.outbox_daemon import (
    AT_ONCE,
    DAY,
    Daemon,
    Fragile,
    Keyed,
    Keyless,
    Killed,
    Receiver,
    Waiting,
    chain,
    ends,
    fatal,
    fires,
    line,
)
from tests.polls import holding, instant, owner, poll
from tests.receivers import answering, receiving
from tests.slack_server import CHANNEL, TOKEN, Slack
from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import State
from vramwatch.core.messages import MessageKind
from vramwatch.core.outgoing import MOST_FIXED, MOST_ITEMS, Delivered, Rejected, Retry
from vramwatch.core.policy import Channel, Notice, Withholding
from vramwatch.couriers.posting import HttpCourier
from vramwatch.notifiers.email import Email
from vramwatch.notifiers.pagerduty import Pagerduty
from vramwatch.notifiers.slack import Slack as SlackNotifier
from vramwatch.notifiers.webhook import Webhook
from vramwatch.store import Store
from vramwatch.telling.sending import Line

HOUR = 3600.0


def test_what_fires_and_ends_is_told_once_each_and_the_store_knows(start, path):
    receiver = Receiver()
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn(fires())
    daemon.turn()
    daemon.turn(ends())
    daemon.turn()
    assert receiver.notices() == [("chat", Notice.OPENED), ("chat", Notice.RESOLVED)]
    opened, resolved = chain(path)
    assert (opened.delivery.outcome, opened.delivery.attempts, opened.delivery.detail) == (
        "delivered",
        1,
        "ok",
    )
    assert opened.delivery.key == receiver.got[0].key != resolved.delivery.key == receiver.got[1].key


def test_a_message_in_the_hands_of_a_channel_is_not_tried_any_more_once_what_it_tells_is_forgotten(
    start, path
):
    with closing(Store.open(path, "simulated", "1")) as store:
        store.write(poll(1, holding(7, of=owner("secret"))))
    receiver = Waiting()
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    secret = fires("secret", owner="unit:secret.service")
    daemon.turn(*(fires(f"i{number}") for number in range(MOST_ITEMS)), secret, fires("last"), settle=False)
    assert receiver.asked.wait(10)  # the first message is being sent, the second waits in the same hands
    daemon.store.forget("secret")
    daemon.outbox.begin_anew()
    daemon.turn(settle=False)
    receiver.may_answer.set()
    daemon.settle()
    daemon.turn()
    told = Counter(id for id, _ in receiver.notices())
    assert told == Counter({**{f"i{number}": 1 for number in range(MOST_ITEMS)}, "last": 1})
    assert [len(message.items) for message in receiver.got] == [MOST_ITEMS, 1]


def test_what_fires_within_the_wait_leaves_as_one_message(start):
    receiver = Receiver()
    daemon = start(line(Channel("hook"), Keyed(receiver=receiver)))
    for number in range(64):
        daemon.turn(fires(f"i{number}"), after=0.9)
    assert len(receiver.got) == 1
    daemon.turn(after=300)
    assert len(receiver.got) == 2
    assert Counter(receiver.notices()) == Counter((f"i{n}", Notice.OPENED) for n in range(64))


def test_what_is_not_taken_is_tried_again_under_the_same_key(start):
    receiver = Receiver([Retry("busy"), Retry("busy")])
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn(fires())
    daemon.turn(after=0.5)
    assert len(receiver.got) == 1
    daemon.turn(after=300)
    daemon.turn(after=300)
    daemon.turn(after=300)
    assert len({message.key for message in receiver.got}) == 1
    assert len(receiver.got) == 3


def test_a_receiver_that_asks_for_time_gets_it(start):
    receiver = Receiver([Retry("slow down", 600.0)])
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn(fires())
    daemon.turn(after=599)
    assert len(receiver.got) == 1
    daemon.turn(after=2)
    assert len(receiver.got) == 2


def test_what_is_rejected_is_not_tried_again_and_the_reason_is_kept(start, path):
    receiver = Receiver([Rejected("HTTP 400: no such field")])
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn(fires())
    daemon.turn(after=3600)
    assert len(receiver.got) == 1
    assert (chain(path)[0].delivery.outcome, chain(path)[0].delivery.detail) == (
        "rejected",
        "HTTP 400: no such field",
    )
    assert daemon.outbox.failing == {"hook": "HTTP 400: no such field"}


def test_after_its_time_limit_a_message_is_given_up_with_the_last_reason(start, path):
    receiver = Receiver([Retry("refused")] * 50)
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)), give_up_after=HOUR)
    daemon.turn(fires())
    for _ in range(15):
        daemon.turn(after=300)
    last = chain(path)[0].delivery
    assert last.outcome == "rejected"
    assert last.detail.startswith("given up after ")
    assert last.detail.endswith("; the last: refused")


def test_after_a_week_without_network_the_newest_state_is_told_alone(start, path):
    receiver = Receiver([Retry("no route")] * 10_000)
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)), give_up_after=10 * DAY)
    for _ in range(7 * 24):
        daemon.turn(fires(), after=HOUR / 2)
        daemon.turn(ends(), after=HOUR / 2)
    receiver.answers.clear()
    receiver.got.clear()
    daemon.turn(after=301)
    daemon.turn()
    assert receiver.notices() == [("chat", Notice.RESOLVED)]
    steps = chain(path)
    told = [each for each in steps if getattr(each.step, "reason", None) is not Withholding.SUPERSEDED]
    assert sum(each.delivery is not None and each.delivery.outcome == "delivered" for each in told) == 1


def test_a_dead_channel_delays_no_other_and_no_poll(start):
    class Stuck(Keyed):
        def send(self, message, courier):
            time.sleep(0.5)
            return Retry("never answers", is_uncertain=True)

    receiver = Receiver()
    daemon = start(
        line(replace(AT_ONCE, name="dead"), Stuck(receiver=receiver)), line(AT_ONCE, Keyed(receiver=receiver))
    )
    began = time.perf_counter()
    daemon.turn(fires(), settle=False)
    assert time.perf_counter() - began < 0.4
    alive = daemon.outbox._routes["hook"]
    until = time.monotonic() + 0.4
    while not alive.sender.sent.qsize() and time.monotonic() < until:
        time.sleep(0.001)
    assert receiver.notices() == [("chat", Notice.OPENED)]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("https://hooks.example/SECRET"),
        JSONDecodeError("no JSON", "SECRET", 0),
        UnicodeDecodeError("utf-8", b"SECRET", 0, 1, "invalid start byte"),
    ],
)
def test_a_notifier_that_fails_is_tried_again_and_its_words_stay_out_of_the_log(start, caplog, error):
    receiver = Receiver([error])
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn(fires())
    daemon.turn(after=300)
    assert len(receiver.got) == 2
    assert "notifier failed channel=hook" in caplog.text
    assert type(error).__name__ in caplog.text
    assert "in take\n" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_test_message_is_sent_first_and_its_answer_told(start):
    receiver = Receiver()
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn()
    pending = daemon.outbox.send("hook", MessageKind.TEST, "hello", daemon.now)
    daemon.turn()
    assert pending.wait(5.0) == Delivered("ok")
    assert [(message.kind, message.text) for message in receiver.got] == [(MessageKind.TEST, "hello")]
    assert daemon.outbox.send("nobody", MessageKind.TEST, "hello", daemon.now) is None


def test_a_test_message_that_fails_is_not_tried_again(start):
    receiver = Receiver([Retry("refused")])
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn()
    pending = daemon.outbox.send("hook", MessageKind.TEST, "hello", daemon.now)
    daemon.turn()
    daemon.turn(after=3600)
    assert pending.wait(5.0) == Retry("refused")
    assert len(receiver.got) == 1


def test_a_test_message_does_not_wait_for_what_is_tried_again_later(start):
    receiver = Receiver([Retry("refused")])
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn(fires())
    pending = daemon.outbox.send("hook", MessageKind.TEST, "hello", daemon.now)
    daemon.turn(after=0.1)
    assert pending.wait(5.0) == Delivered("ok")


def test_what_the_receiver_calls_a_message_comes_back_with_the_next_of_its_incidents(start):
    receiver = Receiver([Delivered("ok", "C1/17")])
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn(fires("a"), fires("b"))
    daemon.turn(ends("a"))
    daemon.turn(ends("b"))
    daemon.turn()
    first, second, third = receiver.got
    assert [item.reference for item in first.items] == [None, None]
    assert [(item.reference, item.siblings) for item in second.items] == [("C1/17", 1)]
    assert [(item.reference, item.siblings) for item in third.items] == [("C1/17", 0)]


def test_a_new_configuration_goes_on_with_what_is_under_way(start):
    dead, alive = Receiver([Retry("refused")] * 100), Receiver()
    daemon = start(line(AT_ONCE, Keyed(receiver=dead)))
    daemon.turn(fires())
    daemon.outbox.reconfigure([line(AT_ONCE, Keyed(receiver=alive))], DAY)
    daemon.turn(after=300)
    daemon.turn()
    assert alive.notices() == [("chat", Notice.OPENED)]


def test_while_the_store_cannot_be_written_nothing_is_lost(start, monkeypatch):
    receiver = Receiver()
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn()
    keep, failures = daemon.desk.keep, [StoreError("disk full")] * 3

    def fail(changes, now):
        if failures:
            raise failures.pop()
        return keep(changes, now)

    monkeypatch.setattr(daemon.desk, "keep", fail)
    daemon.turn(fires())
    for _ in range(5):
        daemon.turn(after=10)
    assert Counter(receiver.notices()) == Counter({("chat", Notice.OPENED): 1})


# --- a message of which nobody knows whether it arrived -------------------------------------------


@dataclass
class Choking(Receiver):
    """A receiver that never answers a message about one of ``chokes_on``, and takes all others."""

    chokes_on: frozenset = frozenset({"chat"})

    def take(self, message):
        super().take(message)
        is_choking = any(item.incident.id in self.chokes_on for item in message.items)
        return Retry("does not answer within 10 s", is_uncertain=True) if is_choking else Delivered("ok")

    def told(self, incident):
        return [(message.key, notice) for message in self.got for notice in _notices_of(message, incident)]


def _notices_of(message, incident):
    return [item.notice for item in message.items if item.incident.id == incident]


def test_newer_incidents_get_past_a_message_that_is_never_answered(start, path):
    receiver = Choking()
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn(fires("chat"))
    daemon.turn(fires("draw"), after=300)
    daemon.turn(ends("draw"), after=300)
    daemon.turn(after=300)
    assert [notice for _, notice in receiver.told("draw")] == [Notice.OPENED, Notice.RESOLVED]
    assert [each.delivery.outcome for each in chain(path, "draw")] == ["delivered", "delivered"]
    keys = {key for key, _ in receiver.told("chat")}
    assert len(receiver.told("chat")) >= 3
    assert len(keys) == 1


def test_what_is_newer_of_the_same_incident_waits_for_the_answer(start):
    receiver = Choking()
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn(fires("chat"))
    daemon.turn(ends("chat"), after=300)
    daemon.turn(fires("draw"), after=300)
    receiver.chokes_on = frozenset()
    daemon.turn(after=300)
    daemon.turn(after=1)
    heard = [notice for _, notice in receiver.told("chat")]
    assert heard[-2:] == [Notice.OPENED, Notice.RESOLVED]
    assert Notice.RESOLVED not in heard[:-1]


def test_a_receiver_that_answers_nothing_is_handed_few_messages_and_in_the_end_how_things_stand(start):
    ids = [f"i{number}" for number in range(4 * MOST_FIXED)]
    receiver = Choking(chokes_on=frozenset(ids))
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    for id in ids:
        daemon.turn(fires(id), after=300)
        daemon.turn(after=300)
    assert len({message.key for message in receiver.got}) == MOST_FIXED
    tried = Counter(message.key for message in receiver.got[-2 * MOST_FIXED :])
    assert set(tried.values()) == {2}, "they are tried in turn"
    receiver.chokes_on = frozenset()
    receiver.got.clear()
    for _ in range(MOST_FIXED):
        daemon.turn(after=300)
    opened = Counter(id for id, notice in receiver.notices() if notice is Notice.OPENED)
    assert opened == Counter(ids)
    holding = [each for each in receiver.got if any(item.notice is Notice.OPENED for item in each.items)]
    assert len(holding) == MOST_FIXED + 1, "all that had waited leave as one"


def test_after_a_restart_too_newer_incidents_get_past_what_is_never_answered(start):
    receiver = Choking()
    daemon = start(line(AT_ONCE, Keyed(receiver=receiver)))
    daemon.turn(fires("chat"))
    now = daemon.now
    daemon.close()
    again = start(line(AT_ONCE, Keyed(receiver=receiver)))
    again.now = now
    again.turn(fires("draw"), after=300)
    again.turn(ends("chat"), after=300)
    assert [notice for _, notice in receiver.told("draw")] == [Notice.OPENED]
    assert len({key for key, _ in receiver.told("chat")}) == 1


# --- killed anywhere ------------------------------------------------------------------------------


def lives(path, seed, receivers, turns=100):
    """Run ``turns`` polls at which incidents come and go, killed and started again; return the kills."""
    random.seed(seed)  # the outbox spreads its attempts by it
    chance = Fragile.chance = random.Random(seed)
    Fragile.is_calm = False
    lines = (
        line(AT_ONCE, Keyed(receiver=receivers["hook"])),
        line(replace(AT_ONCE, name="mail", group_wait=3.0), Keyless(receiver=receivers["mail"])),
    )
    stands, kills, done, now = defaultdict(lambda: State.RESOLVED), 0, 0, instant(1).wall
    ending = turns - 20  # from then on nothing new comes, and nobody is killed
    while done < turns:
        Fragile.risk = 0.0
        daemon = Daemon(path, *lines, desk=Fragile)
        daemon.now = now
        Fragile.risk = 0.15
        try:
            while done < turns:
                if done >= ending:
                    Fragile.risk, Fragile.is_calm = 0.0, True
                moved = () if done >= ending else tuple(_moves(chance, stands))
                seq = daemon.seq + 1
                try:
                    daemon.turn(*moved, after=400.0 if done >= ending else chance.choice((0.5, 1, 400)))
                finally:
                    if daemon.store._known is not None and daemon.store.newest().seq >= seq:
                        stands.update((each.incident.id, each.incident.state) for each in moved)
                        done += 1
                daemon.die_with_its_threads()
            daemon.close()
        except Killed:
            kills += 1
            now = daemon.now
            daemon.kill()
    return kills, stands


def _moves(chance, stands):
    for id in ("a", "b", "c"):
        if chance.random() < 0.3:
            yield ends(id) if stands[id] is State.FIRING else fires(id)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that is the kill
@pytest.mark.parametrize("seed", range(12))
def test_killed_anywhere_between_decision_and_delivery_nothing_is_lost(tmp_path, seed):
    receivers = fatal(seed)
    kills, stands = lives(tmp_path / "history.db", seed, receivers)
    assert kills >= 5
    for channel, receiver in receivers.items():
        _assert_nothing_is_lost(tmp_path / "history.db", channel, receiver, stands)
        _assert_repetitions_are_known(channel, receiver)


def _assert_nothing_is_lost(path, channel, receiver, stands):
    keys = {message.key for message in receiver.got}
    for incident, state in stands.items():
        for each in chain(path, incident):
            if each.step.channel == channel and getattr(each.step, "reason", None) is None:
                assert each.delivery is not None, f"{channel}: {each.step} waits for ever"
                assert each.delivery.outcome == "delivered"
                assert each.delivery.key in keys
        heard = [notice for id, notice in receiver.notices() if id == incident]
        assert (heard[-1] is Notice.RESOLVED) == (state is State.RESOLVED)


def _assert_repetitions_are_known(channel, receiver):
    """What arrives twice arrives under one key; where keys mean nothing, with words that say so."""
    under = defaultdict(set)
    for message in receiver.got:
        for item in message.items:
            under[item.incident.id, item.notice, item.transition.at.seq].add(message.key)
    assert all(len(keys) == 1 for keys in under.values())
    if channel == "mail":
        seen = set()
        for message in receiver.got:
            assert message.may_be_repeat or message.key not in seen
            seen.add(message.key)


# --- a storm --------------------------------------------------------------------------------------


@contextmanager
def receivers_of_all_kinds():
    """Yield notifiers that speak to servers on loopback, and what counts the messages each has had."""
    taken = answering(202, '{"status":"success"}')
    with Slack() as slack, mail_server() as mails, receiving(taken) as pages, receiving(taken) as hook:
        to = {"sender": "a@example.com", "to": ["b@example.com"], "tls": "none"}
        yield {
            "bot": (
                SlackNotifier(token=TOKEN, channel=CHANNEL, api_url=slack.api),
                lambda: len(slack.called("chat.postMessage")),
            ),
            "room": (SlackNotifier(url=slack.hook), lambda: len(slack.called("hook"))),
            "pager": (Pagerduty(routing_key="r" * 32, url=pages.url), lambda: len(pages.got)),
            "mail": (Email(host="127.0.0.1", port=mails.port, **to), lambda: len(mails.mails)),
            "hook": (Webhook(url=hook.url), lambda: len(hook.got)),
        }


def test_a_storm_is_at_most_one_message_a_group_interval_on_every_channel(start, path):
    with receivers_of_all_kinds() as receivers:
        channels = [Channel(name) for name in receivers]
        lines = [Line(each, receivers[each.name][0], HttpCourier) for each in channels]
        daemon = start(*lines)
        came = defaultdict(list)  # channel -> when each message came

        def turn(*moved, after):
            daemon.turn(*moved, after=after)
            for name, (_, count) in receivers.items():
                came[name] += [daemon.now] * (count() - len(came[name]))

        for number in range(64):
            turn(fires(f"i{number}", owner=f"unit:s{number}.service"), after=60 / 64)
        for _ in range(120):
            turn(after=10.0)
        daemon.close()
    for channel in channels:
        times = came[channel.name]
        assert len(times) == 2, f"{channel.name}: {times}"  # what had come by then, and all the rest
        assert times[1] - times[0] >= channel.group_interval
    for number in range(64):
        told = {each.step.channel: each.delivery.outcome for each in chain(path, f"i{number}")}
        assert told == dict.fromkeys(receivers, "delivered")
