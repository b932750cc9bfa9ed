"""The CSV logs of nvidia-smi, as ``--format=csv -l N`` writes them, with units or with ``nounits``.

Source: ``nvidia-smi --help-query-gpu`` and ``--help-query-compute-apps``. ``memory.used`` is told apart
from ``memory.reserved`` since R510. What is not available stands in brackets: ``[N/A]``,
``[Not Supported]``, ``[GPU is lost]``.
"""

from datetime import datetime, tzinfo

from vramwatch.core.units import MIB
from vramwatch.recording.row import GAP, Said, read_count, read_number, read_pid, read_text

GPU_LOG = (
    "nvidia-smi --query-gpu=timestamp,index,uuid,memory.used,memory.total,utilization.gpu --format=csv -l 10"
)
APPS_LOG = (
    "nvidia-smi --query-compute-apps=timestamp,gpu_uuid,pid,process_name,used_gpu_memory --format=csv -l 5"
)
_UNITS = {
    "memory.used": "MiB",
    "memory.total": "MiB",
    "memory.reserved": "MiB",
    "used_gpu_memory": "MiB",
    "utilization.gpu": "%",
}
_SIGNS = frozenset({"timestamp", "memory.used", "memory.total", "used_gpu_memory", "used_memory"})
"""Columns that nothing but a log of nvidia-smi has."""
_ALIASES = {
    "gpu_uuid": "uuid",
    "gpu_name": "name",
    "gpu_bus_id": "pci.bus_id",
    "used_memory": "used_gpu_memory",
}
_NAMING = ("uuid", "index", "pci.bus_id")
"""Columns that tell one GPU from another; the first that a log has names it."""


class GpuLog:
    """Reads a log of ``--query-gpu``. Errors of the constructor: ValueError, with the accepted form."""

    def __init__(self, file: str, header: list[str], zone: tzinfo | None) -> None:
        self._columns = _columns(header)
        self._name = next((name for name in _NAMING if name in self._columns), "")
        if not self._name:
            raise ValueError(f"none of {', '.join(_NAMING)} names the GPU; log with {GPU_LOG}")
        _check_columns(self._columns, ("timestamp", "memory.used", "memory.total"), GPU_LOG)
        self.time_place = self._columns["timestamp"]
        self.time = _Stamps(zone).read

    def said(self, fields: list[str]) -> Said:
        """Return what a line says beside its time. Errors: ValueError with reason and accepted form."""
        told = {name: fields[place].strip() for name, place in self._columns.items()}
        gpu = read_text(self._name, told[self._name])
        if not gpu:
            raise ValueError(f"{self._name} is empty; it names the GPU")
        used, total = _mebibytes("memory.used", told), _mebibytes("memory.total", told)
        if used is None or total is None:
            reason = read_text("memory.used", f"memory.used is {told['memory.used']}")
            return Said(gpu, event=GAP, reason=reason)
        reserved = _mebibytes("memory.reserved", told) or 0
        if used + reserved > total:
            raise ValueError("memory.used and memory.reserved exceed memory.total")
        return Said(
            gpu,
            used=used,
            total=total,
            reserved=reserved,
            utilization=_share(told),
            ordinal=read_text("index", told.get("index", "")),
            device=read_text("name", told.get("name", "")),
        )


class AppsLog:
    """Reads a log of ``--query-compute-apps``. Errors of the constructor: ValueError, naming the form."""

    def __init__(self, file: str, header: list[str], zone: tzinfo | None) -> None:
        self._columns = _columns(header)
        _check_columns(self._columns, ("timestamp", "uuid", "pid", "used_gpu_memory"), APPS_LOG)
        self.time_place = self._columns["timestamp"]
        self.time = _Stamps(zone).read

    def said(self, fields: list[str]) -> Said:
        """Return what a line says beside its time. Errors: ValueError with reason and accepted form."""
        told = {name: fields[place].strip() for name, place in self._columns.items()}
        program = told.get("process_name", "")
        gpu = read_text("gpu_uuid", told["uuid"])
        if not gpu:
            raise ValueError("gpu_uuid is empty")
        return Said(
            gpu,
            pid=read_pid(told["pid"]),
            used=_mebibytes("used_gpu_memory", told),
            program="" if _is_unavailable(program) else read_text("process_name", program),
        )


class _Stamps:
    """Reads ascending stamps of a wall clock, also through the hour that a change of summer time repeats."""

    def __init__(self, zone: tzinfo | None) -> None:
        self._zone = zone
        self._text, self._time = "", 0.0

    def read(self, text: str) -> float:
        """Return the unix seconds of ``text``, "2026/01/31 12:00:00.000". Errors: ValueError."""
        if text == self._text:
            return self._time
        try:
            moment = datetime.fromisoformat(text.replace("/", "-")).replace(tzinfo=self._zone)
        except ValueError:
            raise ValueError(f"timestamp is {text!r}; nvidia-smi writes 2026/01/31 12:00:00.000") from None
        time = moment.timestamp()
        if time < self._time <= moment.replace(fold=1).timestamp():
            time = moment.replace(fold=1).timestamp()
        self._text, self._time = text, time
        return time


def is_log(header: list[str]) -> bool:
    """Return whether ``header`` is one of nvidia-smi's, be it without the column that it needs most."""
    return not _SIGNS.isdisjoint(name.strip().partition(" [")[0] for name in header)


def is_apps_log(header: list[str]) -> bool:
    """Return whether ``header`` is that of ``--query-compute-apps``."""
    return "pid" in (name.strip() for name in header)


def _columns(header: list[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, title in enumerate(header):
        name, _, unit = title.strip().partition(" [")
        name = _ALIASES.get(name, name)
        if unit and name in _UNITS and unit != _UNITS[name] + "]":
            raise ValueError(f"the column {title.strip()!r} counts another unit than {_UNITS[name]}")
        places[name] = place
    return places


def _check_columns(columns: dict[str, int], needed: tuple[str, ...], log: str) -> None:
    if missing := [name for name in needed if name not in columns]:
        are = "column is" if len(missing) == 1 else "columns are"
        raise ValueError(f"the {are} missing: {', '.join(missing)}; log with {log}")


def _is_unavailable(text: str) -> bool:
    return text.startswith("[") or text in ("", "N/A")


def _mebibytes(column: str, told: dict[str, str]) -> int | None:
    text = told.get(column, "")
    return None if _is_unavailable(text) else read_count(column, text.removesuffix(" MiB")) * MIB


def _share(told: dict[str, str]) -> float | None:
    text = told.get("utilization.gpu", "")
    if _is_unavailable(text):
        return None
    percent = read_number("utilization.gpu", text.removesuffix(" %"))
    if percent > 100:
        raise ValueError(f"utilization.gpu is {text!r}; nvidia-smi writes 0 to 100 %")
    return percent / 100
