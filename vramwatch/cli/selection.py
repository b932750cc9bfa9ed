"""Which series an answer is about: what --gpu, --pid, --owner and --quantity pick out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vramwatch.cli.views.text import clean
from vramwatch.core.errors import UsageError
from vramwatch.core.model import Gpu, Owner, SubjectKind
from vramwatch.core.series import USED_BYTES
from vramwatch.store import SeriesRow

MOST_NAMED = 20
"""Names that a message lists of what there is."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for; None: not asked for."""

    gpu: str | None = None  # as written: ordinal, UUID, or its beginning
    pid: int | None = None
    owner: str | None = None  # key, name, or glob of either
    quantity: str = USED_BYTES

    @property
    def is_open(self) -> bool:
        """Whether nothing narrows the answer down."""
        return self.gpu is None and self.pid is None and self.owner is None and self.quantity == USED_BYTES


def pick_gpu(written: str, gpus: Iterable[Gpu]) -> Gpu:
    """Return the Gpu that ``written`` names: ordinal ("0", "0:1"), UUID, or the beginning of one UUID alone.

    Errors: UsageError listing what there is.
    """
    known = list(gpus)
    exact = [gpu for gpu in known if written in (gpu.ordinal, gpu.uuid)]
    begun = [gpu for gpu in known if written and gpu.uuid.lower().startswith(written.lower())]
    found = exact or begun
    if len(found) == 1:
        return found[0]
    there = ", ".join(f"{gpu.ordinal} ({clean(gpu.uuid)})" for gpu in (found or known)[:MOST_NAMED])
    if found:
        raise UsageError(f"--gpu {written!r} names several GPUs: {there}; write one of these in full")
    raise UsageError(f"--gpu {written!r} is not among the GPUs of this store: {there or 'it has none'}")


def pick_series(selection: Selection, rows: Sequence[SeriesRow]) -> list[SeriesRow]:
    """Return the series of ``rows`` that ``selection`` asks for, none twice over.

    A pid's are its process's, an owner's are the owner's own; a Gpu's are its whole and, for used_bytes,
    its owners, ghosts and unattributed bytes, not the processes, whose bytes stand with their owners.

    Errors: UsageError for a quantity that no series has.
    """
    quantities = sorted({row.key.quantity for row in rows})
    if rows and selection.quantity not in quantities:
        listed = ", ".join(quantities)
        raise UsageError(f"--quantity {selection.quantity!r} is not kept in this store; it has {listed}")
    wanted = [row for row in rows if row.key.quantity == selection.quantity]
    if selection.owner is not None:
        wanted = [row for row in wanted if row.owner and is_owner(selection.owner, row.owner)]
    if selection.pid is not None:
        return [row for row in wanted if row.process and row.process.key.pid == selection.pid]
    summed = [row for row in wanted if row.key.kind is not SubjectKind.PROCESS]
    return summed or wanted  # what only processes have, such as an engine's KV bytes


def is_owner(written: str, owner: Owner) -> bool:
    """Whether ``written`` is the owner's key or name, or a glob that fits one of them."""
    return any(written == name or fnmatchcase(name, written) for name in (owner.key, owner.name))


def owners_there(rows: Iterable[SeriesRow]) -> str:
    """Return the names of the owners that have series, for a message."""
    names = sorted({clean(row.owner.name) or clean(row.owner.key) for row in rows if row.owner})
    left = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {left} more" if left > 0 else "")
