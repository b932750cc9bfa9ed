"""What `vramwatch service` writes on a machine: planned as data, so that it can be shown before it is done.

A file that a person has changed since it was written is never overwritten and never removed: what was written
is kept by its hash in MANIFEST.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from vramwatch.core.attempts import RemedyName

if TYPE_CHECKING:
    from vramwatch.config import Config

UNIT = "vramwatch.service"
UNITS = Path("/etc/systemd/system")
SYSUSERS = Path("/etc/sysusers.d/vramwatch.conf")
CONFIGURATION = Path("/etc/vramwatch/config.yaml")
MANIFEST = Path("/etc/vramwatch/.installed.json")
"""Where root alone writes: the daemon must not be able to name files that root then removes."""

SHIPPED_PROGRAMS = "/opt/vramwatch/bin/"
"""Where the shipped units look for programs; the place of the one that installs them comes instead."""

IDENTIFY = ("vramwatch-identify.socket", "vramwatch-identify.service")
"""The units of the profile "identify"."""

PROBE = ("vramwatch-probe.timer", "vramwatch-probe.service")
"""The units that have the probe run where the configuration has probe.every."""

SYSTEMD_NEEDED = 235
"""The first with StateDirectory=, ConfigurationDirectory= and RuntimeDirectoryPreserve=: systemd NEWS."""

SYSTEMD_SINCE = {
    "PrivateMounts": 239,
    "ProtectHostname": 242,
    "RestrictSUIDSGID": 242,
    "ProtectKernelLogs": 244,
    "ProtectClock": 245,
    "PrivateIPC": 248,
}
"""Directive of our units -> the first systemd that knows it, of those after SYSTEMD_NEEDED: systemd NEWS."""

MINIMAL = """\
# Every option has a default: vramwatch check --example prints them all, with what they mean.
# After a change: vramwatch check && systemctl reload vramwatch
control:
  socket: /run/vramwatch/control.sock
"""


Step = tuple[str, ...]
"""A program that is run, with its arguments."""


class Deed(StrEnum):
    WRITE = "write"
    REPLACE = "replace"  # what stands there is what was written before
    KEEP = "keep"  # it stands there already, the same
    LEAVE = "leave"  # somebody changed it
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Item:
    """One file and what becomes of it. ``text`` is empty where it is removed or left."""

    path: Path
    deed: Deed
    text: str = ""
    mode: int = 0o644


def to_install(
    wanted: Iterable["Item"], standing: Mapping[Path, str], written: Mapping[str, str]
) -> list[Item]:
    """Return what becomes of each wanted file.

    ``standing``: the texts of files that are there; ``written``: path -> hash of what was written before.
    What was written before and is wanted no longer is removed.
    """
    wanted = list(wanted)
    plan = [_to_write(item, standing.get(item.path), written.get(str(item.path))) for item in wanted]
    gone = {Path(path) for path in written} - {item.path for item in wanted}
    return plan + to_remove(gone, standing, written)


def to_remove(paths: Iterable[Path], standing: Mapping[Path, str], written: Mapping[str, str]) -> list[Item]:
    """Return what becomes of files that were written before: removed, or left where somebody changed them."""
    return [
        Item(path, Deed.REMOVE if digest(standing[path]) == written.get(str(path)) else Deed.LEAVE)
        for path in sorted(paths)
        if path in standing
    ]


def _to_write(item: Item, stands: str | None, written: str | None) -> Item:
    if stands is None:
        return item
    if stands == item.text:
        return Item(item.path, Deed.KEEP, item.text, item.mode)
    if digest(stands) == written:
        return Item(item.path, Deed.REPLACE, item.text, item.mode)
    return Item(item.path, Deed.LEAVE)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def wanted(config: "Config", shipped: Path, program: str, *, identifies: bool = False) -> list[Item]:
    """Return the files of a service that runs ``program`` (an absolute path) by ``config``.

    ``shipped``: the folder of units that comes with vramwatch. ``identifies``: in the profile "identify".
    """
    here = f"{Path(program).parent}/"
    units = {
        name: (shipped / name).read_text(encoding="utf-8").replace(SHIPPED_PROGRAMS, here)
        for name in (UNIT, *(IDENTIFY if identifies else ()), *(PROBE if config.probe.every else ()))
    }
    return [
        Item(SYSUSERS, Deed.WRITE, (shipped / "sysusers.conf").read_text(encoding="utf-8")),
        *(Item(UNITS / name, Deed.WRITE, _bounded(text, config)) for name, text in units.items()),
        *(
            Item(UNITS / f"{UNIT}.d" / f"{name}.conf", Deed.WRITE, text)
            for name, text in drop_ins(config, shipped / f"{UNIT}.d").items()
        ),
        Item(CONFIGURATION, Deed.WRITE, MINIMAL, mode=0o640),
    ]


def identified(written: Iterable[str]) -> bool:
    """Return whether what was ``written`` before, by path, is of the profile "identify"."""
    return str(UNITS / IDENTIFY[0]) in written


def steps(
    config: "Config", written: Collection[str], *, identifies: bool, starts: bool
) -> tuple[list[Step], list[Step]]:
    """Return what is run before the files are written, and what is run then.

    ``written``: the paths of what was written before. ``starts``: whether the service is started too.
    """
    timer = PROBE[0]
    gone = [
        *(IDENTIFY if identified(written) and not identifies else ()),
        *([timer] if str(UNITS / timer) in written and not config.probe.every else ()),
    ]
    before = [("systemctl", "disable", "--now", "--quiet", *gone)] if gone else []
    at_once = ("systemctl", "enable", "--quiet", "--now")
    after: list[Step] = [
        ("systemd-sysusers", str(SYSUSERS)),
        ("chown", "root:vramwatch", str(CONFIGURATION)),  # may name files of secrets: nobody else reads it
        ("systemctl", "daemon-reload"),
    ]
    if starts:
        after += [(*at_once, IDENTIFY[0])] if identifies else []
        after += [("systemctl", "enable", "--quiet", UNIT), ("systemctl", "restart", UNIT)]
        after += [(*at_once, timer)] if config.probe.every else []
    return before, after


def _bounded(text: str, config: "Config") -> str:
    """Return the ``text`` of a unit with the bounds of the section ``probe`` in place of those shipped."""
    options = config.probe
    written = {
        "OnUnitInactiveSec=1d": f"OnUnitInactiveSec={options.every or 0:.0f}s",
        "TimeoutStartSec=30min": f"TimeoutStartSec={options.timeout:.0f}s",
        "MemoryMax=8G": f"MemoryMax={options.memory}",
    }
    for shipped, wanted in written.items():
        text = re.sub(rf"^{shipped}$", wanted, text, flags=re.MULTILINE)
    return text


def lacking(items: Iterable[Item], version: int) -> list[str]:
    """Return the directives in ``items`` that systemd ``version`` ignores, sorted; empty: it knows all."""
    lines = {line for item in items for line in item.text.splitlines()}
    named = {line.partition("=")[0] for line in lines}
    return sorted(name for name, since in SYSTEMD_SINCE.items() if name in named and version < since)


def drop_ins(config: "Config", shipped: Path) -> dict[str, str]:
    """Return name -> text of the drop-ins for what ``config`` asks for beyond the unit as shipped."""
    group = config.workers.group
    is_needed = {
        "network": bool(config.channels or config.engines.urls or _is_open(config)),
        "remedies": any(each.remedy is RemedyName.SIGNAL for each in config.remedies.remedies()),
        "workers": group is not None,
    }
    texts = {
        name: (shipped / f"{name}.conf").read_text(encoding="utf-8") for name in is_needed if is_needed[name]
    }
    return {name: text.replace("=GROUP", f"={group}") for name, text in texts.items()}


def _is_open(config: "Config") -> bool:
    return config.http.listen is not None and not config.http.listen.is_loopback


def shipped_units() -> Path:
    """Return the folder of units that comes with this vramwatch: in its package, or in its checkout."""
    package = Path(__file__).parents[1]
    inside = package / "units"
    return inside if inside.is_dir() else package.parent / "systemd"


def this_program() -> str:
    """Return the command that runs now, as a unit starts it: by the link to its version, if there is one."""
    return str(place_of_versions() / "bin" / "vramwatch")


def place_of_versions() -> Path:
    """Return the link LINK that leads to this version's folder LINK-VERSION; the folder where none does."""
    folder = Path(sys.executable).parents[1]
    link = folder.with_name(folder.name.rpartition("-")[0] or folder.name)
    return link if link.is_symlink() and link.resolve() == folder.resolve() else folder


class Root:
    """The machine's file system, or another below ``top``."""

    def __init__(self, top: Path = Path("/")) -> None:
        self._top = top

    def place(self, path: Path) -> Path:
        return self._top / path.relative_to("/")

    def standing(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Return the text of each of ``paths`` that is there."""
        found = {}
        for path in paths:
            place = self.place(path)
            if place.is_file():
                found[path] = place.read_text(encoding="utf-8", errors="replace")
        return found

    def written(self) -> dict[str, str]:
        """Return path -> hash of what was written before; empty: nothing was, or nobody knows."""
        try:
            told = json.loads(self.place(MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(path): str(value) for path, value in told.items()} if isinstance(told, dict) else {}

    def carry_out(self, plan: Iterable[Item]) -> None:
        """Do what is planned and remember what was written."""
        written = self.written()
        for item in plan:
            place = self.place(item.path)
            if item.deed in (Deed.WRITE, Deed.REPLACE):
                _write(place, item.text, item.mode)
                written[str(item.path)] = digest(item.text)
            elif item.deed is Deed.KEEP:
                written[str(item.path)] = digest(item.text)
            elif item.deed is Deed.REMOVE:
                place.unlink(missing_ok=True)
                if place.parent.name == f"{UNIT}.d" and not any(place.parent.iterdir()):
                    place.parent.rmdir()
                written.pop(str(item.path), None)
        if written:
            _write(self.place(MANIFEST), json.dumps(written, indent=1), 0o644)
        else:
            self.place(MANIFEST).unlink(missing_ok=True)


def _write(place: Path, text: str, mode: int) -> None:
    """Write all or nothing; a link that stands there is replaced, not followed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(place)
