"""Programs that enrol: processes of their own, told line by line what to do next."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager, suppress

BEGIN = """
import sys
from vramwatch.sdk import enroll
"""


@contextmanager
def program(daemon, text, *, python=sys.executable):
    """Run ``text`` after BEGIN, until the context ends: then it is killed with all of its children."""
    command = [python, "-c", BEGIN + textwrap.dedent(text)]
    with subprocess.Popen(
        command,
        env=daemon.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
