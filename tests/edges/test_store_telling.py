"""Steps, remarks and silences in the store: read back as they were, and let go of with their owner."""

import sqlite3
from contextlib import closing
from dataclasses import replace

from tests.edges.test_store_lasting import MIDNIGHT, hourly_polls, opened, tended
from tests.polls import START, holding, owner, poll
from tests.verdicts import transition
from vramwatch.core.incidents import Reason, Severity, State
from vramwatch.core.outgoing import Delivered, Delivery, Retry
from vramwatch.core.policy import Notice, Notify, Withheld, Withholding
from vramwatch.core.silences import Matcher, Silence
from vramwatch.core.units import Seconds
from vramwatch.store import History, Remark, RemarkKind
from vramwatch.store.desk import Changes, Desk, Ended


def write(store, seq, *transitions, steps=()):
    crowd = [holding(7, of=owner("secret")), holding(8, of=owner("chat"))]
    store.write(replace(poll(seq, *crowd), transitions=transitions, steps=steps))


def firing(seq, id, name="chat", state=State.FIRING, **told):
    told = {"reason": Reason.ESTABLISHED, **told}
    return transition(seq, id, state, owner=f"unit:{name}.service", **told)


def notify(id, channel="hook", notice=Notice.OPENED):
    return Notify(channel, id, notice, START + 1)


def send(desk, channel, outcome, due=None):
    """Begin a message with all that waits for ``channel``, and end it with ``outcome``."""
    waiting = tuple(desk.waiting(channel, 10))
    made = Delivery(channel, "k", START, waiting)
    made = replace(made, id=desk.keep(Changes(begun=[(made, START)]), START)[0])
    desk.keep(Changes(ended=[Ended(made, outcome, due)]), START + 2)
    return made.id


def said(id, kind=RemarkKind.ACK, wall=START + 3):
    return Remark(id, wall, kind, "anna as root (uid 0, pid 1)", "on it", Severity.WARNING)


def count(path, table):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def casebook(path):
    return History.open(path).casebook


def test_an_incident_is_read_with_all_that_was_decided_told_and_said(path):
    withheld = Withheld("ops", "a", Notice.OPENED, Withholding.SILENCED, "silence s1 by anna: x")
    with closing(opened(path)) as store:
        desk = Desk(store)
        write(store, 1, firing(1, "a", state=State.PENDING, reason=Reason.SEEN))
        write(store, 2, firing(2, "a"), steps=(notify("a"), withheld))
        send(desk, "hook", Delivered("200 OK", "ref"))
        desk.write_remark(said("a"))
        chain = casebook(path).chain("a")
    assert [each.reason for each in chain.transitions] == [Reason.SEEN, Reason.ESTABLISHED]
    assert chain.entry.told == ("hook",)
    assert chain.entry.remarks == (said("a"),)
    assert chain.entry.case.acknowledged.note == "on it"
    assert chain.entry.case.openings == (START + 2,)
    first, second = chain.steps
    assert (first.delivery.outcome, first.delivery.detail) == ("delivered", "200 OK")
    assert (second.step, second.delivery) == (withheld, None)


def test_what_is_open_is_listed_however_old_and_what_is_over_as_far_back_as_is_asked(path):
    with closing(opened(path)) as store:
        write(store, 1, firing(1, "open"), firing(1, "over"))
        write(store, 2, firing(2, "over", state=State.RESOLVED, reason=Reason.CLEARED))
        write(store, 9)
    ids = [[each.case.incident.id for each in casebook(path).entries(since)] for since in (START, START + 5)]
    assert ids == [["open", "over"], ["open"]]


def test_ids_are_found_by_how_they_begin_and_a_wildcard_is_a_letter_like_any(path):
    with closing(opened(path)) as store:
        write(store, 1, firing(1, "abc1"), firing(1, "abd2"))
    assert casebook(path).beginning("abc", 5) == ["abc1"]
    assert sorted(casebook(path).beginning("ab", 5)) == ["abc1", "abd2"]
    assert len(casebook(path).beginning("ab", 1)) == 1
    assert casebook(path).beginning("a%", 5) == casebook(path).beginning("a_c", 5) == []


def test_a_forgotten_owner_takes_along_what_was_told_and_said_of_it(path):
    with closing(opened(path)) as store:
        desk = Desk(store)
        write(store, 1, firing(1, "theirs", "secret"), steps=(notify("theirs"), notify("theirs", "ops")))
        write(store, 2, firing(2, "others"), steps=(notify("others", "pager"),))
        send(desk, "hook", Delivered("200"))
        send(desk, "ops", Retry("503"), due=START + 60)
        kept = send(desk, "pager", Delivered("200"))
        desk.write_remark(said("theirs"))
        desk.write_remark(said("others"))
        assert store.forget("secret").incidents == 1
        assert [desk.under_way(each)[0] for each in ("hook", "ops", "pager")] == [[], [], []]
        late = poll(3, holding(8, of=owner("chat")))
        store.write(replace(late, steps=(notify("theirs"),)))  # decided before it was forgotten
    chain = casebook(path).chain("others")
    assert [each.delivery.id for each in chain.steps] == [kept]
    assert chain.entry.remarks == (said("others"),)
    assert [count(path, each) for each in ("incident", "step", "remark", "delivery")] == [1, 1, 1, 1]
    assert b"unit:secret.service" not in path.read_bytes()


def test_what_was_told_is_kept_as_long_as_its_incident(path):
    with closing(opened(path, raw=Seconds(3600), minutes=Seconds(7200), hours=Seconds(4 * 3600))) as store:
        desk = Desk(store)
        for each in hourly_polls(10):
            hour, second = divmod(int(each.at.wall - MIDNIGHT), 3600)
            if second == 0:
                ids = (f"of-hour-{hour}", "lasting")
                told = tuple(transition(each.at, id, State.FIRING) for id in ids)
                steps = tuple(Notify("hook", id, Notice.OPENED, each.at.wall) for id in ids)
                store.write(replace(each, transitions=told, steps=steps))
            else:
                store.write(each)
            if second == 0:
                send(desk, "hook", Delivered("200"))
                desk.write_remark(said(f"of-hour-{hour}", wall=each.at.wall))
            tended(store, each.at)
    kept = {f"of-hour-{hour}" for hour in range(5, 10)}
    with closing(sqlite3.connect(path)) as connection:
        incidents = {id for (id,) in connection.execute("SELECT id FROM incident")}
        remarks = {id for (id,) in connection.execute("SELECT incident FROM remark")}
        steps = {id for (id,) in connection.execute("SELECT incident FROM step")}
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert (incidents, steps, remarks) == (kept | {"lasting"}, kept | {"lasting"}, kept)


def test_silences_are_read_in_the_order_in_which_they_began(path):
    late = Silence("s2", "bob", "later", START + 9, START + 99)
    early = Silence("s1", "anna", "maintenance", START + 1, START + 50, Matcher({"owner": "ch*", "gpu": "0"}))
    with closing(opened(path)) as store:
        write(store, 1)
        for each in (late, early):
            Desk(store).write_silence(each)
    assert casebook(path).silences() == [early, late]
