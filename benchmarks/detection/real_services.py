"""Suites A and B: recordings of real services, as they are, and with a leak put in.

The recordings are never copied into the project; they lie in a directory of long-form CSV, one file a
pod, whose stem is the pod's name.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.detection.cases import HOUR, Case, Cause, Group, Serving, Suite, Truth, View
from benchmarks.detection.recordings import MIB, Row, Sample, blind, samples, write

RATES = (300.0, 1000.0, 3000.0)  # MiB per hour, the mean over the recording
LEAK_BEGINS = 2 * HOUR  # after the first sample: the healthy service is seen first
RESTART_BELOW = 500 * MIB  # a reading under this is a restart or an unload: what had leaked is gone
HELD_OUT_OF = 3  # every third pod, by the hash of its name, is looked at only for the final table


def is_held_out(pod: str) -> bool:
    """Return whether ``pod`` belongs to the third that nothing may be tuned on."""
    return int(hashlib.sha256(pod.encode()).hexdigest(), 16) % HELD_OUT_OF == 0


def pods(directory: Path, final: bool) -> tuple[Path, ...]:
    """Return the recordings of ``directory``, by name: the held-out third if ``final``, else the others."""
    found = sorted((*directory.glob("*.csv"), *directory.glob("*.csv.gz")))
    return tuple(path for path in found if is_held_out(_stem(path)) == final)


def healthy(paths: Sequence[Path], serving: Serving) -> Iterator[Case]:
    """Yield suite A: every recording as it is, nothing wanted."""
    for path in paths:
        recorded = list(samples(path))
        yield Case(
            f"A-{_stem(path)}",
            path,
            Suite.HEALTHY,
            serving,
            View.DRIVER_ONLY,
            Group.HEALTHY,
            Truth(Cause.LOAD, judges_cause=False),
            recorded[0].time,
            recorded[-1].time,
        )


def injected(paths: Sequence[Path], serving: Serving, directory: Path) -> Iterator[Case]:
    """Yield suite B, written to ``directory``: every recording with each leak, its twin that of suite A."""
    for path in paths:
        recorded = list(samples(path))
        for rate in RATES:
            leaking = inject(recorded, rate)
            name = f"B-{rate:.0f}-{_stem(path)}"
            target = blind(directory, name)
            write(target, (Row(s.time, s.gpu, None, s.used, s.total, s.utilization) for s in leaking.samples))
            begin, end = recorded[0].time + LEAK_BEGINS, leaking.exhausted or recorded[-1].time
            truth = Truth(Cause.LEAK, True, begin, begin, end, False, judges_cause=False, rate=rate)
            yield Case(
                name,
                target,
                Suite.INJECTED,
                serving,
                View.DRIVER_ONLY,
                Group.GROWTH,
                truth,
                recorded[0].time,
                recorded[-1].time,
                twin=f"A-{_stem(path)}",
            )


@dataclass(frozen=True, slots=True)
class Leaking:
    """Samples with a leak; ``exhausted``: the first time at which the leak fills the card, if ever."""

    samples: tuple[Sample, ...]
    exhausted: float | None


def inject(recorded: Sequence[Sample], rate: float) -> Leaking:
    """Return ``recorded`` with a leak in proportion to duty, ``rate`` MiB per hour in the mean.

    It begins two hours in, starts over at each restart, and never exceeds the card. Where the duty is
    not told the last one told holds.
    """
    mean = _mean_duty(recorded)
    leaked, duty, exhausted = 0.0, 0.0, None
    changed = [recorded[0]]
    for before, sample in pairwise(recorded):
        duty = duty if sample.utilization is None else sample.utilization
        if sample.used < RESTART_BELOW:
            leaked = 0.0
        elif sample.time - recorded[0].time >= LEAK_BEGINS and mean:
            leaked += rate * MIB * duty / mean * (sample.time - before.time) / HOUR
        used = min(sample.used + int(leaked), sample.total)
        if exhausted is None and leaked and used == sample.total:
            exhausted = sample.time
        changed.append(sample._replace(used=used))
    return Leaking(tuple(changed), exhausted)


def _mean_duty(recorded: Sequence[Sample]) -> float:
    told = [sample.utilization for sample in recorded if sample.utilization is not None]
    return sum(told) / len(told) if told else 0.0


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")
