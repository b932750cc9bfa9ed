"""How much memory is free, and where: as it is written, else as the daemon or the driver says."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vramwatch.core.errors import NoDeviceError, UsageError
from vramwatch.core.planning import Room
from vramwatch.core.units import Bytes

if TYPE_CHECKING:
    from vramwatch.cli.views.status import Status


def written_rooms(free: Sequence[int], ranks: int) -> list[Room]:
    """Return empty GPUs of these sizes; one size alone stands for all ``ranks``. Errors: UsageError."""
    sizes = list(free) * ranks if len(free) == 1 else list(free)
    if ranks not in (1, len(sizes)):
        raise UsageError(
            f"--tp {ranks} needs {ranks} GPUs, and --free names {len(sizes)}; name one or {ranks}"
        )
    return [Room(f"GPU {place}", Bytes(size), Bytes(size)) for place, size in enumerate(sizes)]


def present_rooms(status: "Status") -> list[Room]:
    """Return the GPUs that were read, as people count them; of a divided device its MIG instances alone.

    Errors: NoDeviceError where there is none.
    """
    ledgers = status.poll.ledgers
    divided = {ledger.gpu.parent for ledger in ledgers if ledger.gpu.parent}
    found = [ledger for ledger in ledgers if ledger.gpu.uuid not in divided]
    if not found:
        raise NoDeviceError("no GPU could be read; vramwatch doctor says why.")
    return [
        Room(f"GPU {ledger.gpu.ordinal}", ledger.memory.free, ledger.memory.total)
        for ledger in sorted(found, key=lambda ledger: _counted(ledger.gpu.ordinal))
    ]


def _counted(ordinal: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in ordinal.split(":"))


def choose_rooms(rooms: Sequence[Room], ranks: int, least: int, *, are_named: bool) -> list[Room]:
    """Return the GPUs to plan for, of ``rooms``, of which ``are_named`` says that a person picked them.

    Those with most free memory: as many as there are ranks; without tensor parallelism one, or where that
    has less than ``least`` bytes all. Errors: UsageError where there are too few.
    """
    if ranks > len(rooms):
        raise UsageError(
            f"--tp {ranks} needs {ranks} GPUs, and there are {len(rooms)}; or name them: --free 80GiB"
        )
    if are_named and ranks > 1 and ranks != len(rooms):
        raise UsageError(f"--tp {ranks} needs {ranks} GPUs, and --gpu names {len(rooms)}")
    if are_named:
        return list(rooms)
    roomiest = sorted(rooms, key=lambda room: -room.free)[:ranks]
    if ranks == 1 and roomiest[0].free < least:
        return list(rooms)
    return [room for room in rooms if room in roomiest]
