"""Measure what vramwatch costs, and print it beside its goals.

    python -m benchmarks [NAME…]

Without names everything is measured, in about an hour. The exit code is 1 if a goal was missed.
"""

import argparse
import importlib
import os
import platform
import sys
import time
from collections.abc import Sequence

from benchmarks.findings import Finding, show

NAMES = (
    "help",
    "start",
    "replay",
    "detection_cost",
    "telling",
    "worker",
    "scrape",
    "cost",
    "budget",
    "memory",
    "kill_the_reader",
    "reception",
    "history",
)
"""The shortest first; each is a file of this folder with a ``measure``."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(NAMES)}")
    names = parser.parse_args(arguments).names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    findings: list[Finding] = []
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        findings += importlib.import_module(f"benchmarks.{name}").measure()
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} processors")
    show(findings)
    return int(any(one.reached is False for one in findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
