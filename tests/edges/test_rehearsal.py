"""``doctor --remedies``: the whole way to a worker and back, with real processes."""

import json
import re
from pathlib import Path

from click.testing import CliRunner

from vramwatch.cli import main


def rehearsed(folder: Path, remedies: str = "{}"):
    file = folder / "config.yaml"
    file.write_text(f"control: {{socket: {folder / 'control.sock'}}}\nremedies: {remedies}\n")
    words = ["doctor", "--remedies", "--format", "json", "--config", str(file)]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    return {each["subject"]: each for each in json.loads(result.stdout)}, result.exit_code


def test_a_worker_is_asked_and_signalled_and_what_it_gives_back_is_seen_from_outside(tmp_path):
    found, code = rehearsed(tmp_path)
    assert {name: found[name]["grade"] for name in ("enrol", "ask", "signal", "consent")} == {
        "enrol": "ok",
        "ask": "ok",
        "signal": "ok",
        "consent": "ok",
    }
    freed = re.match(r"([\d.]+) MiB came back", found["ask"]["text"])
    assert abs(float(freed[1]) - 64) <= 2
    assert code == 0


def test_a_command_that_is_not_there_is_a_failure(tmp_path):
    found, code = rehearsed(tmp_path, "{command: {argv: [/nowhere/restart], owners: ['*']}}")
    assert found["command"]["grade"] == "fail"
    assert code == 2
