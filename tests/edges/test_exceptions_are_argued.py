"""Where a rule of ruff about security does not hold, it says why beside it."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXCEPTION = re.compile(r"#\s*noqa: (?P<rules>[A-Z]+\d+(?:, ?[A-Z]+\d+)*)(?P<reason>.*)")


def exceptions():
    """Every line of what is shipped where a rule of "S" is silenced: (where, what is said beside it)."""
    for folder in ("vramwatch", "packaging", "deploy", "docs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                found = EXCEPTION.search(line)
                if found and re.search(r"\bS\d", found["rules"]):
                    yield f"{path.relative_to(ROOT)}:{number}", found["reason"].strip(" -–—")


def test_every_exception_to_a_security_rule_in_what_is_shipped_says_why():
    found = dict(exceptions())
    assert found  # or the expression no longer finds any
    assert not [where for where, reason in found.items() if not reason]


def test_security_rules_are_asked_for_and_what_is_shipped_is_excepted_from_one_of_them_alone():
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if rule.startswith("S")] == ["S603"]
    excepted = {
        where for where, rules in lint["per-file-ignores"].items() if any(r.startswith("S") for r in rules)
    }
    assert excepted == {"tests/**", "benchmarks/**"}
