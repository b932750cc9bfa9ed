"""What doctor --bundle writes: one archive for a bug report, with names, paths and secrets taken out."""

import io
import json
import os
import platform
import socket
import subprocess
import tarfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from vramwatch import __version__
from vramwatch.cli.export import PRIVATE
from vramwatch.cli.findings import Finding
from vramwatch.cli.installing import UNIT
from vramwatch.cli.redacting import redactor
from vramwatch.config import Config, effective
from vramwatch.core.errors import StoreError, VramwatchError
from vramwatch.core.poll import Poll
from vramwatch.procfs.redaction import redact_text
from vramwatch.store import History

LOG_LINES = 500
"""Of the service's journal, the newest."""

PACKAGES = (
    "vramwatchd",
    "nvidia-ml-py",
    "sqlalchemy",
    "pydantic",
    "apscheduler",
    "requests",
    "prometheus_client",
)


def write_bundle(path: Path, findings: Sequence[Finding], config: Config | None, store: Path) -> None:
    """Write the archive to ``path``, which must not exist. Errors: VramwatchError."""
    newest, facts = _of_the_store(store)
    takes_out = redactor([newest] if newest else [], socket.gethostname())
    texts = {
        "doctor.json": json.dumps([asdict(each) for each in findings], indent=1),
        "versions.txt": _versions(),
        "configuration.yaml": _configuration(config),
        "store.json": json.dumps(facts, indent=1),
        "log.txt": _log(),
    }
    texts = {name: takes_out(redact_text(text)) for name, text in texts.items()}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            _add(archive, texts)
    except OSError as error:
        raise VramwatchError(f"{path}: cannot be written ({error.strerror})") from error


def _add(archive: tarfile.TarFile, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        content = text.encode()
        member = tarfile.TarInfo(f"vramwatch-bundle/{name}")
        member.size, member.mtime, member.mode = len(content), int(time.time()), PRIVATE
        archive.addfile(member, io.BytesIO(content))


def _configuration(config: Config | None) -> str:
    """Return the configuration without the sections that name people, services and receivers."""
    if config is None:
        return "# it could not be read; see doctor.json\n"
    counts = f"# left out: {len(config.owners)} owners, {len(config.channels)} channels, the host's name\n"
    anonymous = {"owners": (), "channels": {}, "host": type(config.host)()}
    return counts + effective(config.model_copy(update=anonymous))


def _versions() -> str:
    def version(package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return "not installed"

    lines = [f"vramwatch {__version__}", f"Python {platform.python_version()}", platform.platform()]
    return "".join(f"{line}\n" for line in [*lines, *(f"{each} {version(each)}" for each in PACKAGES)])


def _of_the_store(path: Path) -> tuple[Poll | None, Mapping[str, object]]:
    """Return the newest poll, for its names, and what may be told of the store itself."""
    try:
        with closing(History.open(path)) as history:
            opened = [
                {"state": each.incident.state, "pattern": each.incident.judgement.pattern, "at": each.at.wall}
                for each in history.open_incidents()
            ]
            facts = {"size_bytes": path.stat().st_size, "span": history.span(), "open_incidents": opened}
            return history.latest(), facts
    except StoreError as error:
        return None, {"error": str(error)}


def _log() -> str:
    """Return the newest lines of the service's journal; a sentence where there are none to be read."""
    asked = ["journalctl", "-u", UNIT, "-n", str(LOG_LINES), "--no-pager", "-o", "short-iso"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no journal could be read: {error}\n"
    return done.stdout or f"no journal could be read: {done.stderr}\n"
