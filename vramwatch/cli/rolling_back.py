"""Back to the version before: which program, with which history, and what is lost. Planned, then done."""

import contextlib
import sqlite3
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vramwatch.core.errors import VramwatchError
from vramwatch.store.copies import Copy, copies

ASK_SCHEMA = "from vramwatch.store.migrations import VERSION; print(VERSION)"


@dataclass(frozen=True, slots=True)
class Rollback:
    """``link`` will lead to ``program``; ``copy`` takes the store's place, None: the store stays as it is."""

    link: Path
    program: Path
    store: Path
    copy: Copy | None

    @property
    def aside(self) -> Path:
        """Where the present store goes."""
        return self.store.with_name(f"{self.store.name}.rolled-back.{datetime.now(UTC):%Y-%m-%dT%H%M%S}")

    def loss(self) -> str:
        """Return what is lost, in a sentence."""
        if self.copy is None:
            return "nothing is lost: both versions keep history in the same form"
        return (
            f"what was kept since {self.copy.day} is not in the history of the version before; "
            "it stays beside the store, to be read with the version that you leave"
        )


def plan(link: Path, store: Path, to: str | None = None, day: str | None = None) -> Rollback:
    """Return how to go back from the version that ``link`` leads to.

    ``to``: which version, as in "0.1.0"; None: the one installed last before. ``day``: of the copy that takes
    the store's place; None: the newest that the version can read, where it cannot read the store itself.
    The versions stand beside the link, as scripts/install of the archive puts them: LINK-VERSION.
    Errors: VramwatchError, where there is no way back.
    """
    program = _version(link, to)
    schema, has = _schema_of(program), _schema_in(store)
    if day is None and (has is None or has <= schema):
        return Rollback(link, program, store, None)
    kept = copies(store)
    fitting = [copy for copy in kept if copy.schema <= schema and day in (None, copy.day)]
    if not fitting:
        there = ", ".join(f"{copy.day} (schema {copy.schema})" for copy in kept) or "none"
        raise VramwatchError(
            f"{store}: has schema {has}, {program.name} reads up to {schema}, and no copy of that form"
            f"{f' and of {day}' if day else ''} is beside it; there: {there}. Name another version or copy, "
            "or move the store away to begin a new one"
        )
    return Rollback(link, program, store, fitting[0])


def _version(link: Path, to: str | None) -> Path:
    """Return the folder of version ``to``, or of the one before."""
    if not link.is_symlink():
        raise VramwatchError(
            f"{link}: no link to a version, as the archive's install script makes one, so the version before "
            "is not known; install it by hand, and put the copy beside the store in its place"
        )
    present = link.resolve()
    others = [each for each in link.parent.glob(f"{link.name}-*") if (each / "bin" / "python").exists()]
    before = {each.name.removeprefix(f"{link.name}-"): each for each in others if each.resolve() != present}
    if not before:
        raise VramwatchError(
            f"{link.parent}: no version stands beside {present.name}, so there is none before"
        )
    if to is not None and to not in before:
        raise VramwatchError(
            f"{link.parent}: no version {to} stands there; there: {', '.join(sorted(before))}"
        )
    return before[to] if to is not None else max(before.values(), key=lambda each: each.stat().st_mtime)


def carry_out(rollback: Rollback) -> None:
    """Do it; the service must not run."""
    if rollback.copy:
        aside = rollback.aside
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                rollback.store.with_name(rollback.store.name + end).rename(aside.with_name(aside.name + end))
        rollback.copy.path.rename(rollback.store)
    beside = rollback.link.with_name(f".{rollback.link.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(rollback.program)
    beside.replace(rollback.link)


def _schema_of(program: Path) -> int:
    done = subprocess.run(
        [str(program / "bin" / "python"), "-I", "-c", ASK_SCHEMA],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if not done.stdout.strip().isdigit():
        raise VramwatchError(f"{program}: does not say which history it reads: {done.stderr.strip()[-200:]}")
    return int(done.stdout)


def _schema_in(store: Path) -> int | None:
    """Return the schema of ``store``; None: there is no store."""
    if not store.exists():
        return None
    with contextlib.closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
