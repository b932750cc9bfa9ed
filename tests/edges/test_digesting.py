"""The digest: gathered from a real store, sent once to the channels that ask for it."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, time
from itertools import count

import pytest

from tests.edges.test_store_telling import firing, notify, send
from tests.polls import gpu, holding, instant, ledger, owner
from tests.receivers import receiving
from tests.waiting import wait_until
from vramwatch.assembly import digest_plan, tell
from vramwatch.config import load
from vramwatch.core.digests import Period
from vramwatch.core.incidents import Reason, State
from vramwatch.core.messages import Host, MessageKind
from vramwatch.core.outgoing import Delivered, Delivery
from vramwatch.core.policy import Notice, Withheld, Withholding
from vramwatch.core.poll import Poll
from vramwatch.core.units import GIB, Bytes
from vramwatch.store import History, Store
from vramwatch.store.desk import Changes, Desk
from vramwatch.telling.digesting import Digests, Plan, gather
from vramwatch.telling.outbox import Outbox

MORNING = 1_700_035_200.0  # 2023-11-15 08:00 UTC
HOUR = 3600.0


def night(hours=12.0, every=300.0):
    """Polls up to eight in the morning: chat grows and works, train holds 40 GiB and idles."""
    last = int(hours * HOUR / every)
    for n in range(last + 1):
        at = instant(n + 1, MORNING - (last - n) * every)
        grown = Bytes(4 * GIB + n * GIB // 50)
        chat = ledger(at, holding(7, grown, owner("chat")), on=gpu(0), utilization=0.5)
        train = ledger(at, holding(8, Bytes(40 * GIB), owner("train")), on=gpu(1), utilization=0.0)
        silent = ledger(at, holding(9, Bytes(30 * GIB), owner("mute")), on=gpu(2))
        yield Poll(at, (chat, train, silent))


def filled(path, moves=(), polls=None):
    """A store of one night; ``moves``: (number of the poll, transitions, steps)."""
    store = Store.open(path, "nvml", "0.1.0")
    told = {number: (transitions, steps) for number, transitions, steps in moves}
    for each in polls or night():
        transitions, steps = told.get(each.at.seq, ((), ()))
        placed = tuple(replace(moved, at=each.at) for moved in transitions)
        store.write(replace(each, transitions=placed, steps=steps))
    return store


def gathered(path, since=MORNING - 24 * HOUR, until=MORNING):
    with closing(History.open(path)) as history:
        return gather(history, since, until)


def test_who_has_grown_who_idles_and_what_room_is_left_are_told_with_their_names(path):
    filled(path).close()
    digest = gathered(path, MORNING - 11 * HOUR)
    (grower,) = digest.growers
    assert (grower.name, grower.gpu) == ("chat", "0")
    assert grower.gained == pytest.approx(132 * GIB / 50, rel=0.01)
    (idler,) = digest.idlers  # a GPU that does not tell its utilisation idles for nobody
    assert (idler.name, idler.gpu, idler.held) == ("train", "1", 40 * GIB)
    assert 11 * HOUR <= idler.idle <= 13 * HOUR
    assert [room.gpu for room in digest.rooms] == ["0", "1", "2"]
    assert digest.rooms[1].total - digest.rooms[1].peak == pytest.approx(40 * GIB, rel=0.01)


def test_a_gpu_that_has_worked_lately_idles_not(path):
    polls = list(night())
    last = polls[-12]
    at = last.at
    busy = ledger(at, holding(8, Bytes(40 * GIB), owner("train")), on=gpu(1), utilization=0.01)
    polls[-12] = replace(last, ledgers=(last.ledgers[0], busy, last.ledgers[2]))
    filled(path, polls=polls).close()
    assert gathered(path).idlers == ()


def test_what_fired_what_was_withheld_and_what_is_slower_stand_apart(path):
    withheld = Withheld("hook", "b", Notice.OPENED, Withholding.OBSERVE, "observing for 6d more")
    slow = firing(1, "c", state=State.PENDING, reason=Reason.SEEN)
    moves = [
        (20, (firing(1, "a"), firing(1, "b"), slow), (notify("a"), withheld)),
        (30, (firing(1, "b", state=State.RESOLVED, reason=Reason.CLEARED),), ()),
    ]
    with closing(filled(path, moves)) as store:
        send(Desk(store), "hook", Delivered("200"))
    digest = gathered(path)
    assert [(each.item.incident.id, each.told) for each in digest.fired] == [("a", ("hook",))]
    assert [each.item.incident.id for each in digest.withheld] == ["b"]
    assert digest.withheld[0].withheld == "withheld (observe): observing for 6d more"
    assert [each.item.incident.id for each in digest.noted] == ["c"]


# --- sending it ---------------------------------------------------------------------------------


class Sent(Outbox):
    """Keeps what is to be sent, in place of sending it."""

    def __init__(self):
        self._host = Host("gpu7")
        self.sent = []

    def send(self, channel, kind, text, now):
        self.sent.append((channel, str(kind), text))


def looked(path, plan, times=1):
    outbox = Sent()
    digests = Digests(path, outbox, plan)
    for _ in range(times):
        digests.look(lambda do: do())
    return outbox.sent


PLAN = Plan(Period.DAILY, time(8), ("hook", "ops"), UTC)


def test_it_is_sent_once_to_each_channel_that_asks_for_it(path):
    filled(path).close()
    sent = looked(path, PLAN, times=3)
    assert [each[:2] for each in sent] == [("hook", "digest"), ("ops", "digest")]
    assert "train on GPU 1: 40.0 GiB, no work on it" in sent[0][2]


def test_nobody_is_told_before_its_time_or_where_nobody_asks(path):
    filled(path).close()
    assert looked(path, None) == []
    assert looked(path, replace(PLAN, at=time(8, 1))) == []
    assert looked(path.with_name("none.db"), PLAN) == []


@pytest.mark.parametrize(("made_for", "owed"), [(("hook", "ops"), []), (("hook",), ["ops"])])
def test_after_a_restart_it_is_sent_to_those_alone_for_whom_it_was_not_made(path, made_for, owed):
    with closing(filled(path)) as store:
        desk = Desk(store)
        made = [Delivery(each, "k", MORNING, kind=MessageKind.DIGEST, text="…") for each in made_for]
        desk.keep(Changes(begun=[(each, MORNING) for each in made]), MORNING)
    assert [channel for channel, *_ in looked(path, PLAN)] == owed


def test_the_configuration_says_who_wants_it(tmp_path):
    file = tmp_path / "config.yaml"
    hook = "webhook: {url: 'http://127.0.0.1:9/x'}"
    file.write_text(
        "source: simulated\nalerting: {digest: weekly, digest_at: '07:30'}\n"
        f"channels: {{ops: {{digest: true, {hook}}}, pager: {{{hook}}}}}\n"
    )
    assert digest_plan(load(file, {}, {})) == Plan(Period.WEEKLY, time(7, 30), ("ops",))
    file.write_text(
        f"source: simulated\nalerting: {{digest: off}}\nchannels: {{ops: {{digest: true, {hook}}}}}\n"
    )
    assert digest_plan(load(file, {}, {})) is None


def test_a_digest_that_is_not_taken_at_first_is_sent_again_whatever_fires_meanwhile(path):
    """The outbox lets notices that failed leave anew with newer ones; a digest holds none, nor any up."""
    with closing(Store.open(path, "nvml", "0.1.0")) as store, receiving() as receiver:
        receiver.answers(503)
        file = path.with_name("config.yaml")
        file.write_text(
            "source: simulated\nalerting: {mode: tell, group_wait: 0s}\n"
            f"channels: {{hook: {{webhook: {{url: '{receiver.url}'}}}}}}\n"
        )
        _, outbox = tell(load(file, {}, {}), store)
        outbox.send("hook", MessageKind.DIGEST, "the digest", MORNING)
        turned(outbox, MORNING, lambda: len(receiver.got) == 1)
        receiver.answers(200)
        each = next(iter(night(0.0)))
        steps = (replace(notify("a"), due=MORNING),)
        store.write(replace(each, transitions=(replace(firing(1, "a"), at=each.at),), steps=steps))
        outbox.expect(steps)
        turned(outbox, MORNING + 600, lambda: len(receiver.got) == 3)
        outbox.close()
    assert [request.json["kind"] for request in receiver.got] == ["digest", "incidents", "digest"]
    assert receiver.got[0].json["key"] == receiver.got[2].json["key"]


def turned(outbox, now, holds):
    """Turn the outbox, a second at a time, until what is to hold does."""

    seconds = count(now)

    def turn():
        outbox.turn(next(seconds))
        return holds()

    wait_until(turn)
