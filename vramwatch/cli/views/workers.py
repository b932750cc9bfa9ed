"""Who has enrolled: what each consents to, and how it is by its own word."""

from collections.abc import Iterator, Sequence

from vramwatch.cli.views.text import Line, Tone, line, wrap
from vramwatch.core.records import Json
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes, show_seconds


def worker_lines(workers: Sequence[Json], width: int) -> list[Line]:
    """Return a heading and an entry for each worker, by pid."""
    lines = [line(f"Enrolled workers: {len(workers)}", Tone.STRONG)]
    for worker in sorted(workers, key=lambda each: int(each["pid"])):
        lines += wrap(", ".join(_parts(worker)), width, 2, Tone.FAINT)
        if worker["excess_bytes"]:
            most = show_bytes(max(worker["excess_bytes"].values()))
            words = f"says that it holds {most} more than the driver does: its word is not used"
            lines += wrap(words, width, 4, Tone.WARNING)
    return lines


def _parts(worker: Json) -> Iterator[str]:
    inner = worker["namespace_pid"]
    own = f" ({inner} in its container)" if inner is not None else ""
    name = clean(worker["name"]) or "unnamed"
    yield f"{name}  pid {worker['pid']}{own}"
    accepted = [clean(each) for each in worker["remedies"]]
    yield f"accepts {' '.join(accepted)}" if accepted else "accepts nothing, and reports alone"
    if worker["clears"]:
        yield f"clears {' '.join(map(clean, worker['clears']))}"
    if worker["requests_running"] is not None:
        running = worker["requests_running"]
        yield f"{running} {'request' if running == 1 else 'requests'} running"
    if worker["training"]:
        yield "training"
    ago = worker["reported_seconds"]
    yield "no report yet" if ago is None else f"reported {show_seconds(max(0, round(ago)))} ago"
