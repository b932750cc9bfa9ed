"""Lines of a log in which a program says that it ran out of GPU memory, read as numbers. Pure.

The text of a line never leaves this module: a report holds numbers and words of ours. Lines come from
strangers: only the first ``LINE_LIMIT`` characters count, every repetition in every expression is
bounded and none stands within another that may repeat, so that the work on a line is bounded by its
length. What a report says is what the line says: whoever can write into the log can write such a line.

Sources of the wordings, each with the releases in which it was read:
torch 1.13.1, 2.0.1, 2.4.1, 2.12.0: c10/cuda/CUDACachingAllocator.cpp, and for cudaMallocAsync
CUDAMallocAsyncAllocator.cpp. vLLM 0.33.0: v1/worker/utils.py, v1/worker/gpu_model_runner.py,
v1/core/kv_cache_planning.py, v1/metrics/loggers.py; vLLM 0.6.6: core/scheduler.py, worker/worker.py.
SGLang 0.5.23: srt/mem_cache/allocation.py, srt/model_executor/pool_configurator.py,
srt/mem_cache/kv_cache_configurator.py, srt/managers/scheduler.py. llama.cpp of llama-cpp-python 0.3.36:
ggml/src/ggml-cuda/ggml-cuda.cu. XLA of jax-cuda12-pjrt 0.4.38 and 0.12.0.1, its client and allocator.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from vramwatch.core.units import GIB, KIB, MIB, TIB, Bytes

LINE_LIMIT = 4096
"""Characters of a line that are looked at; the longest sentence, torch's, has about 700."""

LARGEST = 1 << 60
"""Bytes above which a figure is no figure: torch says "more than 1EB" itself from there on."""


class OomKind(StrEnum):
    """What ran out, and for whom."""

    ALLOCATION = "allocation"  # the GPU had no room for an allocation
    START = "start"  # an engine found at its start that it would not fit
    POOL = "pool"  # the engine's own KV pool had no room, and the engine gave up
    PREEMPTION = "preemption"  # the same, and requests were put back: slower, nothing failed


@dataclass(frozen=True, slots=True)
class OomReport:
    """What one line said. Bytes; None where it did not say.

    ``process`` is the pid that torch names when it cannot tell its own memory from others', in the pid
    namespace of the driver; ``in_use`` is then of that process, else of the one that failed. ``others``
    is the sum of what torch says of further processes. ``device`` counts as the failing process counts.
    ``requests``: those that were put back, as stated.
    """

    kind: OomKind
    engine: str | None  # torch, vllm, sglang, llama_cpp, jax; None: the words are of the CUDA runtime
    tried: Bytes | None = None
    total: Bytes | None = None
    free: Bytes | None = None
    in_use: Bytes | None = None
    allocated: Bytes | None = None
    reserved_unallocated: Bytes | None = None
    others: Bytes | None = None
    process: int | None = None
    device: int | None = None
    requests: int | None = None

    def numbers(self) -> Mapping[str, float]:
        """Return what is known as name -> value, in a fixed order; names of bytes end in ``_bytes``."""
        plain = ("process", "device", "requests")
        names = [each.name for each in fields(self) if each.name not in ("kind", "engine")]
        return {
            name if name in plain else f"{name}_bytes": value
            for name in names
            if (value := getattr(self, name)) is not None
        }


TRIGGERS = (
    b"out of memory",
    b"Out of memory",
    b"RESOURCE_EXHAUSTED",
    b"No available memory for the cache blocks",
    b"on startup is less than",
    b"exceed the desired GPU memory utilization",
    b"larger than the available KV cache",
    b"not enough GPU memory",
    b"Not enough GPU memory",
    b"Not enough memory. Please try to increase --mem-fraction-static",
    b"not enough KV cache space",
    b"Preemptions: ",
    b"KV cache pool is full",
)
"""Every line that means something here holds one of these, also when it is escaped as JSON: a reader
need decode no other line."""


def parse(line: str) -> OomReport | None:
    """Return what ``line`` says about memory that ran out, None if it says nothing of the kind."""
    line = line[:LINE_LIMIT]
    if not any(trigger in line for trigger in _TRIGGERS):
        return None
    found = _TORCH.search(line)
    if found:
        return _torch(line[found.start() :])
    for sentence in _SENTENCES:
        found = sentence.words.search(line)
        if found and not (sentence.unless and sentence.unless in line):
            return sentence.report(found.groupdict())
    return None


_TRIGGERS = tuple(trigger.decode("ascii") for trigger in TRIGGERS)

_NUMBER = r"\d{1,15}(?:\.\d{1,2})?"
_SCALES = {"": 1, "B": 1, "bytes": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}
_SCALE = "bytes|B|KiB|MiB|GiB|TiB"


def _expression(words: str) -> re.Pattern[str]:
    return re.compile(words, re.ASCII)


def _bytes(number: str | None, scale: str) -> Bytes | None:
    if number is None:
        return None
    value = round(float(number) * _SCALES[scale])
    return Bytes(value) if value <= LARGEST else None


# --- torch: one sentence of clauses that may each be missing --------------------------------------

_TORCH = _expression(
    r"CUDA out of memory\. (?:Tried to allocate |Allocation was preemptively rejected because )"
)
_SIZE = rf"(?P<number>{_NUMBER}) (?P<scale>bytes|KiB|MiB|GiB)"
_PER_PROCESS = _expression(rf"Process (?P<pid>\d{{1,10}}) has {_SIZE} memory in use\.")
_DEVICE = _expression(r"(?:\. |\()GPU (?P<device>\d{1,4})(?:;| has a total capacity)")
_CLAUSES: Mapping[str, tuple[re.Pattern[str], ...]] = {
    "tried": (_expression(rf"Tried to allocate {_SIZE}"), _expression(rf"Requested size: {_SIZE}")),
    "total": (
        _expression(rf"has a total capacity of {_SIZE}"),
        _expression(rf"; {_SIZE} total capacity;"),
    ),
    "free": (_expression(rf"of which {_SIZE} is free\."), _expression(rf"; {_SIZE} free;")),
    "in_use": (_expression(rf"this process has {_SIZE} memory in use\."),),
    "allocated": (
        _expression(rf"Of the allocated memory {_SIZE} is allocated by PyTorch"),
        _expression(rf"; {_SIZE} already allocated;"),
    ),
    "reserved_unallocated": (_expression(rf"and {_SIZE} is reserved by PyTorch but unallocated"),),
}
_RESERVED_IN_TOTAL = _expression(rf"; {_SIZE} reserved in total by PyTorch")  # until torch 2.0


def _torch(text: str) -> OomReport:
    sizes = {name: _first_size(clauses, text) for name, clauses in _CLAUSES.items()}
    allocated, reserved = sizes["allocated"], _first_size((_RESERVED_IN_TOTAL,), text)
    if reserved is not None and allocated is not None:
        sizes["reserved_unallocated"] = Bytes(max(0, reserved - allocated))
    named = [(int(one["pid"]), _bytes(one["number"], one["scale"])) for one in _PER_PROCESS.finditer(text)]
    process = None
    if sizes["in_use"] is None and len(named) == 1:
        ((process, sizes["in_use"]),) = named
        named = []
    others = Bytes(sum(size for _, size in named if size is not None)) if named else None
    device = _DEVICE.search(text)
    return OomReport(
        OomKind.ALLOCATION,
        "torch",
        **sizes,
        others=others,
        process=process,
        device=int(device["device"]) if device else None,
    )


def _first_size(clauses: tuple[re.Pattern[str], ...], text: str) -> Bytes | None:
    for clause in clauses:
        if found := clause.search(text):
            return _bytes(found["number"], found["scale"])
    return None


# --- the others: one expression a sentence --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sentence:
    """``words`` names its groups as OomReport names its fields; sizes are in ``scale``, unless the group
    ``tried_scale`` says otherwise. ``unless``: words that make it no failure."""

    words: re.Pattern[str]
    kind: OomKind
    engine: str | None
    scale: str = ""
    unless: str | None = None

    def report(self, groups: Mapping[str, str | None]) -> OomReport:
        scale = groups.get("tried_scale") or self.scale
        return OomReport(
            self.kind,
            self.engine,
            tried=_bytes(groups.get("tried"), scale),
            total=_bytes(groups.get("total"), self.scale),
            free=_bytes(groups.get("free"), self.scale),
            device=_count(groups.get("device")),
            requests=_count(groups.get("requests")),
        )


def _count(digits: str | None) -> int | None:
    return None if digits is None else int(digits)


_SENTENCES = (
    # torch, where a whole figure is not said
    _Sentence(
        _expression(
            r"(?:Allocation on device (?P<device>\d{1,4}) )?would exceed allowed memory\. \(out of memory\)"
        ),
        OomKind.ALLOCATION,
        "torch",
    ),
    # vLLM
    _Sentence(
        _expression(
            rf"Free memory on device (?:cuda:(?P<device>\d{{1,4}}) )?"
            rf"\((?P<free>{_NUMBER})/(?P<total>{_NUMBER}) GiB\) on startup is less than "
            rf"(?:desired GPU memory utilization|the engine's budget after excluding external process's "
            rf"weights) \({_NUMBER}, (?P<tried>{_NUMBER}) GiB\)"
        ),
        OomKind.START,
        "vllm",
        "GiB",
    ),
    _Sentence(
        _expression(
            rf"Externally held weights on device (?:cuda:(?P<device>\d{{1,4}}) )?"
            rf"\({_NUMBER}/(?P<total>{_NUMBER}) GiB\) exceed the desired GPU memory utilization"
        ),
        OomKind.START,
        "vllm",
        "GiB",
    ),
    _Sentence(
        _expression(
            rf"\((?P<tried>{_NUMBER}) GiB KV cache is needed, which is larger than the available KV cache "
            rf"memory \((?P<free>{_NUMBER}) GiB\)"
        ),
        OomKind.START,
        "vllm",
        "GiB",
    ),
    _Sentence(_expression(r"No available memory for the cache blocks\."), OomKind.START, "vllm"),
    _Sentence(
        _expression(r"Cannot auto-fit max_model_len: not enough GPU memory available"), OomKind.START, "vllm"
    ),
    _Sentence(_expression(r"Failed to load model - not enough GPU memory\."), OomKind.START, "vllm"),
    _Sentence(
        _expression(r"CUDA out of memory occurred when warming up (?:sampler|pooler)"), OomKind.START, "vllm"
    ),
    _Sentence(_expression(r"mode because there is not enough KV cache space\."), OomKind.PREEMPTION, "vllm"),
    _Sentence(
        _expression(r"reqs, Preemptions: (?P<requests>\d{1,9}), [A-Z]{1,8} KV cache usage:"),
        OomKind.PREEMPTION,
        "vllm",
    ),
    # SGLang
    _Sentence(
        _expression(r"Not enough memory\. Please try to increase --mem-fraction-static\."),
        OomKind.START,
        "sglang",
    ),
    _Sentence(_expression(r"Not enough GPU memory for hybrid \("), OomKind.START, "sglang"),
    _Sentence(
        _expression(
            r"(?:Prefill out of memory|Decode out of memory|Out of memory)\. Try to lower your batch size\."
        ),
        OomKind.POOL,
        "sglang",
    ),
    _Sentence(
        _expression(
            r"KV cache pool is full\. Retract requests\.(?: #retracted_reqs: (?P<requests>\d{1,9}))?"
        ),
        OomKind.PREEMPTION,
        "sglang",
    ),
    # llama.cpp
    _Sentence(
        _expression(
            rf"allocating (?P<tried>{_NUMBER}) MiB on device (?P<device>\d{{1,4}}): "
            rf"cudaMalloc failed: out of memory"
        ),
        OomKind.ALLOCATION,
        "llama_cpp",
        "MiB",
    ),
    # XLA, hence JAX
    _Sentence(
        _expression(
            r"RESOURCE_EXHAUSTED: (?:Out of memory while trying to allocate (?P<tried>\d{1,15}) bytes)"
        ),
        OomKind.ALLOCATION,
        "jax",
    ),
    _Sentence(
        _expression(
            rf"Failed to allocate request for {_NUMBER}(?:{_SCALE}) "
            rf"\((?P<tried>\d{{1,15}})B\) on device ordinal (?P<device>\d{{1,4}})"
        ),
        OomKind.ALLOCATION,
        "jax",
    ),
    _Sentence(
        _expression(
            rf"Allocator \(GPU_(?P<device>\d{{1,4}})_bfc\) ran out of memory trying to allocate "
            rf"(?P<tried>{_NUMBER})(?P<tried_scale>{_SCALE})"
        ),
        OomKind.ALLOCATION,
        "jax",
        unless="The caller indicates that this is not a failure",
    ),
    # the CUDA runtime, said by llama.cpp ("CUDA error: …") and by torch ("RuntimeError: CUDA error: …")
    _Sentence(_expression(r"Error: CUDA error: out of memory"), OomKind.ALLOCATION, "torch"),
    _Sentence(_expression(r"CUDA error: out of memory"), OomKind.ALLOCATION, None),
)
