"""Slack's channel against a small Slack on a real socket: what stands there, and what is said of refusals."""

import json
import os
from collections import deque
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.incidents import COURSE, HOST, MADE, SCENE, item, message
from tests.slack_server import CHANNEL, TOKEN, Slack, faults
from vramwatch.core import blockkit
from vramwatch.core.couriers import Reach
from vramwatch.core.incidents import Reason, Severity, State
from vramwatch.core.messages import Host, Message, MessageKind
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.core.policy import Notice
from vramwatch.couriers.posting import HttpCourier
from vramwatch.notifiers import slack as module
from vramwatch.notifiers.slack import Slack as Notifier


@pytest.fixture
def slack():
    with Slack() as server:
        yield server


@pytest.fixture(autouse=True)
def no_chart(monkeypatch):
    """Charts are drawn where a test asks for them: each takes seconds."""
    monkeypatch.setattr(module, "chart", lambda item, host, now: None)


def bot(slack, **options):
    return Notifier(token=TOKEN, api_url=slack.api, **{"channel": CHANNEL, **options})


def send(notifier, told):
    with closing(HttpCourier(Reach(2.0, 2.0, 5.0), notifier.secrets())) as courier:
        return notifier.send(told, courier)


def follow(notifier, told, outcome):
    with closing(HttpCourier(Reach(2.0, 2.0, 5.0), notifier.secrets())) as courier:
        return notifier.follow(told, outcome, courier)


def texts(blocks):
    """Everything that the blocks show, as one text."""
    parts = [
        each["text"]
        for block in blocks
        for each in ([block["text"]] if "text" in block else block.get("elements", []))
    ]
    return "\n".join(parts)


# --- what a webhook is told ----------------------------------------------------------------------


def test_a_webhook_is_told_who_why_when_it_ends_and_what_to_run(slack):
    notifier = Notifier(url=slack.hook)
    outcome = send(notifier, message(item(course=COURSE)))
    assert outcome == Delivered("HTTP 200: ok")
    (sent,) = slack.called("hook")
    assert sent["text"].startswith("gpu7: CRITICAL  chat on GPU 0: a leak, memory runs out in ")
    shown = texts(sent["blocks"])
    for words in ("unit chat.service, pid 4104 (python3), user alice", "grew by 3 MiB in 1 h", "▁▁"):
        assert words in shown
    assert "On *gpu7* run:\n```vramwatch why c0ffee012345\nsystemctl restart chat.service```" in shown
    assert "Incident c0ffee012345@gpu7" in shown
    assert not notifier.edits


@pytest.mark.parametrize(
    ("status", "word", "says"),
    [
        (404, "no_service", "the webhook is no longer there; make a new one and write its URL"),
        (410, "channel_is_archived", "the channel is archived"),
        (403, "action_prohibited", "an administrator of the workspace"),
    ],
)
def test_what_a_webhook_refuses_is_told_with_what_to_do(slack, status, word, says):
    slack.refuse("hook", word, status)
    outcome = send(Notifier(url=slack.hook), message(item()))
    assert isinstance(outcome, Rejected)
    assert word in outcome.reason
    assert says in outcome.reason
    assert "secret-hook" not in outcome.reason


def test_a_webhook_that_is_asked_too_often_is_asked_again_when_it_says(slack):
    slack.refuse("hook", "rate_limited", 429, {"Retry-After": "30"})
    outcome = send(Notifier(url=slack.hook), message(item()))
    assert isinstance(outcome, Retry)
    assert outcome.after == 30.0


def test_a_server_that_is_down_in_a_word_is_no_refusal(slack):
    slack.refuse("hook", "no_service", 503)
    assert isinstance(send(Notifier(url=slack.hook), message(item())), Retry)


def test_blocks_that_slack_does_not_take_leave_as_bare_text(slack):
    slack.refuse("hook", "invalid_blocks", 400)
    outcome = send(Notifier(url=slack.hook), message(item()))
    assert isinstance(outcome, Delivered)
    first, second = slack.called("hook")
    assert "blocks" in first
    assert "blocks" not in second
    assert "vramwatch why c0ffee012345" in second["text"]


# --- what a bot does -----------------------------------------------------------------------------


def test_a_bot_posts_an_incident_once_and_remembers_where(slack):
    outcome = send(bot(slack, channel="gpu-alerts"), message(item()))
    (ts,) = slack.messages
    assert outcome == Delivered("posted", f"{CHANNEL}/{ts}")
    assert bot(slack).edits


def test_an_update_edits_the_message_and_calls_nobody(slack):
    first = send(bot(slack), message(item()))
    told = item(Notice.UPDATED, reference=first.reference, severity=Severity.WARNING)
    assert send(bot(slack), message(told)) == Delivered("edited", first.reference)
    (only,) = slack.messages.values()
    assert "WARNING" in only["text"]
    assert "As of " in texts(only["blocks"])


@pytest.mark.parametrize(
    ("notice", "is_shown_in_channel"),
    [(Notice.WORSE, True), (Notice.REPEATED, True), (Notice.OPENED, True), (Notice.RESOLVED, False)],
)
def test_the_course_of_an_incident_stands_in_its_thread(slack, notice, is_shown_in_channel):
    first = send(bot(slack), message(item()))
    ts = first.reference.partition("/")[2]
    outcome = send(bot(slack), message(item(notice, reference=first.reference)))
    assert outcome == Delivered("edited; replied", first.reference)
    _, reply = slack.messages.values()
    assert (reply["thread_ts"], reply["reply_broadcast"]) == (ts, is_shown_in_channel)
    word = "RESOLVED" if notice is Notice.RESOLVED else "CRITICAL"
    assert word in reply["text"]
    assert word in slack.messages[ts]["text"]


def test_a_post_of_several_incidents_shows_after_an_edit_how_each_stands(slack):
    one, two = item(id="aaa"), item(id="bbb", scene=replace(SCENE, owner="image"))
    first = send(bot(slack), message(one, two))
    assert len(slack.messages) == 1
    over = item(Notice.RESOLVED, id="aaa", reference=first.reference)
    outcome = send(bot(slack), message(over, beside=(two.transition,)))
    assert outcome == Delivered("edited; replied", first.reference)
    parent, reply = slack.messages.values()
    shown = texts(parent["blocks"])
    assert "RESOLVED  chat on GPU 0" in shown
    assert "CRITICAL  image on GPU 0" in shown
    assert "1 CRITICAL, 1 RESOLVED" in parent["text"]
    assert "image" not in texts(reply["blocks"])


def test_a_message_that_was_deleted_is_posted_anew(slack):
    told = item(Notice.WORSE, reference=f"{CHANNEL}/1600000000.000001")
    outcome = send(bot(slack), message(told))
    (ts,) = slack.messages
    assert outcome == Delivered("posted", f"{CHANNEL}/{ts}")
    assert "thread_ts" not in slack.messages[ts]


def test_an_update_of_a_message_that_was_deleted_calls_nobody(slack):
    told = item(Notice.UPDATED, reference=f"{CHANNEL}/1600000000.000001")
    outcome = send(bot(slack), message(told))
    assert isinstance(outcome, Delivered)
    assert "the message was deleted" in outcome.detail
    assert not slack.messages


def test_where_a_message_may_not_be_edited_any_more_its_thread_goes_on(slack):
    first = send(bot(slack), message(item()))
    slack.refuse("chat.update", "edit_window_closed")
    outcome = send(bot(slack), message(item(Notice.RESOLVED, reference=first.reference)))
    assert isinstance(outcome, Delivered)
    assert outcome.detail.startswith("not edited: ")
    assert len(slack.messages) == 2


def test_a_reply_that_failed_is_sent_again_with_the_same_edit(slack):
    first = send(bot(slack), message(item()))
    slack.refuse("chat.postMessage", "internal_error")
    told = message(item(Notice.WORSE, reference=first.reference))
    assert isinstance(send(bot(slack), told), Retry)
    assert send(bot(slack), told) == Delivered("edited; replied", first.reference)
    assert len(slack.messages) == 2


def test_a_reference_of_another_kind_of_receiver_is_no_place_in_slack(slack):
    outcome = send(bot(slack), message(item(Notice.WORSE, reference="a dedup key")))
    assert outcome.detail == "posted"
    assert not slack.called("chat.update")


def test_a_test_and_a_digest_say_what_they_are(slack):
    for kind, text in ((MessageKind.TEST, "sent by alice"), (MessageKind.DIGEST, "top growers\n\n  chat")):
        assert isinstance(send(bot(slack), Message("k", HOST, MADE, kind, text=text)), Delivered)
    test, digest = slack.messages.values()
    assert "TEST" in test["text"]
    assert "sent by alice" in texts(test["blocks"])
    assert "top growers" in texts(digest["blocks"])


def test_a_digest_that_is_too_long_says_how_much_is_missing(slack):
    lines = [f"{at:04} {'x' * 200}" for at in range(300)]
    send(bot(slack), Message("k", HOST, MADE, MessageKind.DIGEST, text="\n".join(lines)))
    (only,) = slack.messages.values()
    shown = texts(only["blocks"])
    told = sum(line in shown for line in lines)
    assert told > 30
    assert f"and {300 - told} more lines" in shown


def test_a_message_that_may_have_arrived_before_says_so(slack):
    send(bot(slack), message(item(), may_be_repeat=True))
    (only,) = slack.messages.values()
    assert "May be a repetition" in texts(only["blocks"])


# --- what Slack refuses --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("invalid_auth", "write its Bot User OAuth Token"),
        ("token_revoked", "write its Bot User OAuth Token"),
        ("not_in_channel", "the bot is not in the channel; invite it there: /invite @"),
        ("channel_not_found", "write the channel's ID and invite the bot"),
        ("is_archived", "choose another"),
        ("restricted_action", "an administrator"),
        ("something_new", "Slack refuses: something_new"),
    ],
)
def test_a_refusal_says_what_to_do(slack, error, says):
    slack.refuse("chat.postMessage", error)
    outcome = send(bot(slack), message(item()))
    assert isinstance(outcome, Rejected)
    assert error in outcome.reason
    assert says in outcome.reason
    assert TOKEN not in outcome.reason


def test_a_missing_scope_is_named(slack):
    slack.refuse("chat.postMessage", "missing_scope", needed="chat:write", provided="identify")
    assert "missing_scope (chat:write)" in send(bot(slack), message(item())).reason


@pytest.mark.parametrize("status", [200, 429])
def test_when_asked_to_wait_it_waits_as_long_as_slack_says(slack, status):
    slack.refuse("chat.postMessage", "ratelimited", status, {"Retry-After": "17"})
    outcome = send(bot(slack), message(item()))
    assert isinstance(outcome, Retry)
    assert (outcome.after, outcome.is_uncertain) == (17.0, False)


def test_a_fault_of_slacks_own_may_have_posted_all_the_same(slack):
    slack.refuse("chat.postMessage", "internal_error")
    outcome = send(bot(slack), message(item()))
    assert isinstance(outcome, Retry)
    assert outcome.is_uncertain


@pytest.mark.parametrize("body", ["<html>log in to the hotel</html>", "[]", "", "null"])
def test_what_is_no_answer_of_slacks_is_tried_again(slack, body):
    slack.answers["chat.postMessage"] = deque([(200, body, {})])
    assert isinstance(send(bot(slack), message(item())), Retry)


# --- whom it calls -------------------------------------------------------------------------------


def test_what_is_critical_and_open_calls_whom_the_configuration_names(slack):
    notifier = bot(slack, mention="<@U123ABC> <!here>")
    first = send(notifier, message(item()))
    send(notifier, message(item(Notice.UPDATED, reference=first.reference)))
    send(notifier, message(item(Notice.RESOLVED, reference=first.reference)))
    send(notifier, message(item(id="other", severity=Severity.WARNING)))
    called = ["<@U123ABC> <!here>" in texts(each["blocks"]) for _, each in slack.requests]
    assert called == [True, False, False, False, False]


HOSTILE = "<!channel> <@U999> <https://evil.example|login> @here & *b* `c` ```"


def test_foreign_text_calls_nobody_and_links_nowhere(slack):
    scene = replace(SCENE, owner=HOSTILE, program=HOSTILE, user=HOSTILE, container=HOSTILE, pod=HOSTILE)
    told = message(item(scene=scene), item(id="other", scene=scene), host=Host(HOSTILE))
    send(bot(slack), told)
    (sent,) = slack.messages.values()
    for text in (sent["text"], texts(sent["blocks"])):
        assert "<" not in text
        assert ">" not in text
        assert "&lt;!channel&gt;" in text
    assert (sent["parse"], sent["link_names"]) == ("none", False)
    kinds = [block["text"] for block in sent["blocks"] if "text" in block]
    assert all(each["type"] == "plain_text" or each["verbatim"] for each in kinds)


@settings(deadline=None, max_examples=60)
@given(
    name=st.text(min_size=1, max_size=600),
    count=st.integers(1, 256),
    notice=st.sampled_from(Notice),
    is_edit=st.booleans(),
)
def test_whatever_it_is_about_blocks_keep_slacks_limits(name, count, notice, is_edit):
    scene = replace(SCENE, owner=name, program=name, pod=name, namespace=name, gpu_name=name, model=name)
    items = [item(notice, id=f"{at:012}", scene=scene, course=COURSE) for at in range(count)]
    told = message(*items, host=Host(name), may_be_repeat=True)
    made = blockkit.blocks(told, mention="<!here>", is_edit=is_edit)
    assert faults(made) == []
    assert len(blockkit.without_blocks(told)) <= 4000


@given(text=st.text(), most=st.integers(10, 100))
def test_a_text_is_never_cut_within_an_entity(text, most):
    cut = blockkit.bounded(text, most)
    assert len(cut) <= most
    assert "&" not in cut.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")


def test_of_many_incidents_the_rest_is_counted(slack):
    send(bot(slack), message(*(item(id=f"{at:012}") for at in range(200))))
    (sent,) = slack.messages.values()
    shown = texts(sent["blocks"])
    listed = shown.count("  [0000")
    told = shown.count("Incident 0000")
    assert told >= 3
    assert f"and {200 - listed - told} more" in shown
    assert "vramwatch incidents --open" in shown


def test_the_payload_can_be_looked_at(slack, tmp_path):
    """With VRAMWATCH_SHOW=DIR it is written there, for Slack's Block Kit Builder."""
    warning = item(id="bbb", scene=replace(SCENE, owner="image"), severity=Severity.WARNING, course=COURSE)
    over = item(Notice.RESOLVED, id="ccc", state=State.RESOLVED, reason=Reason.RESTARTED)
    send(bot(slack, mention="<!here>"), message(item(course=COURSE), warning, over))
    (sent,) = slack.messages.values()
    file = Path(os.environ.get("VRAMWATCH_SHOW", tmp_path)) / "slack-payload.json"
    file.write_text(json.dumps({"blocks": sent["blocks"]}, indent=1, ensure_ascii=False))
    assert faults(json.loads(file.read_text())["blocks"]) == []


# --- charts --------------------------------------------------------------------------------------

IMAGE = b"\x89PNG of a test"


def test_charts_stand_in_the_thread_of_their_message(slack, monkeypatch):
    monkeypatch.setattr(module, "chart", lambda item, host, now: IMAGE if item.course else None)
    told = message(item(course=COURSE), item(id="bbb"), item(id="ccc", course=COURSE))
    outcome = send(bot(slack), told)
    ts = outcome.reference.partition("/")[2]
    assert follow(bot(slack), told, outcome) == "2 charts"
    assert slack.files == {"F1": IMAGE, "F2": IMAGE}
    (shared,) = slack.shared
    assert (shared["channel_id"], shared["thread_ts"]) == (CHANNEL, ts)
    assert [each["id"] for each in shared["files"]] == ["F1", "F2"]


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "upload", "files.completeUploadExternal"])
def test_a_chart_that_fails_is_no_reason_to_send_again(slack, monkeypatch, method):
    monkeypatch.setattr(module, "chart", lambda item, host, now: IMAGE)
    slack.refuse(method, "missing_scope", 500 if method == "upload" else 200, needed="files:write")
    told = message(item(course=COURSE))
    outcome = send(bot(slack), told)
    assert outcome.detail == "posted"
    assert follow(bot(slack), told, outcome).startswith("no chart: ")
    assert len(slack.messages) == 1


def test_an_update_has_no_chart_and_a_webhook_takes_none(slack, monkeypatch):
    monkeypatch.setattr(module, "chart", lambda item, host, now: IMAGE)
    first = send(bot(slack), message(item()))
    told = message(item(Notice.UPDATED, reference=first.reference, course=COURSE))
    assert follow(bot(slack), told, send(bot(slack), told)) == ""
    told, hook = message(item(course=COURSE)), Notifier(url=slack.hook)
    assert follow(hook, told, send(hook, told)) == ""
    assert not slack.files


# --- its configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "not exactly one way in"),
        ({"url": "https://hooks.slack.com/x", "token": TOKEN, "channel": CHANNEL}, "not exactly one way in"),
        ({"token": TOKEN}, "a token without channel"),
        ({"url": "https://hooks.slack.com/x", "channel": CHANNEL}, "a channel without token"),
        ({"token": "0123abcd", "channel": CHANNEL}, "begins with xoxb-"),
        ({"url": "hooks.slack.com/x"}, "url is not an address"),
        ({"url": "https://h/x", "api_url": "slack.com"}, "not an address"),
        ({"url": "https://h/x", "mention": "@alice"}, "no mention"),
        ({"url": "https://h/x", "mention": "<!here> and <https://evil.example>"}, "no mention"),
    ],
)
def test_options_that_cannot_work_are_refused_with_what_to_write(options, says):
    with pytest.raises(ValidationError) as caught:
        Notifier(**options)
    assert says in str(caught.value)


def test_one_entry_of_the_configuration_edits_with_a_token_and_not_with_a_webhook():
    from vramwatch.config.telling import AlertingOptions, ChannelOptions

    channels = [
        ChannelOptions(slack=options).channel("ops", AlertingOptions())
        for options in ({"url": "https://h/x"}, {"token": TOKEN, "channel": CHANNEL})
    ]
    assert [each.edits for each in channels] == [False, True]
