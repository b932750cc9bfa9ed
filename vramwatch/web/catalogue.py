"""The metrics of /metrics: name, kind, labels and meaning. docs/metrics.md lists them."""

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

BUILD = MetricFamily("vramwatch_build_info", "info", ("version",), "Version of vramwatch; always 1.")
UP = _gauge("up", (), "Whether the newest poll read a GPU; 0 while no GPU can be read, or the loop is stuck.")
READY = _gauge(
    "ready", (), "Whether /-/ready answers 200: a GPU was read since the start, and can be read now."
)
POLLS = _counter("polls", (), "Polls completed, including those that read nothing.")
READ_POLLS = _counter("read_polls", (), "Polls that read at least one GPU.")
LAST_POLL = _gauge("last_poll_timestamp_seconds", (), "Time of the newest poll, unix time.")
LAG = _gauge("poll_lag_seconds", (), "By how much the newest poll was late.")
INTERVAL = _gauge("poll_interval_seconds", (), "Current interval between two polls.")
DRIVER_SHARE = _gauge("driver_time_ratio", (), "Share of time spent in driver calls, smoothed.")
BLIND_SECONDS = _counter("blind_seconds", (), "Seconds in which no GPU could be read.")
UNREADABLE = _gauge(
    "gpu_unreadable", (*GPU, "reason"), "1 for a GPU that the newest poll could not read, with the reason."
)
DRIVER_ERRORS = _counter("nvml_errors", ("function", "code"), "Errors that the driver's library returned.")
STORE_UP = _gauge("store_up", (), "Whether history can be written.")
LOST_POLLS = _counter("lost_polls", (), "Polls lost because the store could not be written for too long.")
OUTBOX = _gauge(
    "outbox_messages",
    ("channel",),
    "Messages of a channel that are being sent or wait for another try.",
)
FAILING = _gauge("channel_failing", ("channel",), "Whether the newest attempt to send to a channel failed.")
CUT = _counter(
    "cut_series", ("metric",), "Series left out of responses, or merged into one, to limit their number."
)

# --- of GPUs --------------------------------------------------------------------------------------

GPU_INFO = MetricFamily(
    "vramwatch_gpu_info",
    "info",
    (*GPU, "name", "parent"),
    "Name of a GPU and, for a MIG instance, the UUID of its device; always 1.",
)
TOTAL = _gauge("gpu_memory_total_bytes", GPU, "Memory of the GPU: used + reserved + free.")
USED = _gauge("gpu_memory_used_bytes", GPU, "Memory in use, as the driver reports it.")
FREE = _gauge("gpu_memory_free_bytes", GPU, "Free memory.")
RESERVED = _gauge("gpu_memory_reserved_bytes", GPU, "Memory that the driver reserves for itself.")
UNATTRIBUTED = _gauge(
    "gpu_memory_unattributed_bytes",
    GPU,
    "Memory in use that no process accounts for; negative if processes account for more than is used.",
)
GHOST = _gauge(
    "gpu_memory_ghost_bytes", GPU, "Memory held by processes that have exited or cannot be killed."
)
UTILIZATION = _gauge(
    "gpu_utilization_ratio", GPU, "Share of time in which a kernel ran, as the driver reports it."
)
TEMPERATURE = _gauge("gpu_temperature_celsius", GPU, "Temperature of the GPU.")
POWER = _gauge("gpu_power_watts", GPU, "Power draw of the GPU.")

# --- of owners and processes ----------------------------------------------------------------------

OWNER_USED = _gauge(
    "owner_memory_used_bytes",
    OWNER,
    "Memory held by the processes of an owner; absent if the driver does not report it.",
)
OWNER_PROCESSES = _gauge("owner_processes", OWNER, "Processes of an owner on the GPU.")
PROCESS_USED = _gauge(
    "process_memory_used_bytes",
    (*OWNER, "pid"),
    "Memory held by one process; exported if http.processes is on.",
)

LAYERS: Mapping[str, MetricFamily] = {
    quantity: _gauge(f"owner_{quantity}", OWNER, help)
    for quantity, help in {
        "torch_reserved_bytes": "Memory reserved by PyTorch's allocators.",
        "torch_allocated_bytes": "Memory allocated to tensors by PyTorch's allocators.",
        "engine_kv_bytes": "Memory used by the engine's KV cache.",
        "kv_logical_bytes": "Tensors in a worker's KV caches; engine_kv_bytes counts their storages.",
        "kv_retained_bytes": "Part of the KV caches still held for requests that have ended.",
        "engine_pool_bytes": "Size of the engine's KV pool.",
        "engine_evictable_bytes": "Prefix cache in the KV pool that the engine may drop.",
        "requests_running": "Requests that the engine is running.",
        "requests_waiting": "Requests waiting in the engine.",
        "model_bytes": "Size of the models loaded by the engine.",
        "model_gpu_bytes": "Part of the loaded models that is on GPUs, as the engine reports it.",
    }.items()
}
"""Inner figures of processes -> the metric that sums them up for an owner. Counters are left out: the sum
falls when one process ends, which is no reset."""

HIGHEST: Mapping[str, MetricFamily] = {
    quantity: _gauge(f"owner_{quantity}", OWNER, help)
    for quantity, help in {
        "engine_kv_ratio": "Share of the KV pool in use, in the owner's fullest engine.",
        "engine_prefix_hit_ratio": "Share of prompt tokens found in the prefix cache, best engine.",
        "engine_sleep_level": "Sleep level of the engine: 0 awake, 1 weights in host memory, 2 none kept.",
        "kv_requires_grad": "1 if a cached key holds its autograd graph, 0 if none does.",
    }.items()
}
"""Those that make no sum -> the metric that tells the highest of an owner's processes."""

# --- of incidents ---------------------------------------------------------------------------------

INCIDENT = _gauge(
    "incident",
    ("incident", *SUBJECT, "pattern", "cause", "severity", "state"),
    "1 for every pending or firing incident; `vramwatch why INCIDENT` explains it.",
)
MOVES = _counter(
    "incident_transitions", ("pattern", "cause", "state"), "Transitions and updates of incidents."
)
GROWTH = _gauge(
    "growth_bytes_per_second",
    ("incident", *SUBJECT),
    "Growth rate of an open incident, median.",
)
GROWTH_LOW = _gauge(
    "growth_low_bytes_per_second", ("incident", *SUBJECT), "Growth rate, lower bound of the 80% interval."
)
GROWTH_HIGH = _gauge(
    "growth_high_bytes_per_second", ("incident", *SUBJECT), "Growth rate, upper bound of the 80% interval."
)
EXHAUSTION = _gauge(
    "exhaustion_seconds",
    ("incident", *SUBJECT),
    "Time until memory runs out, median; absent without a forecast.",
)
EXHAUSTION_LOW = _gauge(
    "exhaustion_low_seconds",
    ("incident", *SUBJECT),
    "Time until memory runs out, early bound of the 80% interval.",
)
EXHAUSTION_HIGH = _gauge(
    "exhaustion_high_seconds",
    ("incident", *SUBJECT),
    "Time until memory runs out, late bound of the 80% interval.",
)

# --- of remedies ----------------------------------------------------------------------------------

REMEDIES = _counter("remedy_attempts", ("remedy",), "Attempts to free memory, including dry runs.")
RESULTS = _counter(
    "remedy_results",
    ("remedy", "result"),
    "Results of attempts; one that recovered memory may later count again as returned.",
)
FREED = _counter("remedy_freed_bytes", ("remedy",), "Memory freed by attempts, by the driver's figure.")
WITHHELD = _counter("remedy_withheld", ("hindrance",), "Attempts withheld, by reason.")

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
