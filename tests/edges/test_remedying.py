"""Programs of the operator: without a shell, bounded in time and words, ended with all that they started."""

import sys
import time

from tests.waiting import wait_until
from vramwatch.remedying import OUTPUT_KEPT, run_program

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def run(text, timeout=10.0):
    return run_program([sys.executable, "-c", text], ENVIRONMENT, timeout)


def test_a_program_that_exits_with_0_is_no_fault():
    assert run("print('done')") is None


def test_a_program_that_fails_is_told_with_its_code_and_words():
    fault = run("import sys; print('the replica count is 1'); sys.exit(3)")
    assert "exited with 3" in fault
    assert "the replica count is 1" in fault


def test_a_program_that_is_ended_by_a_signal_says_which():
    assert "SIGTERM" in run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")


def test_a_program_that_is_not_there_is_told_by_name():
    assert run_program(["/nowhere/act"], ENVIRONMENT, 1.0).startswith("/nowhere/act cannot be run")


def test_what_a_program_floods_with_is_neither_kept_nor_waited_for():
    began = time.monotonic()
    fault = run("import sys\nfor _ in range(100000): print('x' * 100)\nsys.exit(1)")
    assert len(fault) < OUTPUT_KEPT + 200
    assert time.monotonic() - began < 10.0


def test_a_program_without_end_is_ended_with_all_that_it_started(tmp_path):
    beats = tmp_path / "beats"
    child = f"import time\nwhile True: open({str(beats)!r}, 'a').write('x'); time.sleep(0.05)"
    begin = f"subprocess.Popen([sys.executable, '-c', {child!r}])"
    fault = run(f"import subprocess, sys, time; {begin}; time.sleep(60)", timeout=2.0)
    assert "did not end within 2s" in fault
    assert beats.exists()

    def is_quiet():
        before = beats.stat().st_size
        time.sleep(0.3)
        return beats.stat().st_size == before

    wait_until(is_quiet)


def test_no_shell_reads_the_arguments(tmp_path):
    touched = tmp_path / "touched"
    assert (
        run_program(["/bin/echo", f"$(touch {touched})", ";", "touch", str(touched)], ENVIRONMENT, 5.0)
        is None
    )
    assert not touched.exists()


def test_a_program_has_no_input_and_the_environment_that_is_handed_in_alone():
    text = "import os, sys; sys.exit(bool(sys.stdin.read()) or 'HOME' in os.environ)"
    assert run(text) is None
