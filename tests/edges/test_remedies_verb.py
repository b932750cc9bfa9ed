"""``remedies``, ``check``, ``why`` and ``status`` as people call them, after something was done."""

import json
import threading
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tests.treated import GROWTH, Ward
from vramwatch.cli import main
from vramwatch.cli.views.remedies import remedies_lines
from vramwatch.core.messages import Host, Item, sentences
from vramwatch.core.policy import Notice


@pytest.fixture
def ward(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    one = Ward(tmp_path, "{ask: {mode: apply}, signal: {mode: dry_run}}")
    one.live()
    return one


def call(ward, *words):
    config = ("--config", str(ward.folder / "config.yaml"))
    result = CliRunner().invoke(main, [*words, *config], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_why_tells_what_was_done_and_what_the_driver_says_of_it(ward):
    told = call(ward, "why", "c0ffee00beef")
    assert "What was done about it" in told
    flat = " ".join(told.split())
    assert "ask pid 42 to clear: callback, gc, empty_cache: recovered (2.0 GiB came back within" in flat
    assert "it was held up for 10 ms" in flat


def test_why_as_data_has_every_attempt_with_its_figures(ward):
    (action,) = json.loads(call(ward, "why", "c0ffee00beef", "--format", "json"))["actions"]
    attempt = action["attempt"]
    assert (attempt["result"], attempt["freed_bytes"], attempt["pids"]) == ("recovered", GROWTH, [42])
    assert attempt["before_bytes"] - attempt["wanted_bytes"] == 9 * 2**30


def test_why_tells_what_was_withheld_and_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    ward = Ward(tmp_path, "{ask: {mode: apply}, forbidden: [chat]}")
    ward.live()
    assert "withheld (forbidden): the configuration says: never chat." in call(ward, "why", "c0ffee00beef")


def test_the_list_shows_the_table_and_what_was_done_last(ward):
    told = " ".join(call(ward, "remedies", "list").split())
    assert "fragmentation ask, then signal (dry run), then a person (off: engine)" in told
    assert "leak a person (off: command)" in told
    assert "load never: load is what the memory is for" in told
    assert "Not known whether they are on: no daemon listens" in told


def test_the_list_as_data_has_each_cause_with_its_remedies_and_their_modes(ward):
    told = json.loads(call(ward, "remedies", "list", "--format", "json"))
    assert told["table"]["fragmentation"] == {"ask": "apply", "signal": "dry_run", "engine": None}
    assert told["table"]["load"] == {}


def test_check_prints_the_table_where_a_remedy_is_configured(ward):
    told = " ".join(call(ward, "check").split())
    assert "has memory given back by ask as docs/remedies.md says" in told
    assert (
        "kv_cache only what is kept while no request runs: ask, then signal (dry run), then a person" in told
    )


def test_without_a_remedy_check_says_that_no_process_is_touched(tmp_path):
    ward = Ward(tmp_path, "{}")
    ward.config()
    told = call(ward, "check")
    assert "touches no process" in told
    assert "fragmentation" not in told


def test_switching_without_a_daemon_says_so_and_changes_nothing(ward):
    result = CliRunner().invoke(main, ["remedies", "off", "--config", str(ward.folder / "config.yaml")])
    assert result.exit_code == 1
    assert "no daemon listens" in result.stderr
    assert not ward.off_file.exists()


def test_a_message_says_what_was_done(ward):
    (attempt,) = ward.attempts()
    moved = ward.moved()
    item = Item(Notice.UPDATED, moved, attempts=(attempt,))
    assert any(each.startswith("What was done: ask pid 42") for each in sentences(item, Host("gpu7")))
    assert not any("What was done" in each for each in sentences(replace(item, attempts=()), Host("gpu7")))


def test_status_shows_what_the_last_action_freed(ward):
    told = " ".join(call(ward, "status", "--store", str(ward.store)).split())
    assert "What was done last" in told
    assert "chat: ask pid 42 to clear: callback, gc, empty_cache: recovered (2.0 GiB came back" in told
    (attempt,) = json.loads(call(ward, "status", "--store", str(ward.store), "--format", "json"))["attempts"]
    assert attempt["freed_bytes"] == GROWTH


def test_the_list_shows_the_modes_that_the_daemon_goes_by_and_that_the_file_says_otherwise(ward):
    def look():
        file = ward.folder / "config.yaml"
        file.write_text(file.read_text().replace("ask: {mode: apply}", "ask: {mode: dry_run}"))
        told.append(json.loads(call(ward, "remedies", "list", "--format", "json")))
        told.append(" ".join(call(ward, "remedies", "list").split()))

    told = []
    asking = threading.Thread(target=look)
    meanwhile = dict.fromkeys(range(1, 5000), lambda: asking.ident and asking.join(0.01))
    first = ward.place.seq + 5
    ward.live(script={}, polls=400, listening=True, before={**meanwhile, first: asking.start})
    asking.join()
    data, text = told
    assert data["table"]["fragmentation"]["ask"] == "apply"
    assert data["configured"]["fragmentation"]["ask"] == "dry_run"
    assert "The table is the daemon's; " in text
    assert "says otherwise: where that is its file, have it read again (SIGHUP)" in text


def test_what_the_daemon_has_is_shown_where_this_configuration_has_no_remedy_and_that_it_is_off(ward):
    def look():
        file = ward.folder / "config.yaml"
        file.write_text(file.read_text().replace("{ask: {mode: apply}, signal: {mode: dry_run}}", "{}"))
        told.append(call(ward, "remedies", "off"))
        told.append(" ".join(call(ward, "remedies", "list").split()))

    told = []
    asking = threading.Thread(target=look)
    meanwhile = dict.fromkeys(range(1, 5000), lambda: asking.ident and asking.join(0.01))
    first = ward.place.seq + 5
    ward.live(script={}, polls=400, listening=True, before={**meanwhile, first: asking.start})
    asking.join()
    off, listed = told
    assert "vramwatch remedies on` removes it" in off
    assert listed.startswith("Off: switched off by ")
    assert "fragmentation ask, then signal (dry run), then a person" in listed


def test_that_remedies_are_off_is_said_also_where_none_is_configured():
    (said, *_) = remedies_lines((), "Off: switched off by anna.", None, (), 200)
    expected = "No remedy is configured: nothing is done to any process. Off: switched off by anna."
    assert str(said) == expected


def test_what_would_have_been_done_stands_beside_what_was_done(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    ward = Ward(tmp_path, "{ask: {mode: dry_run}}")
    ward.live()
    told = " ".join(call(ward, "status", "--store", str(ward.store)).split())
    assert "What was done last, or would have been" in told
    assert "chat: would ask pid 42 to clear: callback, gc, empty_cache (dry run)" in told


def test_check_warns_of_a_program_that_cannot_be_run_and_says_what_to_do(tmp_path):
    """A warning alone: the service's user, and its machine, may have it."""
    remedies = "{command: {argv: [/no/such/program], owners: [chat]}, permit: {argv: [/no/such/permit]}}"
    ward = Ward(tmp_path, remedies)
    ward.config()
    result = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "config.yaml")])
    assert result.exit_code == 0
    assert "warn  remedy command: /no/such/program: there is no such program" in result.stderr
    assert "/no/such/permit: there is no such program" in result.stderr
    assert "-> name a program by its absolute path that the service's user may run" in result.stderr
