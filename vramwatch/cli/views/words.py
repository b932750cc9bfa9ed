"""Sentences for what the records say in one word."""

from vramwatch.core.model import Event, Explanation, Fault, FaultKind, GhostKind, Gpu, Ledger
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes, show_seconds

PIDS_NAMED = 4
"""So many pids are written out; the rest are counted."""

BECAUSE = {
    FaultKind.NO_DRIVER: "no NVIDIA driver answers",
    FaultKind.MISMATCH: "the driver's library and its kernel module differ in version",
    FaultKind.LOST: "the GPU has fallen off the bus",
    FaultKind.RESET_REQUIRED: "the GPU must be reset",
    FaultKind.NO_PERMISSION: "the driver refuses vramwatch access",
    FaultKind.NOT_SUPPORTED: "the driver cannot tell this of the GPU",
    FaultKind.GONE: "the GPU or its MIG instance is gone",
    FaultKind.HUNG: "the driver did not answer",
    FaultKind.CRASHED: "the process that reads the driver crashed",
    FaultKind.LEFT_OUT: "the GPU hung the driver twice and is left out for a while",
    FaultKind.RELEASED: "an operator let go of the GPUs",
    FaultKind.STARTING: "the process that reads the driver is starting",
    FaultKind.STOPPED: "the daemon was stopped",
    FaultKind.STALLED: "no poll was made",
    FaultKind.NOT_KEPT: "the store could not be written",
    FaultKind.RECORDED: "the recording has a gap",
    FaultKind.ENDED: "the recording ends here",
    FaultKind.UNKNOWN: "of an unknown fault",
}

GHOST_STATE = {
    GhostKind.GONE: "gone",
    GhostKind.ZOMBIE: "a zombie",
    GhostKind.STUCK: "stuck in the kernel",
}

_EXPLAINED = {
    Explanation.HIDDEN_PIDS: (
        "Processes of other pid namespaces are not shown to vramwatch here; "
        "run it in the host's pid namespace (hostPID: true, --pid=host) to see them."
    ),
    Explanation.MANAGED: (
        "Managed memory (cudaMallocManaged) is missing from the driver's figures per process."
    ),
    Explanation.SHARED: (
        "Memory that processes share counts for its owner and again for each that imports it, "
        "so together they claim more than is used."
    ),
    Explanation.MPS: (
        "An MPS server runs here: what its clients hold may stand with the server or with nobody."
    ),
    Explanation.DRIVER: "This driver (older than R510) counts what it reserves for itself as used.",
    Explanation.NOBODY: (
        "No process is listed and yet bytes are used: a process that ended and left memory behind, or one "
        "that is not shown; as root, fuser -v /dev/nvidia* names who has the device open."
    ),
}


def join_sentences(*sentences: str) -> str:
    """Return the sentences, each with its full stop, as one text; empty ones are left out."""
    return " ".join(f"{sentence.rstrip('. ')}." for sentence in sentences if sentence)


def because(reason: str) -> str:
    """Return a Fault's or a Gap's reason as a clause: "the driver did not answer"."""
    try:
        return BECAUSE[FaultKind(reason)]
    except ValueError:
        return clean(reason)


def happened(event: Event) -> str:
    """Return an Event as a clause: "released by alice (uid 1000): for 15m"."""
    author = f" by {clean(event.author)}" if event.author else ""
    return f"{str(event.kind).replace('_', ' ')}{author}: {clean(event.detail)}"


def blame(fault: Fault, gpu: Gpu | None = None) -> str:
    """Return why ``gpu`` (None: any) could not be read, with the driver's own words in brackets."""
    reason, detail = because(fault.kind), clean(fault.detail)
    named = "" if fault.call is None or fault.call in detail else clean(fault.call)
    call = " ".join(part for part in (clean(gpu.uuid) if gpu else "", named) if part)
    code = "" if fault.code is None else f"code {fault.code}"
    own = ", ".join(part for part in (call, "" if detail == reason else detail, code) if part)
    return f"{reason} ({own})" if own else reason


def explain(explanation: Explanation, ledger: Ledger) -> str:
    """Return the sentence that tells an operator what may stand behind unattributed bytes."""
    if explanation is Explanation.WITHHELD:
        withheld = [holding.pid for holding in ledger.holdings if holding.held is None]
        return (
            f"The driver does not say what {pids(withheld)} {'holds' if len(withheld) == 1 else 'hold'} "
            "(n/a above): it is part of this figure."
        )
    if explanation is Explanation.STALE_LIST:
        return (
            f"Memory has moved since the process list was read{_list_age(ledger)}; the next list settles it."
        )
    if explanation is Explanation.NO_LIST:
        fault = ledger.reading.claims_fault
        return (
            f"The process list could not be read: {blame(fault)}."
            if fault
            else "No process list was ever read."
        )
    return _EXPLAINED[explanation]


def _list_age(ledger: Ledger) -> str:
    if ledger.listed is None or ledger.listed.boot_id != ledger.at.boot_id:
        return ""
    return f" {show_seconds(ledger.at.boottime - ledger.listed.boottime)} before"


def pids(numbers: list[int]) -> str:
    """Return "pid 7", "pids 7 and 8", "pids 7, 8, 9, 10 and 3 more"."""
    named = [str(number) for number in numbers[:PIDS_NAMED]]
    left = len(numbers) - len(named)
    if left:
        named.append(f"{left} more")
    listed = " and ".join((", ".join(named[:-1]), named[-1])) if len(named) > 1 else "".join(named)
    return f"{'pid' if len(numbers) == 1 else 'pids'} {listed}"


def change_words(change: int | None, span: float) -> str:
    """Return a change in bytes over ``span`` seconds: "+1.2 GiB in 1h", "change in 1h: n/a"."""
    if change is None:
        return f"change in {show_seconds(span)}: n/a"
    return f"{show_bytes(change, signed=True)} in {show_seconds(span)}"
