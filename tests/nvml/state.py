"""The memory that FakeDriver and the C library share, declared once.

The C side is generated from here (``python state.py HEADER``, run by the Makefile), with an assertion for
every offset, so that the two cannot drift; FINGERPRINT tells a library that was built from another text.

A Scene is what the driver knows. It is replaced whole, under ``sequence``: odd while it is being written,
larger by two after. Everything else in a State is one word a fact, changed by either side at any time.
"""

import sys
from ctypes import Array, Structure, c_char, c_int32, c_uint32, c_uint64, sizeof
from hashlib import sha256
from pathlib import Path
from typing import Any

GPUS = 16
INSTANCES = 7  # MIG instances a GPU: the most of any GPU so far (MIG user guide, supported profiles)
ROWS = 128  # processes a GPU, and accounting records a GPU
CLIENTS = 64  # processes that have the library initialised at one time
PLACES = 1 + GPUS + GPUS * INSTANCES  # where a fault can sit: everywhere, on a GPU, on a MIG instance

UNKNOWN_BYTES = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE of a 64-bit field: the driver will not say
NO_INSTANCE = 2**32 - 1  # gpuInstanceId and computeInstanceId outside MIG
MIG_UNSUPPORTED = -1

COMPUTE, GRAPHICS, MPS = 1, 2, 4  # bits of Row.kinds: the lists in which a process stands

FOREVER = 2**32 - 1  # Fault word: until cleared
FAIL, HANG, HANG_UNKILLABLE, ABORT, SEGFAULT = 1, 2, 3, 4, 5  # Fault word: what happens

# Asked by gpustat, nvitop and its exporter, of no use here: they answer NVML_ERROR_NOT_SUPPORTED.
UNSUPPORTED = (
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetComputeMode",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetDecoderUtilization",
    "nvmlDeviceGetDisplayActive",
    "nvmlDeviceGetDisplayMode",
    "nvmlDeviceGetDriverModel",
    "nvmlDeviceGetDriverModel_v2",
    "nvmlDeviceGetEncoderUtilization",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetFanSpeed",
    "nvmlDeviceGetMaxClockInfo",
    "nvmlDeviceGetPcieThroughput",
    "nvmlDeviceGetPerformanceState",
    "nvmlDeviceGetPowerManagementLimit",
    "nvmlDeviceGetProcessUtilization",
    "nvmlDeviceGetTotalEccErrors",
)
LISTS = ("Compute", "Graphics", "MPSCompute")
FUNCTIONS = (
    "nvmlInit_v2",
    "nvmlInitWithFlags",
    "nvmlShutdown",
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetNVMLVersion",
    "nvmlSystemGetCudaDriverVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetHandleByPciBusId_v2",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetIndex",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetMinorNumber",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetMemoryInfo_v2",
    *(f"nvmlDeviceGet{kind}RunningProcesses{version}" for kind in LISTS for version in ("", "_v2", "_v3")),
    "nvmlDeviceGetRunningProcessDetailList",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetPersistenceMode",
    "nvmlDeviceGetAccountingMode",
    "nvmlDeviceGetAccountingBufferSize",
    "nvmlDeviceGetAccountingPids",
    "nvmlDeviceGetAccountingStats",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "nvmlDeviceIsMigDeviceHandle",
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle",
    "nvmlDeviceGetGpuInstanceId",
    "nvmlDeviceGetComputeInstanceId",
    "nvmlDeviceGetAttributes_v2",
    *UNSUPPORTED,
)
ANY = "*"  # stands for every function, in the last row of the fault table
FUNCTION_ROWS = {name: row for row, name in enumerate((*FUNCTIONS, ANY))}


class Row(Structure):
    """A process on a GPU."""

    _fields_ = [
        ("pid", c_uint32),
        ("kinds", c_uint32),
        ("used", c_uint64),
        ("gpu_instance", c_uint32),
        ("compute_instance", c_uint32),
    ]


class Record(Structure):
    """What accounting mode keeps of a process."""

    _fields_ = [("pid", c_uint32), ("running", c_uint32), ("peak", c_uint64)]


class Instance(Structure):
    """A MIG instance. ``generation`` grows whenever the instance is created or destroyed."""

    _fields_ = [
        ("uuid", c_char * 96),
        ("name", c_char * 96),
        ("present", c_uint32),
        ("generation", c_uint32),
        ("gpu_instance", c_uint32),
        ("compute_instance", c_uint32),
        ("total", c_uint64),
        ("used", c_uint64),
        ("reserved", c_uint64),
    ]


class Gpu(Structure):
    """A slot for a GPU. ``generation`` grows whenever it is plugged in or out; ``condition`` is what every
    call on it returns (15 once it is lost)."""

    _fields_ = [
        ("uuid", c_char * 96),
        ("name", c_char * 96),
        ("pci", c_char * 32),
        ("present", c_uint32),
        ("generation", c_uint32),
        ("condition", c_uint32),
        ("utilization", c_uint32),
        ("memory_utilization", c_uint32),
        ("temperature", c_uint32),
        ("power", c_uint32),
        ("persistence", c_uint32),
        ("mig", c_int32),
        ("accounting", c_uint32),
        ("record_count", c_uint32),
        ("row_count", c_uint32),
        ("total", c_uint64),
        ("used", c_uint64),
        ("reserved", c_uint64),
        ("instances", Instance * INSTANCES),
        ("records", Record * ROWS),
        ("rows", Row * ROWS),
    ]


class Scene(Structure):
    """All that the driver knows. ``reload_code``: what clients of the driver before a reload are told."""

    _fields_ = [
        ("driver_version", c_char * 80),
        ("nvml_version", c_char * 80),
        ("cuda_version", c_int32),
        ("generation", c_uint32),
        ("reload_code", c_uint32),
        ("bad_handles_crash", c_uint32),
        ("gpus", Gpu * GPUS),
    ]


class Fault(Structure):
    """``word``: what happens (bits 48-63), the return code (32-47), for how many calls (0-31); one word,
    so that both sides change it at once. ``delay`` in microseconds."""

    _fields_ = [("word", c_uint64), ("delay", c_uint64)]


class State(Structure):
    _fields_ = [
        ("fingerprint", c_uint64),
        ("sequence", c_uint64),
        ("hang_epoch", c_uint64),
        ("clients", c_uint32 * CLIENTS),
        ("calls", c_uint64 * PLACES * len(FUNCTION_ROWS)),
        ("faults", Fault * PLACES * len(FUNCTION_ROWS)),
        ("scene", Scene),
    ]


_C_TYPES: dict[Any, str] = {c_char: "char", c_int32: "int32_t", c_uint32: "uint32_t", c_uint64: "uint64_t"}
_CONSTANTS = (
    *("GPUS", "INSTANCES", "ROWS", "CLIENTS", "PLACES", "NO_INSTANCE", "COMPUTE", "GRAPHICS", "MPS"),
    *("FOREVER", "FAIL", "HANG", "HANG_UNKILLABLE", "ABORT", "SEGFAULT"),
)


def _declare(name: str, kind: Any) -> str:
    dimensions = ""
    while isinstance(kind, type) and issubclass(kind, Array):
        dimensions += f"[{kind._length_}]"
        kind = kind._type_
    c_type = _C_TYPES.get(kind) or f"struct {kind.__name__.lower()}"
    return f"{c_type} {name}{dimensions};"


def _define(struct: type[Structure]) -> list[str]:
    tag = f"struct {struct.__name__.lower()}"
    fields = [(field[0], field[1]) for field in struct._fields_]
    return [
        f"{tag} {{",
        *(f"    {_declare(name, kind)}" for name, kind in fields),
        "};",
        f'_Static_assert(sizeof({tag}) == {sizeof(struct)}, "{tag}");',
        *(
            f'_Static_assert(__builtin_offsetof({tag}, {name}) == {getattr(struct, name).offset}, "{tag}");'
            for name, _ in fields
        ),
        "",
    ]


def _layout() -> str:
    return "\n".join(
        [
            *(f"#define {name} {globals()[name]}U" for name in _CONSTANTS),
            "",
            "enum function {",
            *(f"    F_{name if name != ANY else 'any'} = {row}," for name, row in FUNCTION_ROWS.items()),
            "};",
            "",
            f"#define FOR_EACH_UNSUPPORTED(DO) {' '.join(f'DO({name})' for name in UNSUPPORTED)}",
            "",
            *(
                line
                for struct in (Row, Record, Instance, Gpu, Scene, Fault, State)
                for line in _define(struct)
            ),
        ]
    )


FINGERPRINT = int.from_bytes(sha256(_layout().encode()).digest()[:8], "big")


def header() -> str:
    """Return the C declarations of everything above."""
    return (
        "/* Generated from state.py; do not edit. */\n#pragma once\n#include <stdint.h>\n\n"
        f"#define FINGERPRINT {FINGERPRINT}UL\n{_layout()}"
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(header())
