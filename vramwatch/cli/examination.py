"""What doctor looks at: one function a subject, each answering with what it found and what to do."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib import metadata
from pathlib import Path

from vramwatch.assembly import look_once, surroundings
from vramwatch.cli import machine, outward
from vramwatch.cli.findings import Finding, Grade
from vramwatch.cli.looking import stored_status
from vramwatch.cli.profile import REVEALING, hides_others
from vramwatch.cli.views.status import OVER, standing_words
from vramwatch.cli.views.words import pids
from vramwatch.clock import MonotonicClock
from vramwatch.config import Config
from vramwatch.control import control
from vramwatch.control.control import ControlError
from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import Incident, Transition
from vramwatch.core.model import FaultKind, Gpu, MemoryBasis, SubjectKind
from vramwatch.core.poll import Poll
from vramwatch.core.texts import clean
from vramwatch.core.troubles import BLIND, CHANNEL, CONFIGURATION, PROBE, STORE
from vramwatch.core.units import MIB, show_bytes, show_seconds
from vramwatch.core.whereabouts import Whereabouts
from vramwatch.core.wording import clock
from vramwatch.driver.survey import survey
from vramwatch.procfs import IdentifySocket
from vramwatch.store import History, StoreDamaged

LITTLE_SPACE = 512 * MIB
"""Below this a busy server's history may fill the disk within days."""

CLASHES = {
    "vramwatch": "another project's package owns the same import name: uninstall it, or use another venv",
    "pynvml": "deprecated; it shadows nvidia-ml-py and slows every start: pip uninstall pynvml",
}
"""Distribution -> what to do when it is installed beside ours."""

HIDDEN = {
    "ghosts": "who has a GPU's device files open, and so keeps a ghost's memory",
    "environment": "the environment: the names of Slurm jobs, ranks",
    "containers": "what containers are called",
    "addresses": "at which sockets an engine listens, unless its command names the port",
}
"""Subject -> what /proc keeps of other users' processes from a user without capabilities: proc(5)."""

TROUBLES = {
    BLIND: "what is said of the driver and the GPUs above",
    CHANNEL: "{check} has the service try, and prints what its receiver answers",
    CONFIGURATION: "mend the file and send the daemon SIGHUP: it goes on by the old one until then",
    PROBE: "{why}; {resolve} takes the new figures as the measure",
    STORE: "make room, or mend what is said; the newest readings are kept in memory meanwhile",
}
"""Kind of trouble that the daemon has found -> what to do, in which commands stand."""


def examine(config: Config, store: Path, here: Whereabouts) -> list[Finding]:
    """Return one Finding or more a subject, in the order in which a person would look.

    ``store``: where it is looked for. ``here``: what the commands of remedies have to name.
    """
    kept = list(_store(store, here))
    socket = config.control.place(os.environ, os.geteuid())
    hello = _hello(socket)
    source = _source_of(config, hello)
    return [
        Finding("configuration", Grade.OK, "read without a fault"),
        *_packages(),
        *machine.look_at(Path("/"), survey()),
        machine.clock(),
        *_source(config, source),
        *_processes(),
        *kept,
        *machine.service(),
        *outward.drop_ins(config),
        _daemon(socket, hello),
        _workers(config, socket, source),
        *outward.channels(config, here, {each.subject for each in kept}),
        *outward.remedies(config, here),
    ]


def _hello(socket: Path) -> Mapping[str, object] | ControlError:
    """Return what the daemon says of itself, else why none answers."""
    try:
        return control.request(socket, "ping", {})
    except ControlError as error:
        return error


def _source_of(config: Config, hello: Mapping[str, object] | ControlError) -> str:
    """Return where the daemon's readings come from, by its own word; without one, as it is configured."""
    told = None if isinstance(hello, ControlError) else hello.get("source")
    return clean(str(told)) if told else config.source_name


def _source(config: Config, source: str) -> Iterator[Finding]:
    """Yield what is said of the GPUs; a simulated server or a recording is none that could be looked at."""
    if source == "nvml":
        yield from _gpus(look_once(config))
    else:
        whose = "" if source == config.source_name else ", says the daemon"
        text = f"{source}{whose}: no driver is asked; what is shown is no GPU of this machine"
        yield Finding("source", Grade.OK, text)


def _packages() -> Iterator[Finding]:
    for name, remedy in CLASHES.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        yield Finding("packages", Grade.WARN, f"{name} {version} is installed beside vramwatchd", remedy)


def _gpus(poll: Poll) -> Iterator[Finding]:
    for ledger in poll.ledgers:
        gpu, memory = ledger.gpu, ledger.memory
        text = f"{gpu.name} {gpu.uuid}: {show_bytes(memory.used)} of {show_bytes(memory.total)} used"
        withheld = [holding.pid for holding in ledger.holdings if holding.held is None]
        if ledger.reading.claims_fault:
            remedy = "without the list of processes nothing can be attributed on this GPU"
            yield Finding(
                f"GPU {gpu.ordinal}", Grade.WARN, f"{text}; {ledger.reading.claims_fault.detail}", remedy
            )
        elif withheld:
            remedy = "the driver withholds bytes under WSL and WDDM; totals are right, shares unknown"
            yield Finding(
                f"GPU {gpu.ordinal}",
                Grade.WARN,
                f"{text}; it does not say what {pids(withheld)} held",
                remedy,
            )
        elif memory.basis is MemoryBasis.V1:
            remedy = "the driver is older than R510: what it reserves for itself stands in 'used'"
            yield Finding(f"GPU {gpu.ordinal}", Grade.WARN, text, remedy)
        else:
            yield Finding(f"GPU {gpu.ordinal}", Grade.OK, text)
    for missing in poll.missing:
        subject = f"GPU {missing.gpu.ordinal}" if missing.gpu else "driver"
        yield Finding(subject, Grade.FAIL, missing.fault.detail, _remedy(missing.fault.kind, missing.gpu))
    if not poll.ledgers and not poll.missing:
        yield Finding("driver", Grade.FAIL, "the driver is there and lists no GPU", "see nvidia-smi -L")


def _remedy(kind: FaultKind, gpu: Gpu | None) -> str:
    reset = f"nvidia-smi --gpu-reset{f' -i {gpu.uuid}' if gpu else ''}"
    return {
        FaultKind.NO_DRIVER: "install the NVIDIA driver; in a container: --gpus all; without a GPU: make try",
        FaultKind.MISMATCH: "the driver was upgraded under a loaded module: reboot, or reload the module",
        FaultKind.LOST: "the GPU fell off the bus: see dmesg for Xid; it comes back by a reset or a reboot",
        FaultKind.RESET_REQUIRED: f"vramwatch release, then {reset}, then vramwatch resume",
        FaultKind.NO_PERMISSION: "the device files /dev/nvidia* are closed to this user: see their group",
        FaultKind.HUNG: "a driver call does not return: see dmesg; a reboot may be needed",
        FaultKind.STARTING: "the driver took too long to start: enable persistence mode, then try again",
    }.get(kind, "see dmesg and nvidia-smi")


def _processes() -> Iterator[Finding]:
    if surroundings(live=True).hidden_pids:
        remedy = "run in the host's pid namespace (docker: --pid=host; Kubernetes: hostPID: true)"
        yield Finding("processes", Grade.WARN, "those outside this container cannot be seen", remedy)
    if hides_others():
        for subject, what in HIDDEN.items():
            text = f"of other users' processes the daemon cannot see {what}"
            yield Finding(subject, Grade.WARN, text, f"{REVEALING} adds a helper that tells it")
    elif IdentifySocket().is_there:
        yield Finding("processes", Grade.OK, "the helper of the profile identify tells what /proc hides")
    elif not surroundings(live=True).hidden_pids:
        yield Finding("processes", Grade.OK, "all of this machine can be seen")


def _store(path: Path, here: Whereabouts) -> Iterator[Finding]:
    try:
        with closing(History.open(path)) as history:
            span, status = (
                history.span(),
                stored_status(history, path, MonotonicClock(first_seq=0).now(), None),
            )
            troubles = [_trouble(each, here) for each in history.open_incidents() if _is_own(each.incident)]
            history.check()
    except StoreDamaged as error:
        remedy = "at its start the daemon sets a damaged store aside with its date, and begins a new one"
        yield Finding("store", Grade.FAIL, str(error), remedy)
        return
    except StoreError as error:
        yield Finding("store", Grade.WARN, str(error), "" if path.exists() else "vramwatch run begins one")
        return
    size = show_bytes(_size(path))
    if span is None or status is None:
        yield Finding("store", Grade.WARN, f"{path} ({size}) holds no reading yet", "vramwatch run fills it")
        return
    text = f"{path} ({size}) holds {show_seconds(span[1] - span[0])}"
    grade = Grade.WARN if status.standing in OVER else Grade.OK
    yield Finding("store", grade, text, standing_words(status))
    yield _disk(path.parent)
    yield from troubles


def _disk(place: Path) -> Finding:
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_flag & os.ST_RDONLY:
        return Finding("disk", Grade.WARN, f"read-only at {place}", "mount it for writing; dmesg may say why")
    text = f"{show_bytes(free)} free at {place}"
    return (
        Finding("disk", Grade.WARN, text, "make room")
        if free < LITTLE_SPACE
        else Finding("disk", Grade.OK, text)
    )


def _size(store: Path) -> int:
    """Return the bytes that ``store`` takes on disk: what was written last lies in the log beside it."""
    log = store.with_name(f"{store.name}-wal")
    return store.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _is_own(incident: Incident) -> bool:
    return incident.subject.kind is SubjectKind.VRAMWATCH


def _trouble(told: Transition, here: Whereabouts) -> Finding:
    """Return what the daemon has found wrong with vramwatch itself, as it was told last."""
    incident = told.incident
    name = incident.subject.owner or ""
    kind, _, channel = name.partition(" ")
    text = f"{clean(incident.judgement.evidence.sentence)} (since {clock(incident.opened, None)})"
    remedy = TROUBLES.get(kind, "{why}").format(
        check=here.asking(f"check --send {channel}"),
        why=here.reading(f"why {incident.id}"),
        resolve=here.asking(f"incidents resolve {incident.id}"),
    )
    return Finding(name if channel else "vramwatch", Grade.WARN, text, remedy)


def _workers(config: Config, socket: Path, source: str) -> Finding:
    """Return whether workers can enrol, and how many have, by the word of the daemon at ``socket``."""
    place = config.workers.place(socket)
    if not config.workers.enabled:
        return Finding("workers", Grade.OK, "none may enrol (workers.enabled)")
    if source != "nvml":
        return Finding("workers", Grade.OK, f"none can enrol: {source} has no process of this machine")
    try:
        workers = control.request(socket, "workers", {}).get("workers")
    except ControlError:
        text, remedy = f"no daemon says who has enrolled on {place}", "what is said of the daemon above"
        return Finding("workers", Grade.WARN, text, remedy)
    if workers is None:
        text = f"none can enrol on {place}"
        return Finding("workers", Grade.WARN, text, "the daemon's log says why, where it started")
    if doubted := [worker["pid"] for worker in workers if worker["excess_bytes"]]:
        text = f"{pids(doubted)} said to hold more than the driver does"
        return Finding("workers", Grade.WARN, text, "their word is not used; see vramwatch status")
    return Finding("workers", Grade.OK, f"{len(workers)} enrolled on {place}")


def _daemon(socket: Path, hello: Mapping[str, object] | ControlError) -> Finding:
    if isinstance(hello, ControlError):
        return Finding("daemon", Grade.WARN, str(hello))
    if fault := hello.get("store"):
        text = f"answers on {socket}; its store cannot be written: {clean(str(fault))}"
        return Finding("daemon", Grade.WARN, text, TROUBLES[STORE])
    return Finding("daemon", Grade.OK, f"answers on {socket}")
