"""A configuration with faults stops no verb that reads or asks; those that it decides about it does."""

import os
import subprocess
import sys
from contextlib import closing

import pytest
from click.testing import CliRunner

from tests.telling import house, move
from vramwatch.cli import main
from vramwatch.store import History

ID = "c0ffee00beef"

READING = [
    ("status", "--store", "{store}"),
    ("incidents",),
    ("incidents", "show", ID),
    ("why", ID),
    ("history", "--since", "2023-11-01"),
    ("silence", "list"),
    ("export", "--since", "2023-11-01"),
    ("report", ID, "-o", "{folder}/report.html"),
]


@pytest.fixture
def past(tmp_path, monkeypatch):
    """A service that has had an incident, and whose configuration has a fault since."""
    monkeypatch.delenv("VRAMWATCH_CONFIG", raising=False)
    with house(tmp_path) as service:
        service.life({3: (move(),)}, 8)
        yield service


def call(service, *words):
    told = [each.format(store=service.store, folder=service.folder) for each in words]
    return CliRunner().invoke(main, [*told, "--config", str(service.folder / "config.yaml")])


def spoil(service, fault="channels: {hook: {carrier_pigeon: {}}}\n"):
    file = service.folder / "config.yaml"
    sound = [each for each in file.read_text().splitlines() if not each.startswith(("channels", "  "))]
    file.write_text("\n".join(sound) + "\n" + fault)


@pytest.mark.parametrize("verb", READING, ids=" ".join)
def test_a_fault_of_the_configuration_is_said_once_and_stops_no_verb_that_reads(past, verb):
    spoil(past)
    done = call(past, *verb)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("channels.hook.carrier_pigeon: no such option") == 1
    assert done.stderr.count("vramwatch check") == 1


def test_where_the_file_is_no_yaml_the_store_is_what_the_command_line_says(past):
    spoil(past, "channels: {[\n")
    done = call(past, "incidents", "--store", str(past.store), "--since", "2023-11-01")
    assert done.exit_code == 0, done.output
    assert ID[:8] in done.stdout
    assert "config.yaml:" in done.stderr


@pytest.mark.parametrize("verb", [each for each in READING if each[0] != "report"], ids=" ".join)
def test_a_secret_that_this_shell_lacks_is_no_fault_for_who_reads(past, verb):
    spoil(past, "channels: {hook: {webhook: {url: 'env:THE_SERVICE_HAS_IT'}}}\n")
    done = call(past, *verb)
    assert (done.exit_code, done.stderr.count("THE_SERVICE_HAS_IT")) == (0, 0), done.output


@pytest.mark.parametrize("verb", [("check",), ("doctor",), READING[-1]], ids=lambda verb: verb[0])
def test_who_asks_about_the_configuration_is_told_of_that_secret(past, verb):
    spoil(past, "channels: {hook: {webhook: {url: 'env:THE_SERVICE_HAS_IT'}}}\n")
    assert "the environment has no THE_SERVICE_HAS_IT" in call(past, *verb).output


def test_a_configuration_that_is_a_folder_or_closed_is_a_bad_one(past):
    for bad in (past.folder, past.folder / "none.yaml"):
        done = CliRunner().invoke(main, ["check", "--config", str(bad)])
        assert done.exit_code == 78
        assert f"{bad}: cannot be read" in done.stderr


def test_an_incident_is_acknowledged_beside_a_faulty_configuration(past):
    def acknowledge(service):
        spoil(service)
        return call(service, "incidents", "ack", ID, "--note", "on it")

    (done,) = past.life({}, 6, between={10: acknowledge})
    assert done.exit_code == 0, done.output
    with closing(History.open(past.store)) as history:
        assert history.casebook.chain(ID).entry.case.acknowledged is not None


@pytest.mark.parametrize("verb", [("run",), ("check",), ("forget", "--owner", "chat", "--yes")], ids=" ".join)
def test_a_fault_of_the_configuration_ends_what_hangs_on_it_with_78(past, verb):
    spoil(past)
    done = call(past, *verb)
    assert done.exit_code == 78
    assert "channels.hook.carrier_pigeon" in done.stderr


def test_a_verb_that_reads_needs_no_more_of_the_program_than_of_the_configuration(tmp_path):
    code = (
        "import sys; from vramwatch.cli import main; "
        f"main(['status', '--store', '{tmp_path / 'none.db'}'], standalone_mode=False)"
    )
    watched = ("vramwatch.config.shape", "vramwatch.store.writing", "vramwatch.engines")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        env={**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "none.db" in done.stderr
    assert [name for name in watched if f" {name}\n" in done.stderr] == []
