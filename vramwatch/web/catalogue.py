"""The metrics that /metrics tells of: their names, kinds, labels and meaning. docs/metrics.md lists them."""

from collections.abc import Mapping
from dataclasses import dataclass

GPU = ("gpu", "uuid")
PLACE = ("owner", "team", "container", "pod", "namespace", "unit", "slurm_job")
OWNER = (*GPU, *PLACE)
SUBJECT = (*GPU, "subject", "owner")

UNITS = ("bytes", "seconds", "ratio", "celsius", "watts")


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One metric. ``kind``: gauge, counter or info; a counter's name ends in _total, an info's in _info."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str

    @property
    def bare(self) -> str:
        """The name as OpenMetrics has it for the family, without the suffix of its kind."""
        return self.name.removesuffix("_total").removesuffix("_info")

    @property
    def unit(self) -> str:
        """The base unit that the name ends in; empty: it counts something."""
        unit = self.bare.rpartition("_")[2]
        return unit if unit in UNITS and not self.bare.endswith("_per_second") else ""


def _gauge(name: str, labels: tuple[str, ...], help: str) -> MetricFamily:
    return MetricFamily(f"vramwatch_{name}", "gauge", labels, help)


def _counter(name: str, labels: tuple[str, ...], help: str) -> MetricFamily:
    return MetricFamily(f"vramwatch_{name}_total", "counter", labels, help)


# --- of vramwatch itself --------------------------------------------------------------------------

BUILD = MetricFamily("vramwatch_build_info", "info", ("version",), "Which vramwatch this is; always 1.")
UP = _gauge("up", (), "Whether the newest poll read a GPU: 0 while vramwatch is blind, or its loop is stuck.")
READY = _gauge("ready", (), "Whether /-/ready says so: a GPU was read since the start, and one can be now.")
POLLS = _counter("polls", (), "Polls that ended, those that read nothing among them.")
READ_POLLS = _counter("read_polls", (), "Polls that read at least one GPU.")
LAST_POLL = _gauge("last_poll_timestamp_seconds", (), "When the newest poll was made, unix time.")
LAG = _gauge("poll_lag_seconds", (), "By how much the newest poll began too late.")
INTERVAL = _gauge("poll_interval_seconds", (), "How long vramwatch waits between two polls now.")
DRIVER_SHARE = _gauge(
    "driver_time_ratio", (), "Share of the time that is spent inside driver calls, smoothed."
)
BLIND_SECONDS = _counter("blind_seconds", (), "Seconds in which no GPU could be read.")
UNREADABLE = _gauge(
    "gpu_unreadable", (*GPU, "reason"), "1 for a GPU that the newest poll could not read, and why."
)
DRIVER_ERRORS = _counter("nvml_errors", ("function", "code"), "Errors that the driver's library returned.")
STORE_UP = _gauge("store_up", (), "Whether history can be written.")
LOST_POLLS = _counter("lost_polls", (), "Polls lost because the store could not be written for too long.")
OUTBOX = _gauge(
    "outbox_messages",
    ("channel",),
    "Messages of a channel that are being sent, or failed and wait for another try.",
)
FAILING = _gauge("channel_failing", ("channel",), "Whether the newest attempt to tell a channel failed.")
CUT = _counter(
    "cut_series", ("metric",), "Series left out of answers, or summed up in one, to bound their number."
)

# --- of GPUs --------------------------------------------------------------------------------------

GPU_INFO = MetricFamily(
    "vramwatch_gpu_info",
    "info",
    (*GPU, "name", "parent"),
    "What a GPU is called; of a MIG instance, the UUID of its device; always 1.",
)
TOTAL = _gauge("gpu_memory_total_bytes", GPU, "Memory of the GPU: used + reserved + free.")
USED = _gauge("gpu_memory_used_bytes", GPU, "Memory in use, as the driver says.")
FREE = _gauge("gpu_memory_free_bytes", GPU, "Memory that can still be had.")
RESERVED = _gauge("gpu_memory_reserved_bytes", GPU, "Memory that the driver keeps for itself.")
UNATTRIBUTED = _gauge(
    "gpu_memory_unattributed_bytes",
    GPU,
    "Memory in use that no process accounts for; below 0 where processes account for more than is used.",
)
GHOST = _gauge("gpu_memory_ghost_bytes", GPU, "Memory held by processes that are dead or cannot be ended.")
UTILIZATION = _gauge(
    "gpu_utilization_ratio", GPU, "Share of the time in which a kernel ran, as the driver says."
)
TEMPERATURE = _gauge("gpu_temperature_celsius", GPU, "Temperature of the GPU.")
POWER = _gauge("gpu_power_watts", GPU, "Power that the GPU draws.")

# --- of owners and processes ----------------------------------------------------------------------

OWNER_USED = _gauge(
    "owner_memory_used_bytes",
    OWNER,
    "Memory that the processes of an owner hold; absent where the driver will not say.",
)
OWNER_PROCESSES = _gauge("owner_processes", OWNER, "Processes of an owner on the GPU.")
PROCESS_USED = _gauge(
    "process_memory_used_bytes",
    (*OWNER, "pid"),
    "Memory that one process holds; told if http.processes is on.",
)

LAYERS: Mapping[str, MetricFamily] = {
    quantity: _gauge(f"owner_{quantity}", OWNER, help)
    for quantity, help in {
        "torch_reserved_bytes": "Memory that PyTorch's allocators hold.",
        "torch_allocated_bytes": "Memory that tensors take within PyTorch's allocators.",
        "engine_kv_bytes": "Memory that the engine's KV cache takes.",
        "kv_logical_bytes": "Tensors of a worker's KV caches; engine_kv_bytes are the storages behind them.",
        "kv_retained_bytes": "The part of the KV caches that requests which are over still hold.",
        "engine_pool_bytes": "Size of the engine's KV pool.",
        "engine_evictable_bytes": "Prefix cache in the KV pool that may be dropped.",
        "requests_running": "Requests that the engine works on.",
        "requests_waiting": "Requests that wait in the engine.",
        "model_bytes": "Size of the models that the engine has loaded.",
        "model_gpu_bytes": "The part of its loaded models that the engine says lies on GPUs.",
    }.items()
}
"""Inner figures of processes -> the metric that sums them up for an owner. Counters are left out: the sum
falls when one process ends, which is no reset."""

HIGHEST: Mapping[str, MetricFamily] = {
    quantity: _gauge(f"owner_{quantity}", OWNER, help)
    for quantity, help in {
        "engine_kv_ratio": "Share of the KV pool that is in use, in the fullest engine of the owner.",
        "engine_prefix_hit_ratio": "Share of prompt tokens found in the prefix cache, in the best engine.",
        "engine_sleep_level": "How deep the engine sleeps: 0 awake, 1 its weights in host memory, 2 dropped.",
        "kv_requires_grad": "1 where a cached key holds its autograd graph, 0 where none does.",
    }.items()
}
"""Those that make no sum -> the metric that tells the highest of an owner's processes."""

# --- of incidents ---------------------------------------------------------------------------------

INCIDENT = _gauge(
    "incident",
    ("incident", *SUBJECT, "pattern", "cause", "severity", "state"),
    "1 for every incident that is pending or firing; `vramwatch why INCIDENT` tells of it.",
)
MOVES = _counter("incident_transitions", ("pattern", "cause", "state"), "Moves and updates of incidents.")
GROWTH = _gauge(
    "growth_bytes_per_second",
    ("incident", *SUBJECT),
    "How fast the memory of an open incident grows, the median.",
)
GROWTH_LOW = _gauge(
    "growth_low_bytes_per_second", ("incident", *SUBJECT), "Lower bound of the 80 % interval of the growth."
)
GROWTH_HIGH = _gauge(
    "growth_high_bytes_per_second", ("incident", *SUBJECT), "Upper bound of the 80 % interval of the growth."
)
EXHAUSTION = _gauge(
    "exhaustion_seconds",
    ("incident", *SUBJECT),
    "Seconds until memory runs out, the median; absent where no forecast can be made.",
)
EXHAUSTION_LOW = _gauge(
    "exhaustion_low_seconds", ("incident", *SUBJECT), "Early bound of the 80 % interval of the time left."
)
EXHAUSTION_HIGH = _gauge(
    "exhaustion_high_seconds", ("incident", *SUBJECT), "Late bound of the 80 % interval of the time left."
)

# --- of remedies ----------------------------------------------------------------------------------

REMEDIES = _counter(
    "remedy_attempts", ("remedy",), "Attempts to free memory that were decided, dry runs too."
)
RESULTS = _counter(
    "remedy_results",
    ("remedy", "result"),
    "What attempts came to; one that recovered memory may end again as returned.",
)
FREED = _counter("remedy_freed_bytes", ("remedy",), "Memory that the driver showed freed after attempts.")
WITHHELD = _counter("remedy_withheld", ("hindrance",), "Attempts that were not made, by what hindered them.")

ALL: tuple[MetricFamily, ...] = tuple(
    sorted(
        (
            *(each for each in list(globals().values()) if isinstance(each, MetricFamily)),
            *LAYERS.values(),
            *HIGHEST.values(),
        ),
        key=lambda family: family.name,
    )
)
"""Every metric, by name."""
