"""What people ask of incidents, silences and channels: through the socket, into store and messages."""

import json
from contextlib import closing

import pytest

from tests.telling import Scripted, author, house, move
from vramwatch.assembly import tell
from vramwatch.config import load
from vramwatch.control.clerk import Clerk
from vramwatch.control.control import ControlError, Request
from vramwatch.core.incidents import Reason, Severity, State, Subject
from vramwatch.core.model import SubjectKind
from vramwatch.core.policy import OBSERVE
from vramwatch.judging.judge import Judge
from vramwatch.store import History, RemarkKind, Store
from vramwatch.store.desk import Desk

ID = "c0ffee00beef"
FIRES = {3: (move(),)}


@pytest.fixture
def service(tmp_path):
    with house(tmp_path) as there:
        yield there


def asks(verb, **arguments):
    return lambda service: service.ask(verb, **arguments)


def chain(service, id=ID):
    with closing(History.open(service.store)) as history:
        return history.casebook.chain(id)


def silences(service):
    with closing(History.open(service.store)) as history:
        return history.casebook.silences()


def notices(service):
    return [item["notice"] for message in service.told for item in message["incidents"]]


def test_an_acknowledged_incident_is_repeated_no_more_and_its_author_is_the_kernels(service):
    service.alerting = "{mode: tell, group_wait: 0s, group_interval: 0s, repeat_interval: 1m}"
    (reply,) = service.life(FIRES, 200, {20: asks("ack", incident=ID, by="anna", note="known fault")})
    assert reply["incident"] == ID
    assert notices(service) == ["opened"]
    told = chain(service)
    (remark,) = told.entry.remarks
    assert (remark.kind, remark.note, remark.severity) == (RemarkKind.ACK, "known fault", Severity.WARNING)
    assert remark.author.startswith("anna as ")
    assert remark.author.endswith(author())
    assert told.steps[-1].step.detail == f"acknowledged by {remark.author}"


def test_an_acknowledgement_outlives_a_restart(service):
    service.alerting = "{mode: tell, group_wait: 0s, group_interval: 0s, repeat_interval: 1m}"
    service.life(FIRES, 20, {10: asks("ack", incident=ID)})
    service.life({}, 200)
    assert notices(service) == ["opened"]


def test_what_is_dismissed_is_resolved_with_the_next_poll_and_told_so(service):
    (reply,) = service.life(FIRES, 20, {10: asks("resolve", incident=f"{ID[:4]}@gpu7", note="restarted it")})
    assert reply["incident"] == ID
    last = chain(service).transitions[-1]
    assert (last.incident.state, last.reason, last.at.seq) == (State.RESOLVED, Reason.DISMISSED, 11)
    assert last.scene is not None
    assert notices(service) == ["opened", "resolved"]
    assert "a person resolved it" in service.told[-1]["headline"]


def test_while_the_daemon_has_met_no_gpu_any_may_be_silenced(service):
    asked = Request("silence", {"globs": {"gpu": "9"}, "for": "1h", "reason": "burn-in"}, author())
    with closing(Store.open(service.store, "hand", "test")) as store:
        alerting, outbox = tell(load(service.write_config(), {}, {}), store)
        with closing(outbox):
            reply = Clerk(Desk(store), Judge(Scripted({}), store), alerting, outbox).do(asked, 1000.0)
    assert reply == {"id": "s1", "until": 4600.0, "silences": "gpu=9"}


def test_a_mark_is_kept_as_it_was_given_also_of_what_is_over(service):
    over = {**FIRES, 6: (move(State.RESOLVED, Reason.CLEARED),)}
    service.life(over, 20, {10: asks("mark", incident=ID, **{"as": "false_alarm"}, note="a planned load")})
    (remark,) = chain(service).entry.remarks
    assert (remark.kind, remark.note) == (RemarkKind.FALSE_ALARM, "a planned load")


@pytest.mark.parametrize(
    ("verb", "arguments", "told"),
    [
        ("ack", {"incident": "dead"}, "no incident 'dead'"),
        ("ack", {"incident": ""}, "no incident ''"),
        ("ack", {"incident": "c0ffee"}, "may be any of c0ffee00beef, c0ffee00cafe"),
        ("ack", {"incident": f"{ID}@gpu8"}, "an incident of gpu8, and this history is of gpu7; ask on gpu8"),
        ("ack", {"incident": ID, "note": "x" * 501}, "note is too long: at most 500"),
        ("mark", {"incident": ID, "as": "nonsense"}, "false_alarm or true_alarm"),
        ("silence", {"globs": {}, "for": "1h"}, "needs a reason"),
        (
            "silence",
            {"globs": {"gpu": "9"}, "for": "1h", "reason": "x"},
            "no GPU is called '9'; there are: 0 (",
        ),
        ("silence", {"globs": {"colour": "red"}, "for": "1h", "reason": "x"}, "no field colour"),
        ("silence", {"globs": {}, "reason": "x"}, "needs an end"),
        ("silence", {"globs": {}, "reason": "x", "for": "0s"}, "more than 0"),
        ("silence", {"globs": {}, "reason": "x", "until": 17.0}, "more than 0"),
        ("silence", {"globs": {}, "reason": "x", "until": 10**400}, "needs an end"),
        ("silence", {"globs": {}, "reason": "x", "until": "nan"}, "needs an end"),
        ("silence", {"globs": {}, "reason": "x", "for": "9" * 400 + "d"}, "needs an end"),
        ("silence", {"globs": {"owner": "*a" * 251}, "for": "1h", "reason": "x"}, "at most 500 characters"),
        ("expire", {"silence": "s9"}, "no silence 's9' holds; those that do: none"),
        ("send", {"channel": "pager"}, "no channel 'pager'; there are: hook"),
        (
            "sing",
            {},
            "knows workers, models, free, ping, release, resume, forget, room, probed, "
            "ack, resolve, mark, silence, expire",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_kept(service, verb, arguments, told):
    script = {3: (move(), move(id="c0ffee00cafe"))}
    (reply,) = service.life(script, 12, {5: asks(verb, **arguments)})
    assert isinstance(reply, ControlError)
    assert told in str(reply)
    assert not chain(service).entry.remarks
    assert not silences(service)


def test_what_is_over_is_neither_acknowledged_nor_resolved_again(service):
    over = {**FIRES, 6: (move(State.RESOLVED, Reason.CLEARED),)}
    replies = service.life(over, 20, {10: asks("ack", incident=ID), 12: asks("resolve", incident=ID)})
    assert all("is over" in str(each) for each in replies)
    assert not chain(service).entry.remarks


def test_a_silence_holds_back_until_it_is_expired_and_its_ids_are_short_and_never_given_again(service):
    questions = {
        1: asks("silence", globs={"owner": "ch*"}, reason="maintenance", **{"for": "2h"}),
        8: asks("expire", silence="s1"),
        25: asks("silence", globs={"gpu": "0"}, reason="again", until=1_700_003_600.0),
    }
    replies = service.life(FIRES, 30, questions)
    assert [reply["id"] for reply in replies] == ["s1", "s1", "s2"]
    steps = [each.step for each in chain(service).steps]
    assert steps[0].detail.startswith("silence s1 by ")
    assert steps[0].detail.endswith(": maintenance")
    assert notices(service) == ["opened"]
    first, second = silences(service)
    assert author() in first.author
    assert first.until - first.since < 10
    assert second.until == 1_700_003_600.0


def test_observing_ends_by_one_command_and_what_still_stands_is_told_then(service):
    service.alerting = "{group_wait: 0s}"
    service.life(FIRES, 20)
    assert not service.told
    (reply,) = service.life({}, 40, {22: asks("expire", silence=OBSERVE)})
    assert reply["id"] == OBSERVE
    assert notices(service) == ["opened"]


def test_a_service_that_is_told_to_tell_observes_no_longer_after_its_restart(service):
    service.alerting = "{group_wait: 0s}"
    service.life(FIRES, 20)
    service.alerting = "{mode: tell, group_wait: 0s}"
    service.life({}, 20)
    assert notices(service) == ["opened"]


def test_a_test_message_is_sent_by_the_daemon_and_its_answer_comes_back(service):
    service.receiver.answers(200, "thanks")
    (reply,) = service.life({}, 12, {5: asks("send", channel="hook")})
    assert reply["outcome"] == "delivered"
    (message,) = service.told
    assert message["kind"] == "test"
    assert message["headline"].startswith("gpu7: TEST")
    assert author() in message["text"]


def test_a_receiver_that_does_not_take_a_test_message_is_quoted(service):
    service.receiver.answers(404, "no such hook")
    (reply,) = service.life({}, 12, {5: asks("send", channel="hook")})
    assert reply["outcome"] == "rejected"
    assert "404" in reply["detail"]
    assert "no such hook" in reply["detail"]
    assert "hush" not in reply["detail"]


def test_what_a_channel_has_in_hand_of_a_forgotten_owner_is_not_tried_again(service):
    service.receiver.answers(503, "busy")
    theirs = move(subject=Subject("GPU-hand", SubjectKind.OWNER, "program:?/server"))
    tried = []

    def attempts():
        return sum(theirs.incident.id in json.dumps(each) for each in service.told)

    def forget(service):
        reply = service.ask("forget", owner="program:?/server")
        tried.append(attempts())
        return reply

    service.life({3: (theirs,)}, 200, {20: forget})
    assert tried[0] >= 2
    assert attempts() == tried[0]


def test_a_forgotten_owner_is_told_of_no_more(service):
    """What the decision remembers goes with what the store held."""
    service.alerting = "{mode: tell, group_wait: 0s, group_interval: 0s, repeat_interval: 1m}"
    theirs = move(subject=Subject("GPU-hand", SubjectKind.OWNER, "program:?/server"))
    (reply,) = service.life({3: (theirs,)}, 200, {20: asks("forget", owner="program:?/server")})
    assert reply["incidents"] == 1
    assert notices(service) == ["opened"]
    with closing(History.open(service.store)) as history:
        assert history.casebook.beginning("", 5) == []
