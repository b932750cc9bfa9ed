"""Which series an answer is about: what --gpu, --pid, --owner and their like pick out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vramwatch.core.errors import UsageError
from vramwatch.core.model import Gpu, Owner, ProcessFacts, SubjectKind
from vramwatch.core.series import USED_BYTES
from vramwatch.core.texts import clean
from vramwatch.store import History, SeriesRow

MOST_NAMED = 20
"""Names that a message lists of what there is."""

SUMMED = tuple(kind for kind in SubjectKind if kind is not SubjectKind.PROCESS)
"""Subjects that are no single process; a process's bytes stand with its owner among them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for; None: not asked for. Names may be globs."""

    gpu: str | None = None  # as written: ordinal, UUID, or its beginning
    pid: int | None = None
    owner: str | None = None  # key or name
    quantity: str = USED_BYTES
    engine: str | None = None
    container: str | None = None  # name or id
    pod: str | None = None  # name, namespace/name or uid
    unit: str | None = None
    job: str | None = None  # number or name
    user: str | None = None  # name or uid

    @property
    def is_open(self) -> bool:
        """Whether nothing narrows the answer down."""
        return self == Selection()

    @property
    def is_of_processes(self) -> bool:
        """Whether processes are asked for, one by one."""
        return any((self.pid, self.engine, self.container, self.pod, self.unit, self.job, self.user))

    def takes(self, process: ProcessFacts) -> bool:
        """Return whether ``process`` has all that was asked for but its pid and its engine."""
        return all(
            any(text is not None and fnmatchcase(text, written) for text in texts)
            for written, texts in _named(self, process)
            if written is not None
        )


def _named(wanted: Selection, process: ProcessFacts) -> Iterator[tuple[str | None, tuple[str | None, ...]]]:
    """Yield what was written for each property beside the texts that it may mean."""
    container, pod, slurm = process.container, process.pod, process.slurm
    yield wanted.container, (container.name, container.id) if container else ()
    yield wanted.pod, (pod.name, f"{pod.namespace}/{pod.name}", pod.uid) if pod else ()
    yield wanted.unit, (process.unit,)
    yield wanted.job, (slurm.job, slurm.name) if slurm else ()
    yield wanted.user, (process.user, None if process.uid is None else str(process.uid))


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
    there = gpus_there(found or known)
    if found:
        raise UsageError(f"--gpu {written!r} names several GPUs: {there}; write one of these in full")
    raise UsageError(f"--gpu {written!r} is not among the GPUs of this store: {there or 'it has none'}")


def pick_series(selection: Selection, history: History, uuid: str | None) -> list[SeriesRow]:
    """Return the series that ``selection`` asks for on the Gpu ``uuid`` (None: on all), none twice over.

    What names processes gets the processes' own; an owner's are the owner's own; a Gpu's are its whole
    and, for used_bytes, its owners, ghosts and unattributed bytes, not the processes, whose bytes stand
    with their owners.

    Errors: UsageError for a quantity that no series has; StoreError.
    """
    quantity = selection.quantity
    if selection.is_of_processes:
        rows = history.series(
            gpu=uuid,
            kind=SubjectKind.PROCESS,
            pid=selection.pid,
            quantity=quantity,
            engine=selection.engine,
        )
        found = [row for row in rows if row.process and selection.takes(row.process)]
    else:
        found = [
            row for kind in SUMMED for row in history.series(gpu=uuid, kind=kind, quantity=quantity)
        ] or history.series(gpu=uuid, quantity=quantity)  # what only processes have, as engine_kv_bytes
    if not found:
        _check_quantity(quantity, history, uuid)
    written = selection.owner
    return [row for row in found if written is None or (row.owner and is_owner(written, row.owner))]


def _check_quantity(quantity: str, history: History, uuid: str | None) -> None:
    kept = sorted({row.key.quantity for row in history.series(gpu=uuid)})
    if kept and quantity not in kept:
        raise UsageError(f"--quantity {quantity!r} is not kept in this store; it has {', '.join(kept)}")


def gpus_there(gpus: Iterable[Gpu]) -> str:
    """Return what GPUs are called, for a message."""
    return ", ".join(f"{gpu.ordinal} ({clean(gpu.uuid)})" for gpu in list(gpus)[:MOST_NAMED])


def is_owner(written: str, owner: Owner) -> bool:
    """Whether ``written`` is the owner's key or name, or a glob that fits one of them."""
    return any(written == name or fnmatchcase(name, written) for name in (owner.key, owner.name))


def refuse_none_such(option: str, glob: str | None, known: Iterable[str]) -> None:
    """Refuse what none of ``known`` is called; None was not asked for. Errors: UsageError."""
    names = list(known)
    if glob is not None and not any(fnmatchcase(name, glob) for name in names):
        raise UsageError(f"--{option}: no {option} is called {glob!r}; there are: {', '.join(names)}")


def owners_there(rows: Iterable[SeriesRow]) -> str:
    """Return the names of the owners that have series, for a message."""
    names = sorted({clean(row.owner.name) or clean(row.owner.key) for row in rows if row.owner})
    left = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {left} more" if left > 0 else "")
