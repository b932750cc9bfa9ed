"""Runs of the probe through the socket into history, and a drift as an incident that is told once."""

import os
import pwd
from contextlib import closing
from dataclasses import replace

import pytest

from tests.drifting import FIGURES, probe_run
from tests.telling import author, house
from vramwatch.control.control import ControlError
from vramwatch.core.incidents import State
from vramwatch.core.probe_runs import to_json
from vramwatch.core.units import MIB
from vramwatch.store import History

LARGER = replace(FIGURES, peak=130 * MIB)


@pytest.fixture
def service(tmp_path):
    with house(tmp_path) as there:
        there.alerting = "{mode: tell, group_wait: 0s, group_interval: 0s, repeat_interval: 30d}"
        yield there


def hands_in(run):
    return lambda service: service.ask("probed", run=to_json(run))


def history(service):
    return closing(History.open(service.store))


def incidents(service):
    with history(service) as kept:
        return [each.case.incident for each in kept.casebook.entries(0.0)]


def notices(service):
    return [item["notice"] for message in service.told for item in message["incidents"]]


def test_a_run_is_kept_with_the_author_that_the_kernel_names(service):
    (reply,) = service.life({}, 20, {5: hands_in(probe_run())})
    assert reply == {"id": probe_run().id, "drift": None}
    with history(service) as kept:
        (run,) = kept.probe_runs()
    assert run == replace(probe_run(), author=run.author)
    assert run.author.endswith(author())
    assert incidents(service) == []


def test_a_drift_is_one_incident_that_is_told_once_over_restarts(service):
    service.life({}, 20, {5: hands_in(probe_run(0))})
    (reply,) = service.life({}, 40, {25: hands_in(probe_run(1, LARGER))})
    assert "peak 130 MiB instead of 120 MiB" in reply["drift"]
    service.life({}, 90)
    (incident,) = incidents(service)
    assert incident.state is State.FIRING
    assert incident.judgement.evidence.sentence == reply["drift"]
    assert incident.judgement.evidence.numbers["peak_bytes"] == 130 * MIB
    assert notices(service) == ["opened"]


def test_it_is_over_once_a_run_is_as_before(service):
    service.life(
        {}, 120, {5: hands_in(probe_run(0)), 9: hands_in(probe_run(1, LARGER)), 15: hands_in(probe_run(2))}
    )
    assert [each.state for each in incidents(service)] == [State.RESOLVED]
    assert notices(service) == ["opened", "resolved"]


def test_a_person_who_resolves_it_takes_the_new_figures_as_the_measure(service):
    service.life({}, 30, {5: hands_in(probe_run(0)), 9: hands_in(probe_run(1, LARGER))})
    (incident,) = incidents(service)
    later = {35: lambda there: there.ask("resolve", incident=incident.id), 39: hands_in(probe_run(2, LARGER))}
    _, reply = service.life({}, 60, later)
    assert reply["drift"] is None
    service.life({}, 60)
    assert [each.state for each in incidents(service)] == [State.RESOLVED]


def test_a_scheduled_run_that_cannot_be_made_is_told_until_one_can(service):
    failed = {5: lambda there: there.ask("probed", failed="torch is not installed here")}
    service.life({}, 30, failed)
    (incident,) = incidents(service)
    assert "torch is not installed here" in incident.judgement.evidence.sentence
    service.life({}, 90, {35: hands_in(replace(probe_run(), is_scheduled=True))})
    assert [each.state for each in incidents(service)] == [State.RESOLVED]


@pytest.mark.parametrize("run", [{"id": "x"}, 5, [["id", "x"]], None])
def test_what_is_no_run_is_refused_and_nothing_is_kept(service, run):
    (refusal,) = service.life({}, 20, {5: lambda there: there.ask("probed", run=run)})
    assert isinstance(refusal, ControlError)
    with history(service) as kept:
        assert kept.probe_runs() == []


def test_two_runs_of_one_second_are_both_kept(service):
    replies = service.life({}, 20, {5: hands_in(probe_run()), 9: hands_in(probe_run())})
    assert [each["id"] for each in replies] == [probe_run().id, f"{probe_run().id}+"]


def test_the_daemon_says_where_there_is_room_and_otherwise_why_not(service):
    (reply,) = service.life({}, 20, {5: lambda there: there.ask("room")})
    assert reply["gpu"] or reply["because"]


def test_what_a_user_handed_in_is_forgotten_with_the_user(service):
    name = pwd.getpwuid(os.geteuid()).pw_name
    ask = {5: hands_in(probe_run()), 9: lambda there: there.ask("forget", user=name)}
    _, counts = service.life({}, 20, ask)
    assert counts["probes"] == 1
    with history(service) as kept:
        assert kept.probe_runs() == []
