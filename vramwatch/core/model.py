"""The records that all parts share. Frozen, slotted, without behaviour beyond derived values.

Readings become a ledger, the ledger becomes history. The words are those of docs/glossary.md.
``None`` always means "not known" and is never a zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vramwatch.core.units import Bytes, Seconds

# --- time ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment. Order is ``seq``, durations are ``boottime``, ``wall`` is for people."""

    seq: int
    wall: float  # unix seconds; may step
    boottime: float  # seconds since boot, suspend included; never steps within one boot_id
    boot_id: str


# --- what a source says -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device, or a MIG instance of one, known by its UUID; the ordinal is for display."""

    uuid: str
    ordinal: str  # "0", or "0:2" for the third MIG instance of device 0
    name: str
    pci: str | None = None  # bus id as the driver writes it, e.g. "00000000:65:00.0"
    parent: str | None = None  # UUID of the device, if this is a MIG instance
    unified: bool = False  # shares the host's memory (GB10, Jetson) or is a NUMA node (GH200)


class MemoryBasis(StrEnum):
    """Where the figures of a Memory come from, hence what they mean."""

    V2 = "v2"  # reserved told apart from used
    V1 = "v1"  # driver below R510: ``used`` includes what the driver reserves
    UNIFIED = "unified"  # sum of the processes against the host's memory


@dataclass(frozen=True, slots=True)
class Memory:
    """A Gpu's memory, balanced: ``used + reserved + free == total``. Bytes."""

    total: Bytes
    used: Bytes
    free: Bytes
    reserved: Bytes
    basis: MemoryBasis = MemoryBasis.V2


class ClaimKind(StrEnum):
    COMPUTE = "compute"
    GRAPHICS = "graphics"
    MPS = "mps"


@dataclass(frozen=True, slots=True)
class Claim:
    """Bytes that the driver says one pid holds on one Gpu. ``used`` None: it will not say."""

    pid: int
    used: Bytes | None
    kinds: frozenset[ClaimKind] = frozenset()
    gpu_instance: int | None = None
    compute_instance: int | None = None


class FaultKind(StrEnum):
    """Why something could not be read. The value is stored as a Gap's reason and shown to people."""

    NO_DRIVER = "no_driver"
    MISMATCH = "driver_mismatch"
    LOST = "gpu_lost"
    RESET_REQUIRED = "reset_required"
    NO_PERMISSION = "no_permission"
    NOT_SUPPORTED = "not_supported"
    GONE = "gpu_gone"  # unplugged, or its MIG instance was destroyed
    HUNG = "driver_hung"
    CRASHED = "reader_crashed"
    LEFT_OUT = "left_out"  # this Gpu hung twice and is not asked for a while
    RELEASED = "released"  # an operator asked vramwatch to let go of the GPUs
    STARTING = "reader_starting"
    STOPPED = "daemon_stopped"
    STALLED = "stalled"  # no poll was made: the machine slept, or the daemon was held up
    NOT_KEPT = "not_kept"  # read, but the store could not be written for longer than memory reaches
    RECORDED = "recorded"  # a gap that a replayed file itself names
    ENDED = "recording_ended"  # all of a replayed file was played
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure as a value. ``call`` and ``code`` are the driver's own, where it has them."""

    kind: FaultKind
    detail: str
    call: str | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Gauge:
    """One inner figure of a process, as told by a recording, a worker or an engine.

    ``quantity`` ends in its unit: torch_reserved_bytes, torch_allocated_bytes, engine_kv_bytes,
    engine_kv_ratio, engine_pool_bytes, engine_evictable_bytes, engine_prefix_hit_ratio, engine_sleep_level,
    requests_total, requests_running, requests_waiting, preemptions_total, alloc_retries_total, ooms_total,
    model_bytes, model_gpu_bytes, kv_logical_bytes (the tensors of its caches; engine_kv_bytes are then the
    storages behind them), kv_retained_bytes (of them, for requests that are
    over), kv_requires_grad (1: a cached key holds its graph; 0: none does).
    """

    pid: int
    quantity: str
    value: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One Gpu at one instant as its source told it.

    ``claims`` is None when the process list was not asked for at this poll, or could not be read
    (then ``claims_fault`` says why); an empty tuple is a list that was read and is empty.
    """

    gpu: Gpu
    memory: Memory
    claims: tuple[Claim, ...] | None = None
    claims_fault: Fault | None = None
    utilization: float | None = None  # 0..1
    temperature: float | None = None  # degrees Celsius
    power: float | None = None  # watts
    peaks: Mapping[int, Bytes] = field(default_factory=dict)  # pid -> largest ever, accounting mode
    gauges: tuple[Gauge, ...] = ()
    groups: Mapping[str, Bytes] = field(default_factory=dict)  # path of a control group -> bytes (dmem)


@dataclass(frozen=True, slots=True)
class Missing:
    """A Gpu that could not be read at this poll; ``gpu`` None: nothing could."""

    gpu: Gpu | None
    fault: Fault


class EventKind(StrEnum):
    """Something that happened to vramwatch itself, or that an operator did."""

    STARTED = "started"
    RELEASED = "released"
    RESUMED = "resumed"
    RELEASE_FORGOTTEN = "release_forgotten"  # in older stores: a release that ended by its time
    READER_KILLED = "reader_killed"
    READER_STUCK = "reader_stuck"  # a child that not even SIGKILL ends
    INIT_HUNG = "init_hung"
    LEFT_OUT = "left_out"
    CLOCK_STEP = "clock_step"
    GPU_APPEARED = "gpu_appeared"
    GPU_VANISHED = "gpu_vanished"
    GHOST_HOLDER = "ghost_holder"
    OUT_OF_MEMORY = "out_of_memory"
    KV_CACHE_FULL = "kv_cache_full"  # an engine took requests back for want of room in its own pool
    RELOADED = "reloaded"
    RELOAD_REFUSED = "reload_refused"
    FORGOTTEN = "forgotten"  # somebody's history was deleted: bytes of before stand there as nobody's


class Origin(StrEnum):
    """Who says that a process ran out of memory; a log says what anybody may have made it write."""

    LOG = "log"
    WORKER = "worker"
    ENGINE = "engine"
    RECORDED = "recorded"
    INFERRED = "inferred"


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """A process that was refused memory. ``numbers``: name with unit -> value; may be empty."""

    pid: int | None
    gpu: str | None  # UUID
    numbers: Mapping[str, float]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Event:
    """``pid``, ``numbers`` and ``origin`` tell of a process that ran out of memory."""

    kind: EventKind
    detail: str
    gpu: str | None = None  # UUID
    author: str | None = None  # "alice (uid 1000)" where a person did it
    pid: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict, hash=False)
    origin: Origin | None = None

    @property
    def out_of_memory(self) -> OutOfMemory | None:
        """What the event says of a process that ran out of memory; None for an event of another kind."""
        if self.kind is not EventKind.OUT_OF_MEMORY or self.origin is None:
            return None
        return OutOfMemory(self.pid, self.gpu, self.numbers, self.origin)


@dataclass(frozen=True, slots=True)
class Readings:
    """All that one poll brought. ``driver_seconds`` is the time spent inside driver calls."""

    gpus: tuple[Reading, ...] = ()
    missing: tuple[Missing, ...] = ()
    events: tuple[Event, ...] = ()
    driver_seconds: Mapping[str, Seconds] = field(default_factory=dict)  # call group -> seconds
    driver_calls: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """What to read at this poll, beside the memory of every Gpu.

    ``lists``: UUIDs whose process list and utilisation are wanted; None means all of them.
    ``slow``: temperature, power, accounting peaks and the device count are wanted too.
    """

    lists: frozenset[str] | None = None
    slow: bool = True


# --- who is inside a process --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProcessKey:
    """One life of one process; never reused."""

    boot_id: str
    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Container:
    id: str
    runtime: str  # docker, containerd, cri-o, podman, lxc, unknown
    name: str | None = None
    image: str | None = None
    compose_project: str | None = None
    compose_service: str | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    uid: str
    name: str | None = None
    namespace: str | None = None
    container: str | None = None  # the container's name within the pod


@dataclass(frozen=True, slots=True)
class SlurmJob:
    job: str
    step: str | None = None
    name: str | None = None
    user: str | None = None


class ProcessState(StrEnum):
    ALIVE = "alive"
    ZOMBIE = "zombie"
    STUCK = "stuck"  # D state: not even SIGKILL ends it
    GONE = "gone"  # no such process any more
    HIDDEN = "hidden"  # belongs to another pid namespace, which we cannot see into


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What /proc says of one process. Texts are redacted and bounded where they are read."""

    key: ProcessKey
    state: ProcessState = ProcessState.ALIVE
    state_since: float = 0.0  # boottime at which ``state`` was first seen
    name: str = ""  # comm, at most 15 characters
    argv: tuple[str, ...] = ()  # secrets redacted, at most 2 KiB; to recognise it by, not stored
    title: str = ""  # what it calls itself (setproctitle), else the joined argv; at most 256 bytes
    uid: int | None = None
    user: str | None = None
    parent_pid: int | None = None
    ancestors: tuple["Ancestor", ...] = ()  # parent first, up to the init or the container's first
    environment: Mapping[str, str] = field(default_factory=dict)  # allow-listed keys alone
    container: Container | None = None
    pod: Pod | None = None
    unit: str | None = None  # "llama.service"
    unit_owner: str | None = None  # the user of a unit of user@.service
    slurm: SlurmJob | None = None
    namespace_pid: int | None = None  # the pid as the process itself sees it
    started: float | None = None  # unix seconds
    owner_key: str | None = None  # of the Owner that a recording tells it counts for


@dataclass(frozen=True, slots=True)
class Ancestor:
    pid: int
    name: str
    argv: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Which engine a process belongs to. ``preallocates``: its KV pool is taken at start."""

    engine: str  # the engines/ file's name: vllm, sglang, llama_cpp, ...
    role: str = "server"  # server, engine_core, worker, api_server, router, ...
    model: str | None = None
    rank: int | None = None
    preallocates: bool = False


class OwnerKind(StrEnum):
    """Which rule named an Owner, in the order in which they are tried."""

    RULE = "rule"
    SLURM = "slurm"
    UNIT = "unit"
    WORKLOAD = "workload"
    SERVICE = "service"  # compose service or container name
    ENGINE = "engine"
    PROGRAM = "program"
    UNKNOWN = "unknown"  # nothing is known of the process but its pid


@dataclass(frozen=True, slots=True)
class Owner:
    """The workload as people call it; outlives restarts and roll-outs. ``key`` is its identity."""

    key: str  # "unit:llama.service", "workload:prod/chat/server", ...
    name: str  # what people are shown
    kind: OwnerKind
    team: str | None = None
    budget: Bytes | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """A process with all that is known of it: facts, engine, and the Owner it counts for."""

    facts: ProcessFacts
    owner: Owner
    engine: EngineFacts | None = None


# --- the books ----------------------------------------------------------------------------------


class GhostKind(StrEnum):
    """Why bytes count as held by nobody who could use them."""

    GONE = "gone"
    ZOMBIE = "zombie"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Holding:
    """One process's part of a Ledger. ``held`` None: the driver will not say."""

    pid: int
    held: Bytes | None
    tenant: Tenant
    kinds: frozenset[ClaimKind] = frozenset()
    ghost: GhostKind | None = None
    peak: Bytes | None = None


class Explanation(StrEnum):
    """What may stand behind unattributed bytes; several can apply."""

    WITHHELD = "withheld"  # the driver listed a process without its bytes
    HIDDEN_PIDS = "hidden_pids"  # processes of other pid namespaces are not shown to us
    MANAGED = "managed_memory"  # cudaMallocManaged is missing from the per-process figures
    SHARED = "shared_memory"  # one allocation stands with its owner and with its importers
    STALE_LIST = "stale_list"  # memory moved since the process list was read
    NO_LIST = "no_list"  # the process list could not be read
    MPS = "mps"  # clients of an MPS server
    DRIVER = "driver"  # a v1 figure: what the driver reserves stands in ``used``
    NOBODY = "nobody"  # no process is listed at all, and yet bytes are used


@dataclass(frozen=True, slots=True)
class Ledger:
    """A Reading divided among processes.

    Balances to the byte: ``sum(held) + unattributed == used`` (withheld claims count nothing) and
    ``used + reserved + free == total``. ``unattributed`` is signed.
    """

    at: Instant
    reading: Reading
    holdings: tuple[Holding, ...]  # largest first; withheld last
    unattributed: Bytes
    explanations: tuple[Explanation, ...]
    listed: Instant | None  # when the process list was read; None: never yet

    @property
    def gpu(self) -> Gpu:
        return self.reading.gpu

    @property
    def memory(self) -> Memory:
        return self.reading.memory

    @property
    def is_fresh(self) -> bool:
        """Whether the process list was read at this very poll."""
        return self.listed is not None and self.listed.seq == self.at.seq

    @property
    def ghost_bytes(self) -> Bytes:
        return Bytes(sum(h.held for h in self.holdings if h.ghost and h.held is not None))


# --- history ------------------------------------------------------------------------------------


class SubjectKind(StrEnum):
    GPU = "gpu"
    OWNER = "owner"
    PROCESS = "process"
    UNATTRIBUTED = "unattributed"
    GHOST = "ghost"
    CGROUP = "cgroup"  # a control group, by the kernel's dmem controller; holds those below it too
    VRAMWATCH = "vramwatch"  # the daemon itself: blind, or without a way to tell


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What a series is of. ``subject``: an Owner's key, a ProcessKey as text, or empty."""

    gpu: str  # UUID
    kind: SubjectKind
    subject: str
    quantity: str  # ends in its unit: used_bytes, utilization_ratio, temperature_celsius


@dataclass(frozen=True, slots=True)
class Sample:
    series: SeriesKey
    value: float
