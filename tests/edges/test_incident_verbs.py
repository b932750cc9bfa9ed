"""``incidents``, ``why``, ``silence`` and ``check --send``, as they are called from a shell."""

import csv
import io
import json
import re
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tests.edges.test_store_telling import firing, notify
from tests.polls import START, holding, poll
from tests.telling import house, move
from vramwatch.cli import main
from vramwatch.cli.views.incidents import list_lines
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Reason, Severity, State, Subject
from vramwatch.core.model import SubjectKind
from vramwatch.core.silences import FIELDS
from vramwatch.core.units import GIB, Bytes
from vramwatch.core.verdicts import Cause, Evidence, RuledOut
from vramwatch.store import History, Store

ID, OTHER = "c0ffee00beef", "dec0de00beef"
LONG_AGO = ("--since", "2023-11-01")

EVIDENCE = Evidence(
    "memory held at rest rose by 2.0 GiB in 3h",
    {"growth_bytes": 2.0 * GIB, "span_seconds": 10800.0, "late_share": 0.53, "votes": 7.0},
    1_699_990_000.0,
    1_700_000_000.0,
    18,
)
LEAK = {
    "evidence": EVIDENCE,
    "forecast": Exhaustion(1_700_020_000.0, 1_700_018_000.0, 1_700_025_000.0),
    "ruled_out": (RuledOut(Cause.WARMUP, "its process has run for 9h", {"age_seconds": 32400.0}),),
    "alternatives": (Cause.FRAGMENTATION,),
    "others": ("idle_creep",),
    "pid": 42,
}
NOBODYS = Subject("GPU-hand", SubjectKind.UNATTRIBUTED)
SOONER = {**LEAK, "forecast": Exhaustion(1_700_010_000.0, 1_700_009_000.0, 1_700_012_000.0)}
PAST = {
    3: (move(State.PENDING, Reason.SEEN, **LEAK), move(State.PENDING, Reason.SEEN, OTHER, NOBODYS)),
    5: (move(**LEAK),),
    9: (move(reason=Reason.UPDATED, severity=Severity.CRITICAL, **SOONER),),
    11: (move(State.RESOLVED, Reason.CLEARED, OTHER, NOBODYS),),
}


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("VRAMWATCH_CONFIG", raising=False)
    with house(tmp_path) as there:
        yield there


@pytest.fixture
def past(service):
    """A service with one incident that fires and one that is over; its daemon has ended."""
    service.life(PAST, 16)
    return service


def call(service, *arguments, code=0):
    verb = [*arguments, "--config", str(service.folder / "config.yaml")]
    result = CliRunner().invoke(main, verb, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def calls(*arguments, code=0):
    return lambda service: call(service, *arguments, code=code)


# --- incidents ----------------------------------------------------------------------------------


def test_incidents_are_listed_with_what_fires_first_and_whom_it_was_told_to(past):
    heading, first, second = call(past, "incidents", *LONG_AGO).stdout.splitlines()
    assert heading.split() == ["id", "severity", "state", "opened", "ends", "told", "to", "what"]
    assert first.split()[:3] == [ID[:8], "CRITICAL", "firing"]
    assert "hook" in first
    assert "chat.service on GPU 0: a leak" in first
    assert second.split()[:3] == [OTHER[:8], "warning", "resolved"]


@pytest.mark.parametrize(
    ("narrowed", "ids"),
    [
        ((), {ID, OTHER}),
        (("--open",), {ID}),
        (("--state", "res*"), {OTHER}),
        (("--severity", "critical"), {ID}),
        (("--owner", "ch*"), {ID}),
        (("--owner", "unit:chat*", "--cause", "leak", "--gpu", "0"), {ID}),
        (("--unit", "chat.service", "--state", "resolved"), set()),
        (("--pod", "*"), set()),
    ],
)
def test_the_list_is_narrowed_down_by_globs(past, narrowed, ids):
    told = json.loads(call(past, "incidents", *LONG_AGO, *narrowed, "--format", "json").stdout)
    assert {each["incident"] for each in told} == ids


def test_what_is_over_is_listed_as_far_back_as_is_asked_and_nothing_is_told_in_words(past):
    assert json.loads(call(past, "incidents", "--format", "json").stdout)[0]["incident"] == ID
    empty = call(past, "incidents", "--owner", "server")
    assert (empty.stdout, empty.stderr) == (
        "",
        "vramwatch: no incident that fits is open or has moved since 7d\n",
    )


def test_the_formats_tell_the_same(past):
    whole = json.loads(call(past, "incidents", *LONG_AGO, "--format", "json").stdout)
    lines = call(past, "incidents", *LONG_AGO, "--format", "ndjson").stdout.splitlines()
    rows = list(csv.DictReader(io.StringIO(call(past, "incidents", *LONG_AGO, "--format", "csv").stdout)))
    assert [json.loads(each) for each in lines] == whole
    assert [row["incident"] for row in rows] == [each["incident"] for each in whole]
    firing = next(row for row in rows if row["incident"] == ID)
    assert (firing["told"], firing["severity"], firing["exhaustion_at"]) == (
        "hook",
        "critical",
        "1700010000.0",
    )
    assert next(each["id"] for each in whole if each["incident"] == ID) == f"{ID}@gpu7"


def test_a_narrow_terminal_gets_two_lines_for_each(past):
    with closing(History.open(past.store)) as history:
        entries = history.casebook.entries(0.0)
    lines = [str(each) for each in list_lines(entries, {}, 1_700_000_020.0, 44, None)]
    assert max(map(len, lines)) <= 44
    assert any("told to hook" in each for each in lines)


def test_one_incident_is_shown_by_how_its_id_begins_and_with_its_host(past):
    for written in (ID, "c0f", "C0FFEE", f"{ID}@gpu7", "c0f@gpu7"):
        told = call(past, "incidents", "show", written).stdout
        assert told.startswith("CRITICAL  chat on GPU 0: a leak")
        assert f"{ID}@gpu7" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("incidents", "show", "beef"), "no incident 'beef'; those there are: "),
        (("incidents", "show", "c0f@gpu8"), "an incident of gpu8, and this history is of gpu7; ask on gpu8"),
        (("why", "nonsense"), "no incident 'nonsense'"),
        (("incidents", "mark", ID), "write --false-alarm or --true-alarm, one of them"),
        (("incidents", "mark", ID, "--false-alarm", "--true-alarm"), "one of them"),
        (("incidents", "--cause", "leek"), "--cause: no cause is called 'leek'; there are: leak, kv_cache"),
        (("incidents", "--severity", "bad"), "no severity is called 'bad'; there are: warning, critical"),
        (("incidents", "--owner", "chta"), "no owner here is called 'chta'; there are: server"),
        (("incidents", "--gpu", "1"), "--gpu '1' is not among the GPUs of this store: 0 (GPU-hand)"),
        (("incidents", "--state", "open"), "there are: pending, firing, resolved"),
        (("incidents", "--open", "show", ID), "write options after show, not before it"),
        (("silence", "add", "--for", "1h", "--reason", "x"), "write what to silence"),
        (("silence", "add", "--all", "--owner", "x", "--for", "1h", "--reason", "x"), "--all for everything"),
        (("silence", "add", "--all", "--reason", "x"), "either --for 2h or --until 06:00"),
        (("silence", "add", "--all", "--for", "soon", "--reason", "x"), "--for: 'soon' is not a duration"),
        (("silence", "add", "--all", "--until", "yesterday", "--reason", "x"), "no moment to come"),
        (("silence", "add", "--cause", "leek", "--for", "1h", "--reason", "x"), "there are: leak, kv_cache"),
        (("check", "--send", "pager"), "no channel 'pager'; there are: hook"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_do(past, arguments, told):
    assert told in call(past, *arguments, code=2).stderr


def test_what_is_left_is_counted_from_the_newest_poll_also_where_one_incident_is_shown(service):
    service.life(PAST, 600)
    shown = call(service, "incidents", "show", ID).stdout
    assert shown.splitlines()[0] == call(service, "why", ID).stdout.splitlines()[0]
    assert "The figures are of 2023-11-14 22:13, when it moved last." in shown


def test_an_end_that_has_passed_is_told_as_one_that_was_to_come(service):
    """Its forecast is of before: what became of it the GPU's own figures say."""
    service.life(PAST, 40, every=600.0)
    assert "memory was to run out by now" in call(service, "why", ID).stdout.splitlines()[0]
    assert "Memory was to run out at 2023-11-15 01:00" in call(service, "why", ID).stdout
    assert "memory was to run out by now" in call(service, "incidents", "show", ID).stdout
    assert "01:00 (past)" in call(service, "incidents", *LONG_AGO).stdout


@pytest.mark.parametrize("verb", [("why", ID), ("incidents", "show", ID)], ids=" ".join)
def test_an_answer_from_a_store_that_nobody_fills_says_of_when_it_is(past, verb):
    assert "the newest reading is of 2023-11-14 22:13: what follows is of then" in call(past, *verb).stderr


def test_what_was_marked_need_not_be_marked_again(service):
    mark = calls("incidents", "mark", ID, "--false-alarm")
    service.life({**PAST, 20: (move(State.RESOLVED, Reason.CLEARED, **LEAK),)}, 30, {25: mark})
    told = call(service, "why", ID).stdout
    assert "incidents mark" not in told
    assert told.splitlines()[-1].endswith("vramwatch incidents")


def test_an_id_that_may_mean_several_is_told_with_those(service):
    service.life({3: (move(), move(id="c0ffee00cafe"))}, 6)
    told = call(service, "why", "c0ffee", code=2).stderr
    assert "may be any of c0ffee00beef, c0ffee00cafe; write more of it" in told


def test_what_changes_something_says_how_to_start_a_daemon_where_there_is_none(past):
    for verb in (("ack", ID), ("resolve", ID), ("mark", ID, "--false-alarm")):
        assert "vramwatch run" in call(past, "incidents", *verb, code=1).stderr


def test_an_incident_is_acknowledged_marked_and_resolved_through_the_daemon(service):
    replies = service.life(
        PAST,
        30,
        {
            12: calls("incidents", "ack", "c0f", "--by", "anna", "--note", "restart tonight"),
            14: calls("incidents", "mark", "c0f@gpu7", "--true-alarm"),
            16: calls("incidents", "resolve", ID, "--by", "anna"),
        },
    )
    assert replies[0].stdout.startswith(f"{ID} acknowledged by anna as ")
    assert replies[1].stdout.startswith(f"{ID} marked as a true alarm by ")
    assert replies[2].stdout.startswith(f"{ID} resolved by anna as ")
    shown = call(service, "incidents", "show", ID).stdout
    assert shown.startswith("RESOLVED  chat on GPU 0: a leak, a person resolved it")
    assert "restart tonight" in shown
    record = json.loads(call(service, "incidents", "show", ID, "--format", "json").stdout)[0]
    assert [each["kind"] for each in record["remarks"]] == ["ack", "true_alarm", "resolve"]


def test_what_returns_after_a_person_resolved_it_is_pending_and_nothing_else(service):
    returned = (move(State.PENDING, Reason.RETURNED, **LEAK),)
    service.life(PAST, 16, {13: calls("incidents", "resolve", ID, "--by", "anna")})
    assert "resolved" in call(service, "incidents", *LONG_AGO, "--owner", "ch*").stdout.splitlines()[1]
    service.life({17: returned}, 18)
    line = call(service, "incidents", *LONG_AGO, "--owner", "ch*").stdout.splitlines()[1]
    assert line.split()[:3] == [ID[:8], "warning", "pending"]
    assert "resolved" not in line


def test_through_a_pipe_no_line_of_the_list_is_cut(service):
    trouble = "what is seen cannot be kept: " + "a very long reason, " * 20
    own = Subject("", SubjectKind.VRAMWATCH, "store")
    evidence = Evidence(trouble, {}, 1_699_990_000.0, 1_700_000_000.0, 1)
    service.life({3: (move(subject=own, evidence=evidence),)}, 8)
    assert trouble.strip() in call(service, "incidents", *LONG_AGO).stdout


# --- why ----------------------------------------------------------------------------------------


def sections(text):
    """Return heading -> what stands below it, on one line."""
    parts = text.split("\n\n")
    return {part.splitlines()[0]: " ".join(part.split("\n", 1)[1].split()) for part in parts}


def test_why_counts_the_time_left_from_the_newest_poll_and_not_from_the_last_move(service):
    service.life(PAST, 16, every=300.0)  # it moved last after 45m, and was seen for 30m more
    assert "memory runs out in 1h 31m" in call(service, "why", "c0f").stdout.splitlines()[0]


def test_why_says_in_words_what_a_number_compares_with_what(service):
    numbers = {"growth_bytes": 2.0 * GIB, "z": 5.146671, "late_share": 0.5531, "steps": 3.0}
    judged = replace(EVIDENCE, numbers=numbers)
    layer = RuledOut(Cause.FRAGMENTATION, "3% of the growth of 2.0 GiB is cached", {"growth_bytes": 61e6})
    moved = move(State.PENDING, Reason.SEEN, **{**LEAK, "evidence": judged, "ruled_out": (layer,)})
    service.life({3: (moved,)}, 8)
    told = sections(call(service, "why", "c0f").stdout)
    assert (
        "So steady a rise is 5.15 standard deviations away from what chance gives (Mann-Kendall), "
        "55.3 % of it came in the second half of that time, steps 3."
    ) in told["Evidence"]
    assert told["What was ruled out"].endswith("is cached. That is 58.2 MiB of growth.")


def test_why_tells_the_whole_chain(service):
    service.life(PAST, 16, {6: calls("incidents", "ack", ID, "--note", "seen")})
    told = sections(call(service, "why", "c0f").stdout)
    assert "CRITICAL  chat on GPU 0: a leak, memory runs out in 2h 46m" in told
    assert "unit chat.service, user alice" in told["Who"]
    assert "17.0 GiB" in told["Who"]
    why = told["Evidence"]
    assert "floor: memory held at rest rose by 2.0 GiB in 3h." in why
    assert (
        "+5.1 MiB). 53 % of it came in the second half of that time, votes 7." in why
    )  # growth and span stand in the sentence
    assert "18 observations" in why
    assert "Seen by idle_creep too." in why
    assert told["What was ruled out"] == "Not warm-up: its process has run for 9h."
    assert told["What else it could be"].startswith("allocator fragmentation")
    assert "At 2023-11-14 22:13 it was 2023-11-15 03:46" in told["When memory runs out"]
    went = told["Timeline"]
    assert [went.count(word) for word in ("pending, warning", "firing, warning", "firing, critical")] == [
        1,
        1,
        1,
    ]
    assert told["Who was told"].count("delivered at") == 2
    assert "hook, opened" in told["Who was told"]
    assert "hook, worse" in told["Who was told"]
    assert "HTTP 200: ok" in told["Who was told"]
    assert told["What people said"].endswith(": seen")
    assert told["Next, on gpu7"].startswith("systemctl restart chat.service VRAMWATCH_CONFIG=")


def test_why_tells_what_was_withheld_and_why(service):
    service.alerting = "{group_wait: 0s}"
    service.life(PAST, 16)
    told = sections(call(service, "why", ID).stdout)["Who was told"]
    assert "hook, opened: withheld (observe): observing for 6d 23h more." in told


def test_why_tells_of_a_receiver_that_does_not_take_it(service):
    service.receiver.answers(503, "overloaded")
    service.life(PAST, 16)
    told = sections(call(service, "why", ID).stdout)["Who was told"]
    assert "not taken yet" in told
    assert "503" in told
    assert "hush" not in told


def test_why_tells_what_memory_did_since_it_was_told_last(service):
    """The bytes are those of its owner in the history, from the newest message to the newest poll."""
    service.write_config()
    with closing(Store.open(service.store, "nvml", "0.1.0")) as store:
        for seq in range(1, 12):
            moved, steps = (), ()
            if seq == 4:
                moved, steps = (firing(seq, ID, "llama"),), (notify(ID),)
            each = poll(seq, holding(7, Bytes(seq * GIB)))
            store.write(replace(each, transitions=moved, steps=steps))
    told = sections(call(service, "why", ID).stdout)["Memory since it opened"]
    assert told.startswith("Held 4.0 GiB at")
    assert "when it was to be told last; 11.0 GiB at" in told
    assert told.endswith("(+7.0 GiB).")
    record = json.loads(call(service, "why", ID, "--format", "json").stdout)
    assert record["memory"]["then_bytes"] == 4 * GIB
    assert record["memory"]["now_bytes"] == 11 * GIB
    assert record["memory"]["since"] == START + 4


def test_why_as_data_holds_every_move_every_step_and_every_word(past):
    record = json.loads(call(past, "why", ID, "--format", "json").stdout)
    assert [each["reason"] for each in record["transitions"]] == ["seen", "established", "updated"]
    assert [each["notice"] for each in record["steps"]] == ["opened", "worse"]
    assert [each["delivery"]["outcome"] for each in record["steps"]] == ["delivered", "delivered"]
    assert record["who"] == "unit chat.service, user alice"
    assert record["remarks"] == []


# --- silences -----------------------------------------------------------------------------------


def test_silences_are_added_listed_and_expired(service):
    replies = service.life(
        PAST,
        30,
        {
            2: calls("silence", "add", "--owner", "ch*", "--gpu", "0", "--for", "2h", "--reason", "long run"),
            14: calls("silence", "expire", "s1"),
        },
    )
    assert replies[0].stdout.startswith("s1 silences owner=ch* gpu=0 until 2023-11-15 00:13")
    assert replies[1].stdout == "s1 has ended; what still stands is told now\n"
    nothing = call(service, "silence", "list")
    assert (nothing.stdout, nothing.stderr) == ("", "vramwatch: nothing is silenced\n")
    over = call(service, "silence", "list", "--all").stdout
    assert "owner=ch* gpu=0" in over
    assert "long run" in over
    (record,) = json.loads(call(service, "silence", "list", "--all", "--format", "json").stdout)
    assert record["matcher"] == {"gpu": "0", "owner": "ch*"}
    (row,) = csv.DictReader(io.StringIO(call(service, "silence", "list", "--all", "--format", "csv").stdout))
    assert (row["id"], row["matcher"]) == ("s1", "owner=ch* gpu=0")


@pytest.mark.parametrize(
    ("wait", "channels", "told"),
    [
        ("30s", ("hook",), "what still stands is told in 30s, together (alerting.group_wait)"),
        ("0s", ("hook",), "what still stands is told now"),
        ("30s", (), "nobody is told, for no channel is configured"),
    ],
)
def test_the_end_of_a_silence_says_when_what_was_kept_back_is_told(service, wait, channels, told):
    service.alerting = f"{{mode: tell, group_wait: {wait}, group_interval: 0s}}"
    service.channels = channels
    add = calls("silence", "add", "--all", "--for", "2h", "--reason", "burn-in")
    _, ended = service.life(PAST, 20, {2: add, 8: calls("silence", "expire", "s1")})
    assert ended.stdout == f"s1 has ended; {told}\n"


def test_one_incident_is_silenced_by_how_its_id_begins_and_what_begins_none_is_refused(service):
    silence = "silence", "add", "--for", "2h", "--reason", "known", "--incident"
    between = {6: calls(*silence, "c0f"), 8: calls(*silence, "ffff", code=2)}
    added, refused = service.life(PAST, 16, between)
    assert added.stdout.startswith(f"s1 silences incident={ID} until ")
    assert "no incident 'ffff'" in refused.stderr


def test_a_silence_of_a_gpu_is_refused_by_the_daemon_once_it_knows_its_gpus(service):
    silence = calls("silence", "add", "--gpu", "7", "--for", "2h", "--reason", "burn-in", code=2)
    (refused,) = service.life(PAST, 16, {6: silence})
    assert "no GPU is called '7'; there are: 0 (GPU-hand)" in refused.stderr


def test_a_silence_for_an_owner_that_nobody_knows_is_set_and_those_that_are_known_are_named(service):
    silence = "silence", "add", "--for", "2h", "--reason", "to come", "--owner"
    unknown, known = service.life(PAST, 16, {6: calls(*silence, "chta*"), 8: calls(*silence, "server")})
    assert unknown.stdout.startswith("s1 silences owner=chta* until ")
    assert unknown.stderr == "vramwatch: no owner is called 'chta*' so far; there are: server\n"
    assert known.stderr == ""


@pytest.mark.parametrize("span", ["0s", "400d"])
def test_a_silence_that_lasts_too_long_or_not_at_all_is_refused_with_what_is_allowed(service, span):
    silence = calls("silence", "add", "--all", "--reason", "x", "--for", span, code=2)
    (refused,) = service.life(PAST, 8, {6: silence})
    assert f"more than 0 and at most 365d, as in 2h; this is {span}" in refused.stderr


# --- check --send -------------------------------------------------------------------------------


def test_a_test_message_goes_through_the_daemon_and_its_answer_is_printed(service):
    service.receiver.answers(200, "thanks")
    (reply,) = service.life({}, 16, {5: calls("check", "--send", "hook")})
    assert reply.stdout == "hook: delivered, from the service: HTTP 200: thanks\n"
    assert "Sent from a shell" not in service.told[0]["text"]


def test_who_cannot_read_the_secrets_may_have_a_test_sent_all_the_same(service):
    """The daemon has them, and is who sends."""
    service.receiver.answers(200, "thanks")
    config = service.folder / "config.yaml"
    send = calls("check", "--send", "hook")

    def without_the_secret(service):
        written = config.read_text()
        config.write_text(re.sub(r"url: '[^']*'", "url: env:NOBODY_HAS_THIS", written))
        return send(service)

    (reply,) = service.life({}, 16, {5: without_the_secret})
    assert reply.stdout == "hook: delivered, from the service: HTTP 200: thanks\n"
    assert reply.stderr == ""  # that it cannot be read here is no fault of the configuration
    assert "the environment has no NOBODY_HAS_THIS" in call(service, "check", code=78).stderr


def test_without_a_daemon_it_is_sent_from_this_shell_and_says_so(past):
    past.receiver.got.clear()
    reply = call(past, "check", "--send", "hook")
    assert reply.stdout == "hook: delivered, from this shell, not from the service: HTTP 200: ok\n"
    (message,) = past.told
    assert message["kind"] == "test"
    assert "Sent from a shell, not from the service." in message["text"]


@pytest.mark.parametrize(("status", "word"), [(404, "rejected"), (503, "not delivered")])
def test_a_receiver_that_does_not_take_it_makes_exit_code_1(past, status, word):
    past.receiver.answers(status, "sorry")
    reply = call(past, "check", "--send", "hook", code=1)
    assert reply.stdout.startswith(f"hook: {word}, from this shell, not from the service: ")
    assert "sorry" in reply.stdout
    assert "hush" not in reply.stdout


def test_without_a_daemon_a_port_that_is_closed_is_told_of_with_its_host_and_port(tmp_path, monkeypatch):
    monkeypatch.delenv("VRAMWATCH_CONFIG", raising=False)
    with house(tmp_path) as service:
        service.write_config()
    reply = call(service, "check", "--send", "hook", code=1)
    refused = f"127.0.0.1:{service.receiver.port}: Connection refused"
    assert reply.stdout == f"hook: not delivered, from this shell, not from the service: {refused}\n"


def test_a_silence_may_name_every_field_that_a_channel_may_be_narrowed_by():
    options = {each.name for each in main.get_command(None, "silence").commands["add"].params}
    assert set(FIELDS) <= options


def test_history_that_is_read_elsewhere_is_of_the_host_that_kept_it(past, tmp_path):
    """As where a trial's store is named alone: this machine, or a configuration, is called otherwise."""
    store = ("--store", str(past.store))
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text("host: {name: laptop}\n")

    def ask(*verb, code=0):
        result = CliRunner().invoke(main, [*verb, *store, "--config", str(elsewhere)], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    for verb in (("why", f"{ID}@gpu7"), ("incidents", "show", f"{ID}@gpu7")):
        assert f"{ID}@gpu7" in ask(*verb).stdout
    ask("report", f"{ID}@gpu7", "-o", str(tmp_path / "report.html"))
    assert f"{ID}@gpu7" in (tmp_path / "report.html").read_text()
    assert "of laptop, and this history is of gpu7" in ask("why", f"{ID}@laptop", code=2).stderr


def test_the_next_commands_name_the_store_and_the_configuration_that_were_named(past):
    config, store = past.folder / "config.yaml", past.folder / "vramwatch.db"
    told = call(past, "why", ID, "--store", str(store)).stdout
    assert f"VRAMWATCH_CONFIG={config} vramwatch incidents ack {ID}" in told
    assert f"VRAMWATCH_CONFIG={config} vramwatch status --store {store}" in told
    shown = call(past, "incidents", "show", ID, "--store", str(store)).stdout
    assert f"VRAMWATCH_CONFIG={config} vramwatch why {ID} --store {store}" in shown
    refused = call(past, "why", "dead", "--store", str(store), code=2).stderr
    assert f"vramwatch incidents --store {store}" in refused


def test_an_unknown_id_or_name_is_bad_usage_of_whichever_verb(service):
    """Exit code 2, whether the store is read or the daemon refuses."""
    asked = (
        ("incidents", "ack", "dead"),
        ("incidents", "resolve", "dead"),
        ("incidents", "mark", "dead", "--true-alarm"),
        ("silence", "expire", "s9"),
        ("check", "--send", "nobody"),
        ("why", "dead"),
        ("incidents", "show", "dead"),
        ("report", "dead", "-o", str(service.folder / "report.html")),
    )
    replies = service.life(PAST, 30, {5 + n: calls(*verb, code=2) for n, verb in enumerate(asked)})
    assert [reply.exit_code for reply in replies] == [2] * len(asked)
