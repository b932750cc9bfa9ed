"""The verb check, as it is called from a shell."""

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from vramwatch.cli import main
from vramwatch.config import example, load


def check(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program with nothing of this machine's configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VRAMWATCH_")}
    places = {"XDG_CONFIG_HOME": str(home), "CONFIGURATION_DIRECTORY": str(home / "none")}
    return subprocess.run(
        [sys.executable, "-m", "vramwatch", "check", *arguments],
        env=kept | places | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_good_file_is_named_and_one_sentence_says_what_will_be_done(tmp_path: Path):
    file = tmp_path / "good.yaml"
    file.write_text("poll: {interval: 2s}\n")
    done = check("--config", str(file), home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == f"configuration ok: {file}"
    assert "source nvml every 2s" in second


def test_every_fault_is_a_line_of_its_own_on_standard_error_and_the_exit_code_is_78(tmp_path: Path):
    file = tmp_path / "bad.yaml"
    file.write_text("poll: {intervall: 2s}\nlog: {level: loud}\n")
    done = check("--config", str(file), home=tmp_path, VRAMWATCH_POLL__INTERVAL="never")
    assert (done.returncode, done.stdout) == (78, "")
    places = [line.split(": ")[:2] for line in done.stderr.splitlines()]
    assert places == [
        [f"{file}:1:8", "poll.intervall"],
        [f"{file}:2:14", "log.level"],
        ["environment:VRAMWATCH_POLL__INTERVAL", "poll.interval"],
    ]


def test_the_configuration_in_effect_is_printed_whoever_decided_it(tmp_path: Path):
    file = tmp_path / "good.yaml"
    file.write_text("log: {level: debug}\n")
    done = check("--print", home=tmp_path, VRAMWATCH_CONFIG=str(file), VRAMWATCH_POLL__INTERVAL="3s")
    assert done.returncode == 0
    assert f"  level: debug  # {file}:1:7\n" in done.stdout
    assert "  interval: 3s  # environment:VRAMWATCH_POLL__INTERVAL\n" in done.stdout


def test_the_example_is_printed_even_beside_a_bad_configuration(tmp_path: Path):
    done = check("--example", home=tmp_path, VRAMWATCH_LOG__LEVEL="loud")
    assert (done.returncode, done.stdout) == (0, example())


def test_a_reader_that_goes_away_early_is_no_fault(tmp_path: Path):
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m vramwatch check --example | head -1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_help_reads_no_configuration():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "vramwatch", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"pydantic", "yaml", "vramwatch.config"}


def test_print_says_of_each_value_where_it_was_written(tmp_path, monkeypatch):
    file = tmp_path / "config.yaml"
    file.write_text(
        "poll:\n  interval: 2s\nowners:\n- match: {user: alice}\n  name: hers\n"
        "channels:\n  hook:\n    webhook: {url: 'http://192.0.2.1/'}\n"
    )
    monkeypatch.setenv("VRAMWATCH_POLL__SLOWEST", "9s")
    said = CliRunner().invoke(main, ["check", "--print", "--config", str(file)]).stdout
    lines = {line.partition("  # ")[0].strip(): line.partition("  # ")[2] for line in said.splitlines()}
    assert lines["interval: 2s"] == f"{file}:2:3"
    assert lines["slowest: 9s"] == "environment:VRAMWATCH_POLL__SLOWEST"
    assert lines["fastest: 200ms"] == "default"
    assert lines["owners:"] == f"{file}:3:1"
    (hook,) = [place for value, place in lines.items() if value.startswith("url:")]
    assert hook.startswith(f"{file}:8:")
    again = tmp_path / "again.yaml"
    again.write_text(said.partition("channels:")[0])  # secrets are masked there
    monkeypatch.delenv("VRAMWATCH_POLL__SLOWEST")
    assert load(again, {}, {}).poll.slowest == 9.0
