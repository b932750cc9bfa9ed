"""docs/measured/<device>.md from the records of the parts, each figure with the command that gave it."""

import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.gpu.steps import NAMES, Record, Scene, read

TARGET = Path("docs/measured")
TRACES = Path("tests/fixtures/traces")


def main(out: Path, parts: Sequence[str]) -> int:
    """Write one page a device that was measured; a rehearsal is printed, for it measured none."""
    by_scene = collect(out, parts)
    if not by_scene:
        print(f"{out} has no finished step; run make gpu PART=… first", file=sys.stderr)
        return 1
    for scene, records in by_scene.items():
        text = "\n".join(page(scene, records, {part: names(out / part) for part in parts})) + "\n"
        if scene.is_rehearsal:
            print(text, end="")
            continue
        path = TARGET / f"{slug(scene.device)}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}", file=sys.stderr)
        for recording in keep(out, records, slug(scene.device)):
            print(f"wrote {recording}", file=sys.stderr)
    return 0


def collect(out: Path, parts: Sequence[str]) -> dict[Scene, dict[str, list[Record]]]:
    """Return the finished steps by where they were measured and by part, in the order they were made."""
    found: dict[Scene, dict[str, list[Record]]] = {}
    for part in parts:
        records = [record for path in sorted((out / part).glob("*.json")) if (record := read(path))]
        for record in sorted(records, key=lambda each: each.at):
            found.setdefault(record.scene, {}).setdefault(part, []).append(record)
    return found


def keep(out: Path, parts: Mapping[str, Sequence[Record]], device: str) -> Iterator[Path]:
    """Copy the recordings of the layers, and their truth, to where tests find them; yield where they are."""
    folder = TRACES / device
    for part, records in parts.items():
        for record in records:
            for path in (out / part / f"{record.step}.csv.gz", out / part / f"{record.step}.truth.json"):
                if path.exists():
                    folder.mkdir(parents=True, exist_ok=True)
                    yield Path(shutil.copy(path, folder / path.name))


def slug(device: str) -> str:
    """Return a file's name for a device: "nvidia-h100-80gb-hbm3"."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def page(
    scene: Scene, parts: Mapping[str, Sequence[Record]], every: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield the lines of a page; what is not finished is named.

    ``every``: part -> its steps, as far as they are known.
    """
    yield f"# Seen on {scene.device}" if not scene.is_rehearsal else "# Rehearsed without a GPU"
    yield ""
    yield f"Driver {scene.driver}, torch {scene.torch}."
    if scene.is_rehearsal:
        yield "It shows which steps run. No figure here is one of a GPU, so none stands beside a goal."
        yield "torch computes on the CPU, and another program answers what is asked of nvidia-smi."
    for part, steps in every.items():
        yield ""
        yield f"## {part}"
        yield ""
        if part not in parts:
            yield "Not run."
            continue
        yield from table(parts[part], steps)


def table(records: Sequence[Record], steps: Sequence[str]) -> Iterator[str]:
    """Yield the steps of one part as a table, above it the commands and days that gave its figures."""
    for command in dict.fromkeys(record.command for record in records):
        days = sorted({_day(record.at) for record in records if record.command == command})
        yield f"`{command}`, {', '.join(days)}"
    yield ""
    yield "| step | what | measured | goal | reached |"
    yield "|---|---|---|---|---|"
    for record in records:
        for one in record.findings:
            reached = "" if one.reached is None else "yes" if one.reached else "**no**"
            judged = ("", "") if record.scene.is_rehearsal else (one.goal, reached)
            cells = (record.step, one.name, one.measured, *judged)
            yield "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"
    finished = {record.step for record in records}
    yield from (f"| {step} | not finished | | | |" for step in steps if step not in finished)


def names(folder: Path) -> tuple[str, ...]:
    """Return the steps of the part whose files are in ``folder``; empty where it was never begun."""
    path = folder / NAMES
    return tuple(path.read_text(encoding="utf-8").split()) if path.exists() else ()


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
