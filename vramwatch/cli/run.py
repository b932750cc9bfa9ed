"""vramwatch run: the daemon."""

import contextlib
import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar

import click

from vramwatch import __version__
from vramwatch.cli.options import config_option, store_option
from vramwatch.core.errors import UsageError

if TYPE_CHECKING:
    from vramwatch.cli.reloading import Reload
    from vramwatch.config import Config
    from vramwatch.core.ports import Feed
    from vramwatch.core.whereabouts import Whereabouts
    from vramwatch.daemon import Daemon
    from vramwatch.reception import Reception
    from vramwatch.store import Store
    from vramwatch.systemd import Systemd

LOG_FORMAT = "%(levelname)s %(name)s %(message)s"
"""Without a time: journald and container runtimes put theirs before every line. Terminals do not."""

logger = logging.getLogger("vramwatch")


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--source", metavar="NAME", help="Where readings come from: nvml, simulated, replay.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Set one option, as in poll.interval=2s. May be repeated.",
)
@click.option("--require-gpu", is_flag=True, help="End with 69 if no GPU can be read at start.")
@config_option
@store_option
def command(
    files: tuple[Path, ...],
    source: str | None,
    settings: tuple[str, ...],
    require_gpu: bool,
    config_path: Path | None,
    store_path: Path | None,
) -> None:
    """Watch the GPUs and keep their history, until SIGTERM or Ctrl-C.

    FILES are the recordings that `--source replay` plays. A recording or a simulation ends with its
    input and takes a store of its own, for it must not be mixed with what really happened: by --store, or
    by store.path of the file that --config names.

    A recording is CSV (or .csv.gz) with the columns time, gpu, pid, used_bytes, total_bytes; and as far
    as known utilization, process_start, owner, reserved_bytes, event, torch_reserved_bytes,
    torch_allocated_bytes, engine_kv_bytes, engine_kv_ratio (the share of the KV pool that is used),
    requests_total, requests_running, requests_waiting, engine_pool_bytes (the size of the KV pool),
    engine_evictable_bytes (the prefix cache in it that may be dropped), preemptions_total,
    alloc_retries_total, ooms_total, model_bytes and model_gpu_bytes (Ollama's size and size_vram),
    kv_requires_grad (1: a cached key holds its autograd graph). An empty pid is the whole GPU, an empty
    used_bytes one that the driver withheld. Logs of
    `nvidia-smi --query-gpu=timestamp,index,uuid,memory.used,memory.total,utilization.gpu --format=csv -l 10`
    are taken as they are.

    \b
    vramwatch run --source replay day.csv.gz --store day.db
    vramwatch run --source simulated --set source.simulated.speed=60 --store trial.db
    """
    from vramwatch.cli.asking import STORE_VARIABLE, whereabouts
    from vramwatch.config import find, load

    path = find(config_path)
    overrides = _overrides(files, source, settings, store_path)
    config = load(path, os.environ, overrides)
    logging.basicConfig(level=config.log.level.upper(), format=log_format(sys.stderr), stream=sys.stderr)
    named = (store_path, config_path, overrides.get("store.path"), os.environ.get(STORE_VARIABLE))
    _refuse_mixed_history(config, path, is_chosen=source is None or any(named))
    store_named = config.store.path if "store.path" in overrides else store_path
    socket_named = config.control.socket if "control.socket" in overrides else None
    here = whereabouts(config_path, store_named, socket_named)
    _run(config, require_gpu, lambda: load(path, os.environ, overrides), here)
    if config.source_name == "replay" and config.store.path:
        _tell_what_was_played(config.store.path)


def log_format(stream: TextIO) -> str:
    """Return how lines of the log are written to ``stream``: with their times where a person reads along."""
    return f"%(asctime)s {LOG_FORMAT}" if stream.isatty() else LOG_FORMAT


def _overrides(
    files: tuple[Path, ...], source: str | None, settings: tuple[str, ...], store_path: Path | None
) -> dict[str, object]:
    overrides: dict[str, object] = {}
    if source:
        overrides["source"] = source
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or "." not in key:
            raise UsageError(f"--set {setting}: write SECTION.KEY=VALUE, as in --set poll.interval=2s")
        overrides[key] = value
    if files:
        if source != "replay":
            raise UsageError(f"{files[0]}: files are for --source replay")
        overrides["source.replay.files"] = [str(file.absolute()) for file in files]
    if store_path:
        overrides["store.path"] = str(store_path.absolute())
    return overrides


def _run(
    config: "Config", require_gpu: bool, load_again: "Callable[[], Config]", whereabouts: "Whereabouts"
) -> None:
    """Open the store and the source, watch until told to stop, and leave nothing behind."""
    from vramwatch.assembly import (
        ask_engines,
        assemble,
        digests,
        follow_logs,
        keep_probes,
        name_holders,
        open_feed,
        tell,
        time_probes,
        treat,
        watch,
    )
    from vramwatch.cli.reloading import Reload
    from vramwatch.clock import read_boot_id
    from vramwatch.config import sentence
    from vramwatch.daemon import Daemon
    from vramwatch.systemd import Systemd

    systemd = Systemd(os.environ)
    with contextlib.ExitStack() as house:
        store = _open_store(config, house)
        refused = house.enter_context(contextlib.ExitStack())
        refused.callback(store.discard)  # a start that is refused leaves no store behind that it has made
        _refuse_others_readings(config, store)
        feed = open_feed(config, store.newest())
        house.callback(feed.source.close)
        place = config.control.place(os.environ, os.geteuid())
        reception = _closed_with(house, _receive(config, feed, place))
        gauging = _closed_with(house, ask_engines(config, feed))
        insides = tuple(each for each in (reception, gauging) if each)
        pipeline = assemble(config, feed, store.owners(read_boot_id()), insides)
        logs = _closed_with(house, follow_logs(config, feed))
        judge = watch(config)
        alerting, outbox = tell(config, store, whereabouts) or (None, None)
        digester = digests(config, store.path, outbox) if outbox else None
        treatment = treat(config, store, reception, gauging)
        probing, timer = keep_probes(config, store), time_probes(config, store.path)
        daemon = Daemon(
            feed,
            pipeline,
            judge,
            store,
            find_holders=name_holders if feed.live else None,
            require_gpu=require_gpu,
            logs=logs,
            alerting=alerting,
            outbox=outbox,
            digests=digester,
            systemd=systemd,
            workers=reception,
            loaded=gauging.loaded if gauging else None,
            treatment=treatment,
            probing=probing,
            probe_timer=timer,
        )
        if config.source_name != "replay":  # which may play beside a daemon that has both addresses
            _listen(config, place, daemon, house)
        told = (alerting, outbox, digester, treatment)
        again = Reload(daemon, pipeline, judge, *told, config, load_again, probing, timer)
        _heed_signals(daemon, again, systemd)
        logger.info("%s", sentence(config))
        refused.pop_all()
        daemon.run()
        logger.info("stopped")


class _Closable(Protocol):
    def close(self) -> None: ...


_Part = TypeVar("_Part", bound=_Closable | None)


def _closed_with(house: contextlib.ExitStack, part: _Part) -> _Part:
    """Have ``part``, if there is one, closed with the ``house``, and return it."""
    if part is not None:
        house.callback(part.close)
    return part


def _open_store(config: "Config", house: contextlib.ExitStack) -> "Store":
    from vramwatch.store import Retention, Store
    from vramwatch.store.location import default_for_writing

    kept = config.store
    retention = Retention(kept.raw, kept.minutes, kept.hours, kept.max_size)
    path = kept.path or default_for_writing()
    name = config.host.host(socket.gethostname()).name
    return _closed_with(house, Store.open(path, config.source_name, __version__, retention, host=name))


def _listen(config: "Config", place: Path, daemon: "Daemon", house: contextlib.ExitStack) -> None:
    """Answer on the control socket at ``place``, and over HTTP where that is wanted."""
    from vramwatch.control.control import ControlServer
    from vramwatch.web.server import Shown, WebServer

    _closed_with(house, ControlServer(place, config.control.group, daemon.answer))
    http = config.http
    if http.listen:
        shown = Shown(daemon.vitals, daemon.board, http.token_file, http.processes)
        _closed_with(house, WebServer(http.listen.host, http.listen.port, shown))


def _heed_signals(daemon: "Daemon", again: "Reload", systemd: "Systemd") -> None:
    def reload() -> None:
        systemd.reloading()
        again()
        systemd.ready()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    signal.signal(signal.SIGHUP, lambda *_: daemon.call(reload))


def _receive(config: "Config", feed: "Feed", control: Path) -> "Reception | None":
    """Open the socket of workers. Without it everything else goes on, and why is said."""
    from vramwatch.assembly import receive
    from vramwatch.reception import ReceptionError

    try:
        return receive(config, feed, control)
    except ReceptionError as error:
        logger.warning("no worker can enrol because=%r", str(error))
        return None


def _refuse_mixed_history(config: "Config", file: Path | None, *, is_chosen: bool) -> None:
    """A simulation or a recording must not end up in the history of what really happened.

    ``is_chosen``: whether whoever named the source has named the store, or the ``file`` that does.
    """
    name, store = config.source_name, config.store.path
    if name == "nvml":
        return
    own = "add --store FILE, or name a configuration of its own with --config"
    if store is None:
        raise UsageError(f"the source {name} needs a store of its own: {own}")
    if not is_chosen:
        raise UsageError(
            f"the source {name} needs a store of its own, and {store} (store.path of {file}) is for the "
            f"readings of this machine: {own}"
        )
    if name == "replay" and store.exists():
        raise UsageError(f"{store}: exists already; a recording is played into a new store")


def _refuse_others_readings(config: "Config", store: "Store") -> None:
    """Errors: UsageError, where a simulation would go on in a store of other readings.

    A server is watched all the same: what was played into its store stands in the log.
    """
    others = ", ".join(sorted(store.sources() - {config.source_name}))
    if config.source_name == "nvml" and others:
        logger.warning("the store holds readings of the source %s, and those of this machine", others)
    elif others:
        raise UsageError(
            f"{store.path}: holds readings of the source {others}, and those of {config.source_name} are "
            "not mixed with them: add --store FILE"
        )


def _tell_what_was_played(store: Path) -> None:
    from vramwatch.core.records import iso
    from vramwatch.store import History

    history = History.open(store)
    span = history.span()
    if span is None:
        click.echo("the recording holds no reading", err=True)
        return
    count = len(history.gpus())
    click.echo(
        f"played {count} GPU{'' if count == 1 else 's'}, {iso(span[0])} to {iso(span[1])}; ask: "
        f"vramwatch history --store {shlex.quote(str(store))} --since {span[0]:.0f}",
        err=True,
    )
