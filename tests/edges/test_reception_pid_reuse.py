"""No signal ever reaches who did not consent, though pids are used again at once."""

import os
import subprocess

import pytest

from tests.pid_reuse import cycles


def _can_decide_pids():
    return (
        os.geteuid() == 0
        and not subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode
    )


@pytest.mark.skipif(not _can_decide_pids(), reason="needs root and pid namespaces to decide the next pid")
def test_who_has_the_pid_of_a_worker_that_ended_is_never_signalled():
    """The full form, of 10,000, is `python -m benchmarks reception`."""
    became = cycles(300)
    assert became["pids used again"] > 250
    assert became["signal: sent"] > 0, "workers were reached"
    assert became["canaries that lived"] == became["workers enrolled"] == 300
    assert "canaries that were hit" not in became
