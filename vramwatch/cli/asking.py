"""Where the verbs ask: the store for what was, the daemon for what is to change."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vramwatch.core.errors import UsageError

if TYPE_CHECKING:
    from vramwatch.config import Basics, Config
    from vramwatch.core.messages import Host
    from vramwatch.core.whereabouts import Whereabouts
    from vramwatch.store import Casebook, History


CONTROL_VARIABLE = "VRAMWATCH_CONTROL__SOCKET"
"""By which the environment names the daemon's socket, as it may every option."""

STORE_VARIABLE = "VRAMWATCH_STORE__PATH"
"""By which it names the store."""


def settings(config_path: Path | None, *, needs_secrets: bool = False) -> "Config":
    """Return the configuration for a verb that reads or asks, which a fault of it does not stop.

    Sections that hold one count by their defaults, and that is said once on stderr: of a secret that is out
    of this shell's reach to those alone who ``needs_secrets``. It is read once.
    """
    from vramwatch.config import find, load_sound

    path = find(config_path)
    context = click.get_current_context(silent=True)
    known = context.meta.setdefault(__name__, {}) if context else {}
    if (path, needs_secrets) not in known:
        config, faults = load_sound(path, os.environ, needs_secrets=needs_secrets)
        if faults and not any(said for (other, _), (_, said) in known.items() if other == path):
            _tell(faults, config_path)
        known[path, needs_secrets] = config, faults
    found: Config = known[path, needs_secrets][0]
    return found


def _tell(faults: str, config_path: Path | None) -> None:
    from vramwatch.cli.views.terminal import tell

    first, *others = faults.splitlines()
    more = f", and {len(others)} more" if others else ""
    tell(f"vramwatch: {first}{more}", sys.stderr)
    see = whereabouts(config_path).asking("check")
    tell(f"vramwatch: sections with a fault count by their defaults here; see: {see}", sys.stderr)


def basics(config_path: Path | None) -> "Basics | Config":
    """Return the same for a verb that only finds the daemon and its store: all where more is written."""
    from vramwatch.config import find, load_basics

    return load_basics(find(config_path), os.environ) or settings(config_path)


def find_store(config_path: Path | None, store_path: Path | None) -> Path:
    """Return where the store is looked for: as told, else as configured, else where there is one.

    Where none is found, that is the one which the daemon that answers writes.
    """
    from vramwatch.store.location import locate

    found = locate(store_path, basics(config_path).store.path)
    is_there = os.path.exists(found)  # noqa: PTH110 - Path.exists raises where this user may not even look
    return found if store_path or is_there else _store_of_the_daemon(config_path) or found


def _store_of_the_daemon(config_path: Path | None) -> Path | None:
    """Return the store of the daemon of this configuration; None: it does not answer, or it is not here."""
    from vramwatch.control.control import ControlError
    from vramwatch.store.location import mark

    try:
        reply = ask_daemon(config_path, "ping", {})
    except ControlError:
        return None
    path = Path(str(reply.get("path", "")))
    return path if reply.get("writes") and mark(path) == reply["writes"] else None


def open_history(config_path: Path | None, store_path: Path | None) -> "History":
    """Open the store for reading. Errors: StoreError."""
    from vramwatch.store import History

    return History.open(find_store(config_path, store_path))


def tell_age(history: "History", now: float) -> None:
    """Say on stderr of when the newest reading is, if not of ``now``, unix seconds. Errors: StoreError."""
    from vramwatch.cli.when import show_when
    from vramwatch.core.messages import OLD_AFTER

    span = history.span()
    if span is not None and now - span[1] > OLD_AFTER:
        newest = show_when(span[1], now, None)
        click.echo(f"vramwatch: the newest reading is of {newest}: what follows is of then", err=True)


def host_of(casebook: "Casebook", config_path: Path | None, store_path: Path | None) -> "Host":
    """Return whose history this is, as messages call it: by the store's word, else as configured here.

    Errors: StoreError.
    """
    from dataclasses import replace

    from vramwatch.core.messages import Host

    configured = basics(config_path).host.host(socket.gethostname())
    here = replace(configured, whereabouts=whereabouts(config_path, store_path))
    kept = casebook.hosts()
    return here if not kept or kept[0] == here.name else Host(kept[0], whereabouts=here.whereabouts)


def pick_incident(
    casebook: "Casebook", written: str, config_path: Path | None, store_path: Path | None
) -> str:
    """Return the id of the incident that ``written`` means: an id, how it begins, either with its host.

    Errors: UsageError with those that may be meant; StoreError.
    """
    from vramwatch.core.addressing import AMBIGUOUS, bare_id, which

    host = host_of(casebook, config_path, store_path)
    try:
        bare = bare_id(written, (host.name, *casebook.hosts()))
        return which(bare, casebook.beginning(bare, AMBIGUOUS), host.whereabouts.reading("incidents"))
    except ValueError as error:
        raise UsageError(str(error)) from None


def ask_daemon(config_path: Path | None, verb: str, arguments: Mapping[str, object]) -> Mapping[str, Any]:
    """Return the reply of the daemon of this configuration. Errors: ControlError."""
    from vramwatch.control import control

    given = {name: value for name, value in arguments.items() if value is not None}
    return control.request(control_socket(config_path), verb, given)


def writer_of(path: Path, config_path: Path | None) -> Path:
    """Return the socket of the daemon that writes the store at ``path``: of the service, or of this user.

    Errors: ControlError, where none of those that can be asked does.
    """
    from vramwatch.control import control
    from vramwatch.store.location import mark

    whose = mark(path)
    others: list[str] = []
    for place in dict.fromkeys(_sockets(config_path)):
        try:
            writes = control.request(place, "ping", {}).get("writes")
        except control.NoDaemonError:
            others.append(f"no daemon listens on {place}")
        except control.ControlError as error:
            others.append(str(error))
        else:
            if writes and writes == whose:
                return place
            others.append(f"the daemon at {place} does not write it")
    raise control.ControlError(
        f"{', '.join(others)}; name the socket of the one that does: {CONTROL_VARIABLE}=PATH, or --config "
        "with the file that it was started with (control.socket)"
    )


def whereabouts(
    config_path: Path | None, store_path: Path | None = None, socket_path: Path | None = None
) -> "Whereabouts":
    """Return how a command of another shell comes to the same daemon and store: by what was named here."""
    from vramwatch.core.whereabouts import Whereabouts

    store = store_path or os.environ.get(STORE_VARIABLE)
    return Whereabouts(
        str(config_path.absolute()) if config_path else None,
        str(socket_path) if socket_path else os.environ.get(CONTROL_VARIABLE),
        str(Path(store).absolute()) if store else None,
    )


def control_socket(config_path: Path | None) -> Path:
    """Return where the daemon of this configuration listens: as a service if there is one, else as ours."""
    of_the_service, ours = _sockets(config_path)
    return of_the_service if of_the_service.exists() else ours


def _sockets(config_path: Path | None) -> tuple[Path, Path]:
    control = basics(config_path).control
    return control.place({}, uid=0), control.place(os.environ, os.geteuid())
