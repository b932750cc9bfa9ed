"""From a growth that is established to memory that came back, or to a person: the daemon and its store."""

import json
import sys
import threading
import time
from dataclasses import replace

import pytest

from tests.treated import GROWTH, HELLO, IDLE, KEY, PID, UUID, Ward, grown
from vramwatch.control import control
from vramwatch.core.attempts import RemedyName, Result
from vramwatch.core.errors import StoreError
from vramwatch.core.ladder import Hindrance
from vramwatch.core.policy import Notice
from vramwatch.core.units import GIB
from vramwatch.core.verdicts import Cause
from vramwatch.core.wording import attempt_words
from vramwatch.sdk.wire import Device
from vramwatch.store import History, Store
from vramwatch.store.desk import Desk
from vramwatch.treating.treatment import Treatment


@pytest.fixture
def ward(tmp_path):
    return Ward(tmp_path)


def results(ward):
    return [each.result for each in ward.attempts()]


def reasons(ward):
    return [each.hindrance for each in ward.withheld()]


def test_a_worker_that_is_asked_gives_back_and_the_driver_s_figure_proves_it(ward):
    ward.live()
    (attempt,) = ward.attempts()
    assert [key for key, _ in ward.server.asked] == [KEY]
    assert attempt.apply.remedy is RemedyName.ASK
    assert attempt.result is Result.RECOVERED
    assert attempt.outcome.freed == GROWTH
    assert attempt.outcome.seconds < 2.0
    assert attempt.outcome.pause == ward.server.pause
    assert 0.25 in ward.place.waited


def test_no_remedy_is_configured_by_default_and_nothing_is_said_of_any(ward):
    ward.remedies = "{}"
    ward.live()
    assert not ward.server.asked
    assert not ward.actions()


def test_a_dry_run_keeps_the_plan_once_and_asks_nobody(ward):
    ward.remedies = "{ask: {mode: dry_run}}"
    ward.live(polls=1500)
    (attempt,) = ward.attempts()
    assert (attempt.result, attempt.apply.dry_run) == (Result.DRY_RUN, True)
    assert not ward.server.asked


def test_the_plan_of_a_dry_run_is_that_of_the_attempt(tmp_path):
    wards = [Ward(tmp_path / mode, f"{{ask: {{mode: {mode}}}}}") for mode in ("dry_run", "apply")]
    plans = []
    for ward in wards:
        ward.folder.mkdir()
        ward.live()
        plans.append(replace(ward.attempts()[0].apply, dry_run=False, id=""))
    assert plans[0] == plans[1]


def test_a_worker_that_says_done_and_frees_nothing_opens_the_circuit(ward):
    ward.remedies = "{ask: {mode: apply, cooldown: 5m}, per_owner: 9}"
    ward.server.frees = 0
    ward.live(polls=3000)
    assert results(ward) == [Result.INEFFECTIVE] * 3
    assert reasons(ward)[-1] is Hindrance.CIRCUIT_OPEN
    assert "person" in ward.withheld()[-1].detail


@pytest.mark.parametrize("why", [Hindrance.CIRCUIT_OPEN, Hindrance.WORKING_SET])
def test_where_remedies_are_given_up_a_person_is_told_at_once_and_once(ward, why):
    ward.channels = "{hook: {webhook: {url: 'http://127.0.0.1:9/hush'}}}"  # nobody is there
    before = {}
    if why is Hindrance.CIRCUIT_OPEN:
        ward.remedies = "{ask: {mode: apply}, give_up_after: 1}"
        ward.server.frees = 0
    else:
        before[60] = lambda: ward.server.held.update({PID: 10 * GIB})
    ward.live(polls=2000, before=before)
    gave_up = ward.actions()[-1]
    assert gave_up.withheld.hindrance is why
    steps = History.open(ward.store).casebook.chain("c0ffee00beef").steps
    told = [each for each in steps if each.wall < gave_up.wall + 3600.0]
    assert [each.step.notice for each in told] == [Notice.OPENED, Notice.REPEATED]
    assert 0 < told[1].wall - gave_up.wall <= 10.0, "at the next poll"


def test_a_busy_worker_is_waited_for_and_clears_at_its_safe_point(ward):
    ward.server.says = ("busy", *(["busy"] * 100), "done")
    ward.live(polls=400)
    (attempt,) = ward.attempts()
    assert attempt.result is Result.RECOVERED
    assert attempt.outcome.seconds > 60.0


def test_a_worker_that_stays_busy_is_not_climbed_over(ward):
    ward.remedies = "{ask: {mode: apply, busy_for: 1m}, signal: {mode: apply}}"
    ward.server.says = ("busy",)
    ward.live(polls=500)
    assert results(ward)[0] is Result.BUSY
    assert not ward.server.signals


def test_a_worker_that_does_not_answer_is_signalled_by_the_name_it_consents_to(ward):
    ward.remedies = "{ask: {mode: apply}, signal: {mode: apply}}"
    ward.server.says = ()
    ward.live(polls=300)
    assert results(ward) == [Result.UNANSWERED, Result.INEFFECTIVE]
    assert ward.server.signals == [(KEY, "SIGURG")]


def test_who_has_answered_is_not_signalled(ward):
    ward.remedies = "{ask: {mode: apply}, signal: {mode: apply}}"
    ward.server.frees = 0
    ward.live(polls=2000)
    assert not ward.server.signals


def test_who_never_enrolled_is_never_touched(ward):
    ward.remedies = "{ask: {mode: apply}, signal: {mode: apply}}"
    ward.server.hellos = {}
    ward.live()
    assert not ward.server.asked
    assert not ward.server.signals
    assert reasons(ward) == [Hindrance.PERSON]


def test_a_worker_that_trains_is_left_alone(ward):
    ward.server.report = replace(IDLE, training=True)
    ward.live()
    assert not ward.server.asked
    assert reasons(ward) == [Hindrance.TRAINING]


def test_a_forbidden_owner_is_left_alone_by_its_name(ward):
    ward.remedies = "{ask: {mode: apply}, forbidden: ['cha*']}"
    ward.live()
    assert not ward.server.asked
    assert reasons(ward) == [Hindrance.FORBIDDEN]


def test_a_leak_is_a_person_s_unless_a_command_is_configured(ward):
    ward.live({3: (grown(Cause.LEAK),)})
    assert not ward.server.asked
    assert reasons(ward) == [Hindrance.PERSON]


@pytest.mark.parametrize("cause", [Cause.LOAD, Cause.WARMUP, Cause.SPIKE, Cause.KV_CACHE])
def test_what_is_no_fault_is_never_acted_on(ward, cause):
    ward.live({3: (grown(cause),)})
    assert not ward.server.asked
    assert reasons(ward) == [Hindrance.NEVER]


def test_a_kv_cache_is_asked_for_only_where_its_worker_keeps_it_without_a_request(ward):
    ward.server.report = replace(IDLE, devices=(Device(UUID, kv_resident=2 * GIB),))
    ward.live({3: (grown(Cause.KV_CACHE),)})
    assert results(ward) == [Result.RECOVERED]


def test_memory_that_returns_within_minutes_is_a_working_set_and_nothing_more_is_done(ward):
    def comes_back():
        ward.server.held[PID] = 10 * GIB

    ward.live(polls=2000, before={60: comes_back})
    assert results(ward) == [Result.RETURNED]
    assert reasons(ward)[-1] is Hindrance.WORKING_SET
    assert len(ward.server.asked) == 1


def test_memory_that_stays_away_is_not_asked_for_again(ward):
    ward.live(polls=2000)
    assert results(ward) == [Result.RECOVERED]
    assert len(ward.server.asked) == 1


def test_memory_that_fell_by_itself_is_left_alone(ward):
    def falls():
        ward.server.held[PID] = 8 * GIB

    ward.live(before={3: falls})
    assert not ward.server.asked
    assert reasons(ward) == [Hindrance.RECOVERED]


def test_nothing_is_done_while_the_driver_withholds_what_is_held(ward):
    ward.withheld_by_driver = True
    ward.live()
    assert not ward.server.asked
    assert reasons(ward) == [Hindrance.UNREADABLE]


def test_ranks_of_a_group_are_asked_together_or_not_at_all(ward):
    ranks = {pid: replace(HELLO, group="tp", rank=rank, world=2) for rank, pid in enumerate((PID, 43))}
    ward.server.held[43] = GIB
    ward.server.hellos = {PID: ranks[PID]}
    ward.live(polls=30)
    assert not ward.server.asked
    assert reasons(ward) == [Hindrance.PERSON]
    assert "ranks" in ward.withheld()[0].detail
    ward.server.hellos = ranks
    ward.live(script={}, polls=60)
    assert sorted(key.pid for key, _ in ward.server.asked) == [PID, 43]


def test_the_file_stops_everything_within_one_poll(ward):
    ward.off_file.touch()
    ward.live(polls=30, before={20: ward.off_file.unlink})
    assert reasons(ward) == [Hindrance.SWITCHED_OFF]
    assert results(ward) == [Result.RECOVERED]


def test_an_attempt_that_a_killed_daemon_had_begun_is_uncertain_and_not_repeated_blindly(ward):
    ward.server.says = ()
    ward.live(polls=8)
    assert results(ward) == [None]
    ward.live(script={}, polls=60)
    assert results(ward) == [Result.UNCERTAIN]
    assert reasons(ward) == [Hindrance.COOLDOWN]
    assert len(ward.server.asked) == 1


def test_a_worker_that_was_held_up_too_long_is_not_asked_again_while_requests_run(ward):
    ward.remedies = "{ask: {mode: apply, cooldown: 5m}, look_again: 1m}"
    ward.server.pause, ward.server.frees = 0.5, 0
    ward.server.report = replace(IDLE, requests_running=1)
    ward.live(polls=1000)
    assert len(ward.server.asked) == 1
    assert reasons(ward)[-1] is Hindrance.PAUSE


# --- commands -------------------------------------------------------------------------------------


def program(folder, text, name="act"):
    file = folder / name
    file.write_text(f"#!{sys.executable}\n{text}")
    file.chmod(0o755)
    return file


def commanded(folder, file, more=""):
    return f"{{command: {{mode: apply, argv: [{file}], owners: [chat]}}, spread: 0s{more}}}"


def patiently(ward, polls=100):
    """Let programs of the operator have real time, of which the polls take none."""
    return {seq: lambda: time.sleep(0.05) for seq in range(5, polls)}


def test_a_command_is_told_what_it_is_for_and_nothing_that_may_be_secret(ward, monkeypatch):
    monkeypatch.setenv("SLACK_TOKEN", "xoxb-1")
    written = ward.folder / "told.json"
    text = f"import json, os; json.dump(dict(os.environ), open({str(written)!r}, 'w'))"
    ward.remedies = commanded(ward.folder, program(ward.folder, text))
    ward.live({3: (grown(Cause.LEAK),)}, before=patiently(ward))
    told = json.loads(written.read_text())
    assert told["VRAMWATCH_INCIDENT"] == "c0ffee00beef"
    assert told["VRAMWATCH_CAUSE"] == "leak"
    assert told["VRAMWATCH_PIDS"] == str(PID)
    assert told["VRAMWATCH_UNIT"] == "chat.service"
    assert "SLACK_TOKEN" not in told
    assert ward.attempts()[0].apply.remedy is RemedyName.COMMAND


def test_a_command_that_fails_is_kept_with_what_it_said(ward):
    ward.remedies = commanded(ward.folder, program(ward.folder, "raise SystemExit('no such unit')"))
    ward.live({3: (grown(Cause.LEAK),)}, before=patiently(ward))
    (attempt,) = ward.attempts()
    assert attempt.result is Result.FAILED
    assert "no such unit" in attempt.outcome.detail


def test_without_a_permit_nothing_is_run(ward):
    ran = ward.folder / "ran"
    act = program(ward.folder, f"open({str(ran)!r}, 'w')")
    ask = program(ward.folder, "raise SystemExit('two replicas are the least')", "ask")
    ward.remedies = commanded(ward.folder, act, f", permit: {{argv: [{ask}]}}")
    ward.live({3: (grown(Cause.LEAK),)}, before=patiently(ward))
    assert not ran.exists()
    assert results(ward) == [Result.NOT_PERMITTED]
    assert "two replicas are the least" in ward.attempts()[0].outcome.detail


def test_a_permit_that_takes_too_long_is_a_no_and_is_kept_with_what_it_said(ward):
    ran = ward.folder / "ran"
    act = program(ward.folder, f"open({str(ran)!r}, 'w')")
    ask = program(ward.folder, "import time; print('asking the lock', flush=True); time.sleep(60)", "ask")
    ward.remedies = commanded(ward.folder, act, f", permit: {{argv: [{ask}], timeout: 1s}}")
    ward.live({3: (grown(Cause.LEAK),)}, polls=150, before=patiently(ward, 150))
    assert not ran.exists()
    (attempt,) = ward.attempts()
    assert attempt.result is Result.NOT_PERMITTED
    assert "did not end within 1s: asking the lock" in attempt.outcome.detail
    assert "withheld, not permitted" in attempt_words(attempt)


def test_memory_is_read_again_once_the_permit_is_there(ward):
    ran = ward.folder / "ran"
    act = program(ward.folder, f"open({str(ran)!r}, 'w')")
    ask = program(ward.folder, "import time; time.sleep(1)", "ask")
    ward.remedies = commanded(ward.folder, act, f", permit: {{argv: [{ask}]}}")

    def falls():
        ward.server.held[PID] = 8 * GIB

    ward.live({3: (grown(Cause.LEAK),)}, polls=150, before={**patiently(ward, 150), 12: falls})
    assert not ran.exists()
    assert results(ward) == [Result.STOOD_DOWN]


def test_what_costs_service_waits_for_its_part_of_the_spread(ward):
    ran = ward.folder / "ran"
    act = program(ward.folder, f"open({str(ran)!r}, 'w')")
    ward.remedies = commanded(ward.folder, act).replace("spread: 0s", "spread: 1h")
    ward.live({3: (grown(Cause.LEAK),)}, before=patiently(ward))
    assert not ran.exists()
    assert reasons(ward) == [Hindrance.SPREAD]


# --- what people see --------------------------------------------------------------------------------


def test_off_and_on_are_asked_of_the_daemon_and_stand_in_the_file_with_who_did_it(ward):
    seen = {}

    def ask(word):
        return control.request(ward.folder / "control.sock", "remedies", {"set": word})

    def off():
        threading.Thread(target=lambda: seen.setdefault("off", ask("off"))).start()
        time.sleep(0.2)

    ward.live(polls=30, before={2: off}, listening=True)
    assert seen["off"]["off"]
    assert "pid" in ward.off_file.read_text()
    assert not ward.server.asked
    assert reasons(ward) == [Hindrance.SWITCHED_OFF]


def test_who_consents_to_nothing_is_not_asked(ward):
    ward.server.hellos = {PID: replace(HELLO, remedies=())}
    ward.live()
    assert not ward.server.asked
    assert reasons(ward) == [Hindrance.PERSON]


# --- when it goes wrong -----------------------------------------------------------------------------


class Killed(BaseException):
    pass


def test_killed_between_the_decision_and_the_deed_it_is_uncertain_and_nobody_was_asked(ward, monkeypatch):
    def dies(self, poll, *, is_kept):
        if poll.actions:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Treatment, "begin", dies)
        with pytest.raises(Killed):
            ward.live()
    assert results(ward) == [None]
    ward.live(script={}, polls=60)
    assert results(ward) == [Result.UNCERTAIN]
    assert not ward.server.asked
    ward.live(script={}, polls=700)
    assert len(ward.server.asked) == 1  # after the cooldown


def test_what_the_store_does_not_take_is_not_begun(ward, monkeypatch):
    write, failed = Store.write, []

    def refuses(self, poll, *carried):
        if poll.actions and len(failed) < 3:
            failed.append(poll.at.seq)
            raise StoreError("the disk is full")
        write(self, poll, *carried)

    monkeypatch.setattr(Store, "write", refuses)
    ward.live(polls=30)
    assert len(failed) == 3
    assert results(ward)[0] is Result.STOOD_DOWN
    assert not ward.server.asked


def test_a_remedy_that_raises_is_a_failed_attempt_and_the_polls_go_on(ward, monkeypatch):
    def raises(self, key, clear):
        raise RuntimeError("of the reception")

    monkeypatch.setattr(type(ward.server), "ask", raises)
    ward.live()
    (attempt,) = ward.attempts()
    assert attempt.result is Result.FAILED
    assert "RuntimeError" in attempt.outcome.detail


def test_what_is_known_of_a_forgotten_owner_goes_with_it(ward):
    ward.live()
    store = Store.open(ward.store, "hand", "test")
    store.forget("rule:chat")
    desk = Desk(store)
    assert desk.attempts(0.0) == ([], {})
    store.close()
