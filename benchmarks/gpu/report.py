"""docs/measured/<device>.md from the records of the parts, each figure with the command that gave it."""

import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.gpu.steps import Record, Scene, read

TARGET = Path("docs/measured")


def main(out: Path, parts: Sequence[str]) -> int:
    """Write one page a device that was measured; a rehearsal is printed, for it measured none."""
    by_scene = collect(out, parts)
    if not by_scene:
        print(f"{out} has no finished step; run make gpu PART=… first", file=sys.stderr)
        return 1
    for scene, records in by_scene.items():
        text = "\n".join(page(scene, records, parts)) + "\n"
        if scene.is_rehearsal:
            print(text, end="")
            continue
        path = TARGET / f"{slug(scene.device)}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}", file=sys.stderr)
    return 0


def collect(out: Path, parts: Sequence[str]) -> dict[Scene, dict[str, list[Record]]]:
    """Return the finished steps by where they were measured and by part, in the order they were made."""
    found: dict[Scene, dict[str, list[Record]]] = {}
    for part in parts:
        records = [record for path in sorted((out / part).glob("*.json")) if (record := read(path))]
        for record in sorted(records, key=lambda each: each.at):
            found.setdefault(record.scene, {}).setdefault(part, []).append(record)
    return found


def slug(device: str) -> str:
    """Return a file's name for a device: "nvidia-h100-80gb-hbm3"."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def page(scene: Scene, parts: Mapping[str, Sequence[Record]], every: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a page; a part that has no finished step is named as not run."""
    yield f"# Seen on {scene.device}" if not scene.is_rehearsal else "# Rehearsed without a GPU"
    yield ""
    yield f"Driver {scene.driver}, torch {scene.torch}, Python {platform.python_version()}."
    if scene.is_rehearsal:
        yield "It shows that every step runs. No figure here is one of a GPU."
    for part in every:
        yield ""
        yield f"## {part}"
        yield ""
        if part not in parts:
            yield "Not run."
            continue
        yield from table(parts[part])


def table(records: Sequence[Record]) -> Iterator[str]:
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
            cells = (record.step, one.name, one.measured, one.goal, reached)
            yield "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
