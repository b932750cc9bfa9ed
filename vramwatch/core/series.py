"""Which series a Ledger feeds."""

from collections.abc import Iterator

from vramwatch.core.model import Ledger, ProcessKey, Sample, SeriesKey, SubjectKind
from vramwatch.core.units import Bytes

USED_BYTES = "used_bytes"
PEAK_BYTES = "peak_bytes"


def samples(ledger: Ledger) -> tuple[Sample, ...]:
    """Return one Sample for every figure of ``ledger`` that is known at its instant.

    Of the Gpu: used_bytes, reserved_bytes, total_bytes, and utilization_ratio (0..1),
    temperature_celsius, power_watts where they were read. Of each process: used_bytes, peak_bytes, and
    its gauges. Of each Owner, of all ghosts together of nobody
    (signed) and of each control group: used_bytes. What follows
    from the process list is told only when the list was read at this very poll, and never where the
    driver withholds it: an Owner with a withheld process has no sum. Order: Gpu, processes, Owners,
    ghosts, unattributed, control groups; no series twice.
    """
    return (*_of_gpu(ledger), *_of_processes(ledger), *_of_owners(ledger), *_of_the_rest(ledger))


def process_subject(key: ProcessKey) -> str:
    """Return ``key`` as the subject of a series: "boot id/pid/start ticks"."""
    return f"{key.boot_id}/{key.pid}/{key.start_ticks}"


def process_key(subject: str) -> ProcessKey:
    """Return the key that ``process_subject`` wrote. Errors: ValueError for any other text."""
    parts = subject.rsplit("/", 2)
    if len(parts) != 3 or not all(part.isdecimal() for part in parts[1:]):
        raise ValueError(f"{subject!r} names no process; it is written boot-id/pid/start-ticks")
    return ProcessKey(parts[0], int(parts[1]), int(parts[2]))


def _sample(ledger: Ledger, kind: SubjectKind, subject: str, quantity: str, value: float) -> Sample:
    return Sample(SeriesKey(ledger.gpu.uuid, kind, subject, quantity), value)


def _of_gpu(ledger: Ledger) -> Iterator[Sample]:
    reading = ledger.reading
    figures = (
        (USED_BYTES, reading.memory.used),
        ("reserved_bytes", reading.memory.reserved),
        ("total_bytes", reading.memory.total),
        ("utilization_ratio", reading.utilization),
        ("temperature_celsius", reading.temperature),
        ("power_watts", reading.power),
    )
    for quantity, value in figures:
        if value is not None:
            yield _sample(ledger, SubjectKind.GPU, "", quantity, value)


def _of_processes(ledger: Ledger) -> Iterator[Sample]:
    subjects = {each.pid: process_subject(each.tenant.facts.key) for each in ledger.holdings}
    for holding in ledger.holdings:
        subject = subjects[holding.pid]
        if ledger.is_fresh and holding.held is not None:
            yield _sample(ledger, SubjectKind.PROCESS, subject, USED_BYTES, holding.held)
        if holding.peak is not None:
            yield _sample(ledger, SubjectKind.PROCESS, subject, PEAK_BYTES, holding.peak)
    told = {(gauge.pid, gauge.quantity): gauge.value for gauge in ledger.reading.gauges}
    for (pid, quantity), value in told.items():
        if pid in subjects and quantity not in (USED_BYTES, PEAK_BYTES):
            yield _sample(ledger, SubjectKind.PROCESS, subjects[pid], quantity, value)


def _of_owners(ledger: Ledger) -> Iterator[Sample]:
    if not ledger.is_fresh:
        return
    sums: dict[str, Bytes | None] = {}
    for holding in ledger.holdings:
        owner = holding.tenant.owner.key
        sums[owner] = _plus(sums.get(owner, Bytes(0)), holding.held)
    for key, used in sums.items():
        if used is not None:
            yield _sample(ledger, SubjectKind.OWNER, key, USED_BYTES, used)


def _plus(total: Bytes | None, part: Bytes | None) -> Bytes | None:
    return None if total is None or part is None else Bytes(total + part)


def _of_the_rest(ledger: Ledger) -> Iterator[Sample]:
    if ledger.is_fresh:
        yield _sample(ledger, SubjectKind.GHOST, "", USED_BYTES, ledger.ghost_bytes)
        yield _sample(ledger, SubjectKind.UNATTRIBUTED, "", USED_BYTES, ledger.unattributed)
        for path, used in ledger.reading.groups.items():
            yield _sample(ledger, SubjectKind.CGROUP, path, USED_BYTES, used)
