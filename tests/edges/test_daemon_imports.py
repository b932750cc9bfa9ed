"""What the daemon keeps out of its memory: arithmetic that it does by itself at these lengths."""

import subprocess
import sys

LOADED = """
import sys
from vramwatch import assembly, daemon
from vramwatch.cli import run
from vramwatch.config import load
config = load(None, {}, {})
assembly.watch(config)
assembly.engines()
assembly.open_feed(config, None).source.close()
print(*{name.partition('.')[0] for name in sys.modules})
"""


def test_the_daemon_with_all_its_plug_ins_imports_neither_numpy_nor_scipy_nor_torch():
    said = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    imported = set(said.stdout.split())
    assert "vramwatch" in imported
    assert not imported & {"numpy", "scipy", "torch"}


def test_a_daemon_that_tells_nobody_imports_neither_http_nor_smtp():
    said = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert not set(said.stdout.split()) & {"requests", "urllib3", "smtplib"}
