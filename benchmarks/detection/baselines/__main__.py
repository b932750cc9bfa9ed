"""Run one baseline over recordings, and print its alarms as ``vramwatch replay --format ndjson`` does."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.detection.baselines import RULES
from benchmarks.detection.baselines.lasting import Rule
from benchmarks.detection.recordings import Sample, samples

REFUSED = 2  # the exit code of the contract for a bad input file


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.baselines")
    parser.add_argument("name", choices=sorted(RULES))
    parser.add_argument("files", nargs="+", metavar="FILE")
    asked = parser.parse_args(arguments)
    try:
        for file in asked.files:
            for line in judge(file, asked.name):
                print(json.dumps(line))
    except (ValueError, KeyError, OSError) as error:
        print(f"{file}: {error}", file=sys.stderr)
        return REFUSED
    return 0


def judge(file: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield the transitions of the baseline ``name`` over ``file``, one incident an alarm."""
    rules: dict[str, Rule] = {}
    standing: dict[str, int] = {}
    incident = 0
    for sample in samples(Path(file)):
        if sample.gpu not in rules:
            rules[sample.gpu] = RULES[name]()
        fires = rules[sample.gpu].fires(sample)
        if fires and sample.gpu not in standing:
            incident += 1
            standing[sample.gpu] = incident
            yield _line(file, sample, incident, name, "firing")
        elif not fires and sample.gpu in standing:
            yield _line(file, sample, standing.pop(sample.gpu), name, "resolved")


def _line(file: str, sample: Sample, incident: int, name: str, state: str) -> dict[str, Any]:
    return {
        "file": file,
        "time": sample.time,
        "time_iso": datetime.fromtimestamp(sample.time, UTC).isoformat(),
        "gpu": sample.gpu,
        "pid": None,
        "subject": {"kind": "gpu", "owner": None},
        "incident": incident,
        "pattern": name,
        "state": state,
        "severity": "warning",
        "cause": "leak",  # an alarm of these says one thing: it grows
        "rate_bytes_per_hour": None,
        "exhaustion": None,
        "evidence": {},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
