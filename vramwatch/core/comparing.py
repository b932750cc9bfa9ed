"""Compares growth with earlier image versions of the same owner, and with the other ranks of a service."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vramwatch.core.lanes import DAY
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Evidence, Rate
from vramwatch.core.windows import Life


@dataclass(frozen=True, slots=True)
class Peer:
    """Another rank of the same service. ``rate``: bytes a second; None: it does not grow."""

    rank: int
    rate: float | None


def beside_versions(
    evidence: Evidence, rate: Rate | None, version: str | None, lives: Sequence[Life]
) -> Evidence:
    """Return ``evidence`` with how much more is lost a day since the ``version`` before this one.

    Unchanged where the version is not known, or has not changed since the lives that are remembered.
    """
    if rate is None or version is None:
        return evidence
    before = next((life for life in reversed(lives) if life.version and life.version != version), None)
    if before is None:
        return evidence
    more = (rate.median - before.rate) * DAY
    sentence = (
        f"{evidence.sentence}; since {version}: {show_bytes(round(more), signed=True)} a day "
        f"({before.version} lost {show_bytes(round(before.rate * DAY))} a day)"
    )
    numbers = {**evidence.numbers, "since_version_bytes_per_day": more}
    return replace(evidence, sentence=sentence, numbers=numbers)


def beside_ranks(evidence: Evidence, rank: int | None, peers: Iterable[Peer]) -> Evidence:
    """Return ``evidence`` with how many ranks of the service grow: one alone is a bug of that rank's own."""
    others = {peer.rank: peer.rate for peer in peers if peer.rank != rank}
    if rank is None or not others:
        return evidence
    growing = sum(rate is not None for rate in others.values())
    told = f"rank {rank} grows, and {growing} of the {len(others)} other ranks with it"
    numbers = {**evidence.numbers, "ranks": len(others) + 1, "ranks_growing": growing + 1}
    return replace(evidence, sentence=f"{evidence.sentence}; {told}", numbers=numbers)
