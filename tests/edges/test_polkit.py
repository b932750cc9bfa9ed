"""The rule that lets the service restart one unit: the file as it is shipped, run by a JavaScript engine."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

RULES = Path("deploy/polkit/50-vramwatch-restart.rules")

POLKIT = """
const rules = [];
const polkit = {addRule: (rule) => rules.push(rule), Result: {YES: "yes", NOT_HANDLED: "not handled"}};
require("vm").runInNewContext(require("fs").readFileSync(process.argv[1], "utf8"), {polkit});
const asked = JSON.parse(process.argv[2]);
const action = {id: asked.id, lookup: (name) => asked[name]};
console.log(rules[0](action, {user: asked.user}));
"""
"""What of polkit's API the rule uses (polkit(8), AUTHORIZATION RULES)."""

RIGHT = {
    "id": "org.freedesktop.systemd1.manage-units",
    "unit": "chat.service",
    "verb": "restart",
    "user": "vramwatch",
}


def answer(**asked):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node to run the rule with")
    told = json.dumps({**RIGHT, **asked})
    return subprocess.run(
        [node, "-e", POLKIT, str(RULES), told], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_service_may_restart_the_unit_that_is_named():
    assert answer() == "yes"


@pytest.mark.parametrize(
    "other",
    [
        {"unit": "sshd.service"},
        {"verb": "stop"},
        {"verb": "start"},
        {"user": "alice"},
        {"id": "org.freedesktop.systemd1.manage-unit-files"},
    ],
)
def test_the_rule_says_nothing_of_anything_else(other):
    assert answer(**other) == "not handled"
