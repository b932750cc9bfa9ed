"""How much memory is free, and where: as it is written, else as the daemon or the driver says."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vramwatch.core.errors import NoDeviceError, UsageError
from vramwatch.core.planning import Room
from vramwatch.core.units import Bytes

if TYPE_CHECKING:
    from vramwatch.cli.views.status import Status

OLD_AFTER = 30.0
"""Seconds after which the daemon's word is not of now; why it is so old, its store tells."""


@dataclass(frozen=True, slots=True)
class Free:
    """What is free on one GPU or MIG instance. Bytes; ``parent``: UUID of the device that it is part of."""

    uuid: str
    ordinal: str
    parent: str | None
    free: int
    total: int


def written_rooms(free: Sequence[int], ranks: int) -> list[Room]:
    """Return empty GPUs of these sizes; one size alone stands for all ``ranks``. Errors: UsageError."""
    sizes = list(free) * ranks if len(free) == 1 else list(free)
    if ranks not in (1, len(sizes)):
        raise UsageError(
            f"--tp {ranks} needs {ranks} GPUs, and --free names {len(sizes)}; name one or {ranks}"
        )
    return [Room(f"GPU {place}", Bytes(size), Bytes(size)) for place, size in enumerate(sizes)]


def free_by_the_daemon(config_path: Path | None, names: Collection[str]) -> list[Free] | None:
    """Return what the daemon read last, of the GPUs of these ordinals and UUIDs; none named: of all.

    None: it does not say, or not of now; it does not write the store that a reader finds; or a name is not
    among its GPUs. Who asks the store then is told which.
    """
    from vramwatch.cli.asking import ask_daemon, find_store
    from vramwatch.control.control import ControlError
    from vramwatch.store.location import mark

    try:
        reply = ask_daemon(config_path, "free", {})
    except ControlError:
        return None
    is_of_now = reply["time"] is not None and abs(time.time() - reply["time"]) < OLD_AFTER
    if not is_of_now or reply["writes"] != mark(find_store(config_path, None)):
        return None
    read = [
        Free(each["gpu"], each["ordinal"], each["parent"], each["free_bytes"], each["total_bytes"])
        for each in reply["gpus"]
    ]
    asked_for = {each.uuid for each in read if each.ordinal in names or each.uuid in names}
    if len(asked_for) < len(set(names)):
        return None
    return [each for each in read if not names or {each.uuid, each.parent} & asked_for] or None


def free_in(status: "Status") -> list[Free]:
    """Return what is free on each GPU that ``status`` has read."""
    ledgers = status.poll.ledgers
    return [
        Free(each.gpu.uuid, each.gpu.ordinal, each.gpu.parent, each.memory.free, each.memory.total)
        for each in ledgers
    ]


def present_rooms(read: Sequence[Free]) -> list[Room]:
    """Return the GPUs that were read, as people count them; of a divided device its MIG instances alone.

    Errors: NoDeviceError where there is none.
    """
    divided = {each.parent for each in read}
    found = [each for each in read if each.uuid not in divided]
    if not found:
        raise NoDeviceError("no GPU could be read; vramwatch doctor says why.")
    return [
        Room(f"GPU {each.ordinal}", Bytes(each.free), Bytes(each.total))
        for each in sorted(found, key=lambda each: _counted(each.ordinal))
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
