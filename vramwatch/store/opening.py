"""Opening the file: who may, what it is, and how SQLite is to treat it. Faults become plain words."""

import errno
import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from vramwatch.core.errors import StoreError
from vramwatch.store.copies import FILE_MODE, keep_copy
from vramwatch.store.damage import StoreDamaged
from vramwatch.store.migrations import APPLICATION_ID, VERSION, migrate

DIRECTORY_MODE = 0o750

_PRIMARY_CODE = 0xFF  # https://sqlite.org/rescode.html: the rest says more of it

_NO_LOCKS = (
    "{}: its disk gives no locks, as network disks may not, and without them the store would be damaged; "
    "choose a local disk with --store"
)

_FULL = "its disk is full; make room, or choose another with --store"

_REMEDIES = {
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room within this user's quota",
    errno.EROFS: "mount its disk for writing",
}
"""Why its place cannot be written -> what to do; else its directory is closed to this user."""

_LEAST_ROOM = 1024**2
"""Bytes that are free on a disk that is not full: the log needs its index (32 KiB), SQLite some pages."""

BUSY_TIMEOUT_MS = 5000  # a checkpoint of a large log on a slow disk lasts a second or two
POLL_BUSY_TIMEOUT_MS = 200  # what cannot be written by then waits in memory: no poll may be late for it
JOURNAL_SIZE_LIMIT_BYTES = 16 * 1024**2  # a log that a long reader made grow is cut back to this

_PRAGMAS = f"""
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA busy_timeout = {BUSY_TIMEOUT_MS};
PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT_BYTES};
"""


class StoreLocked(StoreError):
    """Another daemon writes the store at ``path``; ``pid``: as it wrote it down, or "unknown"."""

    def __init__(self, path: Path, pid: str) -> None:
        super().__init__(
            f"{path}: another vramwatch daemon (pid {pid}) writes this store; "
            "stop it, or give this one a store of its own with --store"
        )
        self.pid = pid


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite raises inside into StoreError, naming the store and what SQLite said."""
    try:
        yield
    except DBAPIError as error:
        raise _fault(path, error.orig) from error
    except (sqlite3.Error, OverflowError) as error:  # the second: an integer of more than 64 bits
        raise _fault(path, error) from error


def _fault(path: Path, told: BaseException | None) -> StoreError:
    code = getattr(told, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(f"{path}: the store cannot be used, it is damaged: {told}")
    if code == sqlite3.SQLITE_PROTOCOL:
        return StoreError(_NO_LOCKS.format(path))
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _has_no_room(path)):
        return StoreError(f"{path}: the store cannot be used: {_FULL}")
    return StoreError(f"{path}: the store cannot be used: {told}")


def _has_no_room(path: Path) -> bool:
    """Whether the disk is full, which SQLite calls an I/O error where the index of the log is to grow."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _LEAST_ROOM


def _cannot_be_written(path: Path, error: OSError) -> StoreError:
    where = f" ({error.filename})" if error.filename else ""
    what = _REMEDIES.get(error.errno or 0, "make its directory writable for this user")
    said = f"{error.strerror}{where}; {what}, or choose another with --store"
    return StoreError(f"{path}: the store cannot be written: {said}")


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn what a row raises that no vramwatch of this schema wrote into StoreError."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise StoreDamaged(
            f"{path}: the store holds what this vramwatch does not understand: {error!r}; "
            "read it with the version that wrote it, or restore it from a copy"
        ) from error


def lock(path: Path) -> tuple[int, bool]:
    """Return a descriptor that keeps every other daemon away from the store at ``path`` until it is closed.

    And whether a daemon had a store there before. The lock is flock(2) on ``<path>.lock``, which holds the
    daemon's pid. Makes the directories above.
    Errors: StoreLocked, when another daemon has it; StoreError, when the directory cannot be written.
    """
    beside = lock_of(path)
    descriptor = _locked(path, beside)
    while not _is_still(beside, descriptor):  # whoever had it took the file away: see ``take_away``
        os.close(descriptor)
        descriptor = _locked(path, beside)
    had_store = os.fstat(descriptor).st_size > 0
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(descriptor)
        raise _cannot_be_written(path, error) from error
    return descriptor, had_store


def lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _locked(path: Path, beside: Path) -> int:
    try:
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreLocked(path, holder) from error
    except OSError as error:
        os.close(descriptor)
        raise StoreError(_NO_LOCKS.format(path)) from error
    return descriptor


def _is_still(beside: Path, descriptor: int) -> bool:
    """Return whether ``descriptor`` is of the file that stands there now."""
    try:
        return os.path.samestat(beside.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def missing_so_far(path: Path) -> tuple[Path, ...]:
    """Return what a daemon makes for a store at ``path`` and is not there yet: files, then directories."""
    files = (*(path.with_name(path.name + end) for end in ("", "-wal", "-shm")), lock_of(path))
    return tuple(each for each in (*files, *path.absolute().parents) if not os.path.lexists(each))


def take_away(made: Iterable[Path]) -> None:
    """Remove these files, and those of the directories that are empty then; what cannot go, stays."""
    for each in made:
        with suppress(OSError):
            each.rmdir() if each.is_dir() else each.unlink()


def open_for_writing(path: Path, program: str) -> Connection:
    """Return a connection to the store at ``path``, made or brought to the present schema if need be.

    Errors: StoreError; a file of a newer schema or of another program is left as it was.
    """
    with told(path):
        _create(path)
        connection = sqlite3.connect(path, check_same_thread=False)
        try:
            version = _version(connection, path)
            if not version:
                connection.execute(
                    "PRAGMA auto_vacuum = INCREMENTAL"
                )  # takes effect before the first table alone
            connection.executescript(_PRAGMAS)
            _refuse_without_log(connection, path)
            if 0 < version < VERSION:
                keep_copy(connection, path, version)
            migrate(connection, version, program)
            connection.execute("PRAGMA foreign_keys = ON")  # only now: a step may make a table anew
            refuse_damaged(connection, path)
            connection.execute(f"PRAGMA busy_timeout = {POLL_BUSY_TIMEOUT_MS}")
        except BaseException:
            connection.close()
            raise
        return _wrap(lambda: connection)


def _refuse_without_log(connection: sqlite3.Connection, path: Path) -> None:
    """Errors: StoreError, where processes cannot share memory over the file, as the log needs it."""
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        raise StoreError(_NO_LOCKS.format(path))


def check(path: Path) -> None:
    """Look at the file itself, past what the writer has in memory of it. Errors: StoreError, StoreDamaged."""
    with told(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            refuse_damaged(connection, path)
        finally:
            connection.close()


def refuse_damaged(connection: sqlite3.Connection, path: Path) -> None:
    """Look at the tables that writing needs, which stay small. Errors: StoreDamaged."""
    for table in _CHECKED:
        for (told,) in connection.execute(f"PRAGMA quick_check({table})"):
            if told != "ok":
                raise StoreDamaged(f"{path}: the store cannot be used, it is damaged: {told}")


_CHECKED = [
    "run",
    "pace",
    "gpu",
    "owner",
    "alias",
    "process",
    "holding",
    "series",
    "gap",
    "hour",
    "tick",
    "sweep",
    "note",
    "incident",
    "transition",
    "checkpoint",
    "delivery",
    "step",
    "silence",
    "remark",
    "probe",
]


def open_for_reading(path: Path) -> tuple[Connection, bool]:
    """Return a connection that never writes, and whether it takes the file as one that nobody changes.

    Beside a daemon, and after one that was killed, the log (``-wal``) is read with the file. After a clean
    stop there is no log, and SQLite would have to write one: then, and only then, the file is read as
    immutable, which beside a daemon would miss what the log holds (https://sqlite.org/wal.html, read-only
    databases; https://sqlite.org/uri.html, immutable).

    Errors: StoreError, with what to do.
    """
    _look(path)
    with told(path):
        try:
            return _readable(path, "mode=ro"), False
        except sqlite3.OperationalError:
            if has_log(path):
                raise
        return _readable(path, "mode=ro&immutable=1"), True


def has_log(path: Path) -> bool:
    """Return whether the store at ``path`` has a log beside it, so that a daemon writes it or was killed."""
    return path.with_name(path.name + "-wal").exists()


def _readable(path: Path, how: str) -> Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        _refuse_older(_version(connection, path), path)
    except BaseException:
        connection.close()
        raise
    return _wrap(lambda: connection, isolation_level="AUTOCOMMIT")


def _refuse_older(version: int, path: Path) -> None:
    if version < VERSION:
        raise StoreError(
            f"{path}: the store has schema {version} and this vramwatch reads {VERSION}; "
            "start the daemon once, which brings it up to date"
        )


def _look(path: Path) -> None:
    """Say in plain words why ``path`` cannot be read, before SQLite says "unable to open database file".

    The file is not opened for it: closing it again would drop every lock that this process has on it
    (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError as error:
        raise StoreError(
            f"{path}: there is no store; start the daemon (vramwatch run), or name another with --store"
        ) from error
    except PermissionError as error:
        raise StoreError(_NOT_PERMITTED.format(path)) from error
    except OSError as error:
        raise StoreError(
            f"{path}: the store cannot be read: {error.strerror}; name another with --store"
        ) from error
    if not stat.S_ISREG(kind):
        raise StoreError(f"{path}: this is not a file; name the store with --store")
    if not os.access(path, os.R_OK):
        raise StoreError(_NOT_PERMITTED.format(path))


_NOT_PERMITTED = "{}: this user may not read the store; join its group (as installed: vramwatch), or use sudo"


def _create(path: Path) -> None:
    """Make an empty file with the store's mode, whatever the umask; SQLite gives its log the same."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    except FileExistsError as error:
        if not os.access(path, os.R_OK | os.W_OK):
            raise StoreError(
                f"{path}: this user may not write the store; run as its owner, or choose another with --store"
            ) from error
        return
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    os.fchmod(descriptor, FILE_MODE)
    os.close(descriptor)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema of the store, 0 for an empty file. Errors: StoreError for what is not ours."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        raise StoreDamaged(f"{path}: this is not a vramwatch store; name another with --store") from error
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreError(
            f"{path}: this is another program's database and is left alone; name another with --store"
        )
    if version > VERSION:
        raise StoreError(
            f"{path}: a newer vramwatch wrote this store (schema {version}, this one knows {VERSION}) and it "
            "is left alone; install that version, or choose another with --store"
        )
    return int(version)


def _wrap(connect: Callable[[], sqlite3.Connection], **options: str) -> Connection:
    """Return SQLAlchemy's view of one SQLite connection; closing it closes the other."""
    return create_engine("sqlite://", creator=connect, poolclass=NullPool, **options).connect()


def driver(connection: Connection) -> sqlite3.Connection:
    """Return the SQLite connection below ``connection``, for what SQLAlchemy has no words for."""
    found = connection.connection.driver_connection
    if not isinstance(found, sqlite3.Connection):
        raise TypeError(f"{found!r} is no connection to SQLite")
    return found


@contextmanager
def one_moment(connection: Connection) -> Iterator[None]:
    """Have what is read inside be of one moment, whatever a daemon commits and compacts meanwhile.

    ``connection`` is one of ``open_for_reading``, and not in one already.
    """
    connection.exec_driver_sql("BEGIN")
    try:
        yield
    finally:
        driver(connection).rollback()
