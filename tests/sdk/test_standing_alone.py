"""What lives in other people's images: an old Python, no dependency, and nothing done by importing it."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vramwatch
from vramwatch import sdk
from vramwatch.sdk.wire import Answer

FOLDER = Path(sdk.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_file_is_python_3_9_and_imports_the_standard_library_and_its_own_folder(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            depth = len(path.relative_to(FOLDER).parts)
            assert node.level <= depth, f"line {node.lineno} leaves the folder"
            names = [] if node.level else [node.module]
        else:
            continue
        assert all(name.split(".")[0] in sys.stdlib_module_names for name in names), names


def _oldest():
    """Return a Python 3.9 that runs here; None: there is none."""
    places = [*Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"), shutil.which("python3.9")]
    asks = "import sys; sys.exit(sys.version_info[:2] != (3, 9))"
    for place in filter(None, places):
        if not subprocess.run([place, "-c", asks], capture_output=True, check=False).returncode:
            return place
    return None


def test_a_worker_of_the_oldest_python_enrols_is_asked_and_clears(daemon, tmp_path):
    python = _oldest()
    if python is None:
        pytest.skip("NOT TESTED: no Python 3.9 is here")
    shutil.copytree(FOLDER, tmp_path / "vramwatch_sdk")
    text = """
import importlib, pathlib, sys
sys.path.insert(0, sys.argv[1])
for path in pathlib.Path(sys.argv[1], "vramwatch_sdk").rglob("*.py"):
    importlib.import_module(".".join(path.relative_to(sys.argv[1]).with_suffix("").parts))
from vramwatch_sdk import enroll
worker = enroll(name="old", clears=("gc",), idle_after=0.1, cooldown=0)
with worker.request():
    pass
sys.stdin.read()
"""
    command = [python, "-W", "error", "-c", text, tmp_path]
    with subprocess.Popen(command, env=daemon.environment(), stdin=subprocess.PIPE) as running:
        worker = daemon.meet()
        assert (worker.pid, worker.hello.name) == (running.pid, "old")
        worker.asks("gc")
        while (answer := worker.hears(Answer)).state != "done":
            assert answer.state in ("accepted", "busy")
        running.stdin.close()
        assert running.wait() == 0


def test_its_version_is_the_daemons():
    assert sdk.__version__ == vramwatch.__version__


def test_importing_it_starts_nothing_and_finds_nothing(tmp_path):
    """Vendored by copying the folder under another name."""
    shutil.copytree(FOLDER, tmp_path / "vramwatch_sdk")
    look = """
import sys, signal, threading
before = {each: signal.getsignal(each) for each in signal.valid_signals()}
from vramwatch_sdk import enroll
from vramwatch_sdk.integrations import asgi, ray, transformers, triton
assert threading.active_count() == 1
assert {each: signal.getsignal(each) for each in signal.valid_signals()} == before
assert not {"torch", "transformers.utils", "ray", "starlette", "vramwatch"} & set(sys.modules)
print(enroll.__module__)
"""
    command = [sys.executable, "-c", look]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (said.stderr, said.stdout) == ("", "vramwatch_sdk.enrolment\n")
