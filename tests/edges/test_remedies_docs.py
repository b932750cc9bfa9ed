"""docs/remedies.md tells operators what is done to their processes: it must say what the program does."""

import re
from pathlib import Path

import pytest

import vramwatch
from vramwatch.config import load
from vramwatch.core.attempts import RemedyName, Result
from vramwatch.core.ladder import NEVER, ONLY_RETAINED, TABLE, Hindrance
from vramwatch.remedies.engine import CALLS
from vramwatch.sdk.wire import NEVER_SENT

PAGE = (Path(vramwatch.__file__).parents[1] / "docs" / "remedies.md").read_text()
SNIPPETS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
LEAST = {"command": "argv: [/bin/true], owners: [chat]", "permit": "argv: [/bin/true]"}
"""What these do not go without."""


def rows(heading):
    """Return the cells of the first table below ``heading``, row by row, without their quotes."""
    below = PAGE.partition(heading)[2]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)[0]
    return [
        [cell.strip().replace("`", "") for cell in each.split("|")[1:-1]] for each in table.splitlines()[2:]
    ]


def _section(name, said):
    inside = f"{LEAST.get(name, '')}{said}".strip(", ")
    return f", {name}: {{{inside}}}"


def remedies(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return load(file, {}, {}).remedies


def test_the_page_tells_for_every_cause_what_is_tried(tmp_path):
    told = {}
    for causes, order in rows("## What is tried for which cause"):
        told |= dict.fromkeys(causes.split(", "), order)
    assert set(told) == {*map(str, TABLE), *map(str, NEVER)}
    for cause, ladder in TABLE.items():
        tried = told[cause].partition(";")[0] if ladder else ""
        assert tried == ", ".join(ladder)
        assert told[cause].endswith("a person")
        assert ("only what a worker says it keeps" in told[cause]) == (cause in ONLY_RETAINED)
    assert {told[cause] for cause in NEVER} == {"never"}


def test_the_page_tells_every_reason_result_and_call_by_its_name():
    reasons = {name for names, _ in rows("## What holds it back") for name in names.split(", ")}
    assert reasons == set(map(str, Hindrance))
    results = {name for names, _ in rows("## Whether it worked") for name in names.split(", ")}
    assert results == set(map(str, Result))
    assert {each[0] for each in rows("services:")} == set(CALLS)


def test_the_page_names_the_signals_that_are_never_sent():
    assert {"SIGKILL", "SIGTERM", "SIGINT", "SIGSTOP", "SIGTSTP"} <= NEVER_SENT
    assert "SIGKILL, SIGTERM, SIGINT, SIGSTOP and the like are refused" in PAGE


@pytest.mark.parametrize("text", SNIPPETS)
def test_every_example_of_the_page_is_a_configuration(tmp_path, text):
    assert remedies(tmp_path, text).remedies()


def test_the_bounds_on_the_page_are_those_that_hold_without_any(tmp_path):
    shared, of_each = {}, dict.fromkeys((*RemedyName, "permit"), "")
    for names, values, _ in rows("The bounds, and what they are"):
        usual, _, special = values.partition(";")
        for name, value in zip(names.split(", "), usual.split(", "), strict=True):
            section, _, option = name.rpartition(".")
            if " of each remedy" in name:
                option = name.partition(" ")[0]
                for each in RemedyName:
                    own = re.search(rf"{each} (\S+)", special)
                    of_each[each] += f", {option}: {own[1] if own else value}"
            elif section:
                of_each[section] += f", {option}: {value}"
            else:
                shared[name] = value
    written = "".join(_section(name, said) for name, said in of_each.items())
    bare = "".join(_section(name, "") for name in of_each)
    every = ", ".join(f"{name}: {value}" for name, value in shared.items())
    told = remedies(tmp_path, f"remedies: {{{every}{written}}}")
    assert told == remedies(tmp_path, f"remedies: {{{bare.strip(', ')}}}")
    assert len(shared) == 8
