"""What optional extras do, in children that live for one answer: the daemon never loads their libraries.

Every other file here is such a child: a program of its own, which imports nothing of vramwatch.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

DISTRIBUTION = "vramwatchd"


class ExtraError(Exception):
    """A child gave no answer; says why, without what it was given."""


class ExtraTimeout(ExtraError):
    """A child was ended because it took too long; it may have done what was asked."""


def is_installed(library: str) -> bool:
    """Whether ``library`` could be imported; it is found, not imported."""
    return importlib.util.find_spec(library) is not None


def how_to_install(extra: str) -> str:
    return f"install it where vramwatch runs: pip install '{DISTRIBUTION}[{extra}]'"


def ask(program: str, given: bytes, deadline: float) -> bytes:
    """Run a ``program`` of this folder in a child, hand it ``given`` and return what it writes.

    ``given`` goes through a pipe: command lines and environments are seen by others. ``deadline`` in
    seconds. Errors: ExtraError, ExtraTimeout.
    """
    file = Path(__file__).with_name(f"{program}.py")
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(file)],  # -P: a file beside it must not pass for a library
            input=given,
            capture_output=True,
            timeout=deadline,
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExtraTimeout(f"no answer within {deadline:g} s") from None
    except OSError as error:
        raise ExtraError(f"no child could be started: {error.strerror}") from None
    if done.returncode:
        raise ExtraError(f"the child ended with {done.returncode}")
    return done.stdout
