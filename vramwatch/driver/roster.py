"""The Gpus that are known, those that have appeared and those that have vanished. Kept by the parent."""

from collections.abc import Collection, Sequence
from typing import Any

from vramwatch.core.model import Event, EventKind, Fault, FaultKind, Gpu, Missing
from vramwatch.core.units import Seconds
from vramwatch.driver.wire import Identity

REMEMBERED = Seconds(3600.0)
"""How long a Gpu that vanished is reported as gone."""

VANISHED_MOST = 256
"""So many vanished Gpus are remembered; MIG instances can be made and destroyed without end."""

_UNTOLD = "index:"


class Roster:
    """Survives the readers: a Gpu keeps its name and place across them."""

    def __init__(self) -> None:
        self._present: dict[str, Gpu] | None = None  # None: no reader has told yet
        self._vanished: dict[str, tuple[Gpu, float]] = {}
        self._aliases: dict[str, str] = {}  # "index:3" -> the UUID known for that place

    def take(self, rows: Sequence[Sequence[Any]], left_out: Collection[str], now: float) -> tuple[Event, ...]:
        """Take over an inventory (rows of Identity); return who appeared and who vanished.

        Devices ``left_out`` are absent from it and have not vanished. Errors: ValueError, TypeError.
        """
        known = self._present or {}
        self._aliases = {}
        told = [_gpu(Identity(*row)) for row in rows]
        named = {gpu.uuid for gpu in told}
        present = {}
        for gpu in told:
            true = self._recognise(gpu, known, named) if gpu.uuid.startswith(_UNTOLD) else gpu
            present[true.uuid] = true
        for uuid, gpu in known.items():
            if uuid in left_out or gpu.parent in left_out:
                present.setdefault(uuid, gpu)
        is_first, self._present = self._present is None, present
        vanished = [g for uuid, g in known.items() if uuid not in present and not uuid.startswith(_UNTOLD)]
        divided = {gpu.parent for gpu in present.values()}
        for gpu in vanished:
            if gpu.uuid not in divided:
                self._vanished[gpu.uuid] = (gpu, now)
        while len(self._vanished) > VANISHED_MOST:
            del self._vanished[next(iter(self._vanished))]
        for uuid in present:
            self._vanished.pop(uuid, None)
        appeared = [] if is_first else [gpu for uuid, gpu in present.items() if uuid not in known]
        return (
            *(_event(EventKind.GPU_VANISHED, gpu, gpu.uuid in divided) for gpu in vanished),
            *(_event(EventKind.GPU_APPEARED, gpu, False) for gpu in appeared),
        )

    def gpu(self, uuid: str) -> Gpu:
        """Return the present Gpu with ``uuid``. Errors: ValueError for one that no inventory named."""
        try:
            return (self._present or {})[self._aliases.get(uuid, uuid)]
        except KeyError:
            raise ValueError(f"a row about {uuid!r}, which is in no inventory") from None

    def device(self, uuid: str) -> str:
        """Return the UUID of the device of a Gpu: its parent's for a MIG instance, else its own."""
        true = self._aliases.get(uuid, uuid)
        gpu = (self._present or {}).get(true)
        return gpu.parent if gpu and gpu.parent else true

    def of_device(self, device: str, index: int) -> tuple[Gpu, ...]:
        """Return the Gpus of a device: itself, or its MIG instances; never empty."""
        known = tuple(g for g in (self._present or {}).values() if device in (g.uuid, g.parent))
        return known or (Gpu(device, str(index), ""),)

    def missing(self, now: float) -> tuple[Missing, ...]:
        """Return a Missing for each Gpu that vanished within the last hour."""
        if not self._vanished:
            return ()
        self._vanished = {u: (g, at) for u, (g, at) in self._vanished.items() if now - at < REMEMBERED}
        gone = Fault(FaultKind.GONE, "the driver no longer lists the GPU")
        return tuple(Missing(gpu, gone) for gpu, _ in self._vanished.values())

    def is_empty(self) -> bool:
        return not self._present and not self._vanished

    def _recognise(self, unnamed: Gpu, known: dict[str, Gpu], named: set[str]) -> Gpu:
        """Return the Gpu that was known in the place of one whose UUID the driver will not tell."""
        for gpu in known.values():
            if gpu.ordinal == unnamed.ordinal and gpu.uuid not in named:
                self._aliases[unnamed.uuid] = gpu.uuid
                return gpu
        return unnamed


def _gpu(row: Identity) -> Gpu:
    texts = (row.uuid, row.ordinal, row.name)
    if not all(isinstance(text, str) for text in texts) or not row.uuid:
        raise ValueError("an inventory row that names no GPU")
    return Gpu(row.uuid, row.ordinal, row.name, row.pci, row.parent, bool(row.unified))


def _event(kind: EventKind, gpu: Gpu, is_divided: bool) -> Event:
    if is_divided:
        return Event(kind, "MIG is on: it is read by its instances from now on", gpu.uuid)
    of = f", MIG instance of {gpu.parent}" if gpu.parent else ""
    verb = "appeared" if kind is EventKind.GPU_APPEARED else "vanished"
    return Event(kind, f"GPU {gpu.ordinal} ({gpu.name}{of}) {verb}", gpu.uuid)
