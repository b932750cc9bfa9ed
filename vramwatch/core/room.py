"""Which GPU has room for a run of the probe, by the newest ledgers. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vramwatch.core.model import Gpu, Ledger
from vramwatch.core.units import Bytes, show_bytes


@dataclass(frozen=True, slots=True)
class Need:
    """``gpu``: its ordinal or UUID, None: any. ``budget``: the most a run takes; ``spare``: what is left."""

    gpu: str | None
    budget: Bytes
    spare: Bytes


@dataclass(frozen=True, slots=True)
class Room:
    gpu: Gpu
    free: Bytes


@dataclass(frozen=True, slots=True)
class NoRoom:
    why: str


def find_room(need: Need, ledgers: Iterable[Ledger], ailing: Collection[str]) -> Room | NoRoom:
    """Return the GPU with the most free memory that has room, or why there is none.

    ``ailing``: UUIDs of the GPUs about which an incident fires; none of them is burdened further.
    """
    there = [each for each in ledgers if need.gpu in (None, each.gpu.ordinal, each.gpu.uuid)]
    if not there:
        return NoRoom("no GPU can be read" if need.gpu is None else f"GPU {need.gpu} cannot be read")
    well = [each for each in there if each.gpu.uuid not in ailing]
    if not well:
        return NoRoom(f"an incident fires on {_named(there)}")
    best = max(well, key=lambda each: each.memory.free)
    if best.memory.free < need.budget + need.spare:
        return NoRoom(
            f"{show_bytes(best.memory.free)} are free on {_named([best])}; a run may take "
            f"{show_bytes(need.budget)}, and {show_bytes(need.spare)} are to be left"
        )
    return Room(best.gpu, best.memory.free)


def _named(ledgers: Iterable[Ledger]) -> str:
    return ", ".join(f"GPU {each.gpu.ordinal}" for each in ledgers)
