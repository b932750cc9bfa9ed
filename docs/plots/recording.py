"""A small synthetic server as a recording that ``vramwatch replay`` reads."""

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from io import StringIO

from docs.plots.examples import Example
from tests.servers import GPU, Moment, Process
from vramwatch.core.model import EventKind
from vramwatch.core.units import MIB
from vramwatch.recording.export import HEADER, Fields
from vramwatch.recording.row import EXIT, OOM

BEGIN = 1_700_006_400.0
"""Unix seconds of every recording's first moment: 2023-11-15 00:00 UTC."""

RESERVED = 400 * MIB


def recording(example: Example) -> str:
    """Return the recording of ``example``, as vramwatch writes it or as nvidia-smi does."""
    return _log(example.moments()) if example.is_log else _long_form(example.moments())


def _long_form(moments: Iterable[Moment]) -> str:
    """Return ``moments`` as CSV. Shape: a header, then for each moment its Gpu and its processes."""
    text = StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(moments))
    return text.getvalue()


def _rows(moments: Iterable[Moment]) -> Iterator[Fields]:
    listed: set[int] = set()
    for moment in moments:
        time = round(BEGIN + moment.time, 3)
        processes = moment.processes or ()
        held = sum(_bytes(each) for each in processes)
        yield {
            "time": time,
            "gpu": GPU.ordinal,
            "used_bytes": min(held + round(moment.hidden * MIB), round(moment.total * MIB) - RESERVED),
            "total_bytes": round(moment.total * MIB),
            "reserved_bytes": RESERVED,
            "utilization": moment.duty,
        }
        for pid in sorted(listed - {each.pid for each in processes}):
            yield {"time": time, "gpu": GPU.ordinal, "pid": pid, "event": EXIT}
        for each in processes:
            yield _process_row(time, each)
        for event in moment.events:
            if event.kind is EventKind.OUT_OF_MEMORY:
                pid = None if event.out_of_memory is None else event.out_of_memory.pid
                yield {"time": time, "gpu": GPU.ordinal, "pid": pid, "event": OOM}
        listed = {each.pid for each in processes}


def _log(moments: Iterable[Moment]) -> str:
    """Return ``moments`` as nvidia-smi logs whole GPUs: whole MiB and percent, in the machine's own time."""
    lines = ["timestamp, index, uuid, memory.used [MiB], memory.total [MiB], utilization.gpu [%]"]
    for moment in moments:
        stamp = datetime.fromtimestamp(BEGIN + moment.time, UTC).strftime("%Y/%m/%d %H:%M:%S.000")
        used = sum(_bytes(each) for each in moment.processes or ()) // MIB + round(moment.hidden)
        duty = round(100 * (moment.duty or 0.0))
        lines.append(f"{stamp}, 0, {GPU.uuid}, {used} MiB, {round(moment.total)} MiB, {duty} %")
    return "\n".join(lines) + "\n"


def _process_row(time: float, process: Process) -> Fields:
    return {
        "time": time,
        "gpu": GPU.ordinal,
        "pid": process.pid,
        "used_bytes": _bytes(process),
        "process_start": BEGIN + process.begins,
        "owner": f"unit:{process.owner}.service",
        **process.told,
    }


def _bytes(process: Process) -> int:
    """Return what the process holds, in the driver's quanta of 2 MiB."""
    return int((process.held or 0) // 2) * 2 * MIB
