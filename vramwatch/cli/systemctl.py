"""What systemd says of a unit, and whether it runs here at all."""

import subprocess
from pathlib import Path

BOOTED = Path("/run/systemd/system")
"""There when systemd is the init: sd_booted(3)."""

PATIENCE = 10.0
"""Seconds that systemctl may take."""


def is_booted() -> bool:
    """Whether systemd is the init of this machine."""
    return BOOTED.is_dir()


def show(unit: str, *properties: str) -> dict[str, str]:
    """Return those of the ``properties`` of ``unit`` that systemd tells; empty where it cannot be asked."""
    try:
        done = subprocess.run(
            ["systemctl", "show", unit, f"--property={','.join(properties)}"],  # noqa: S607 - the machine's
            capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def version() -> int | None:
    """Return the version of systemd, as in 252; None where it cannot be asked."""
    try:
        done = subprocess.run(
            ["systemctl", "--version"],  # noqa: S607 - the machine's
            capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    return int(words[1]) if words[:1] == ["systemd"] and words[1:2] and words[1].isdecimal() else None
