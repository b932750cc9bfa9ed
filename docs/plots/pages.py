"""The consoles in a page: what stands below ``$ vramwatch replay NAME.csv`` is what the program said."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CONSOLE = re.compile(r"^( +)\$ vramwatch replay (\w+)\.csv\n(?:\1\S.*\n|\1 +\S.*\n)*", re.MULTILINE)
"""A command and its output, indented alike: a code block of four spaces."""


def names(page: str) -> list[str]:
    """Return which recordings ``page`` replays, in its order."""
    return [match[2] for match in CONSOLE.finditer(page)]


def replays(recorded: Sequence[Path]) -> dict[str, str]:
    """Return what ``vramwatch replay`` prints of each recording, by its name; all lie in one folder."""
    files = [each.name for each in recorded]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("VRAMWATCH_")},
        "TZ": "UTC",
        "XDG_CONFIG_HOME": str(recorded[0].parent),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONIOENCODING": "utf-8",
    }
    command = [sys.executable, "-m", "vramwatch", "replay", *files]
    ran = subprocess.run(
        command, cwd=recorded[0].parent, env=environment, capture_output=True, text=True, check=True
    )
    printed = ran.stdout.rstrip("\n").split("\n\n")
    return {each.stem: f"{text}\n" for each, text in zip(recorded, printed, strict=True)}


def refreshed(page: str, said: Mapping[str, str]) -> str:
    """Return ``page`` with what was ``said`` of each recording below its command."""

    def console(match: re.Match[str]) -> str:
        indent, name = match[1], match[2]
        lines = (f"$ vramwatch replay {name}.csv", *said[name].splitlines())
        return "".join(f"{indent}{line}\n" for line in lines)

    return CONSOLE.sub(console, page)
