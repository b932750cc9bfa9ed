"""Puts the rooms together as the configuration says: for the daemon, and for one look without it."""

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vramwatch import families
from vramwatch.clock import read_boot_id
from vramwatch.config import Commands, Config
from vramwatch.config.sections import DEFAULT_SOURCE
from vramwatch.core.attribution import Surroundings
from vramwatch.core.couriers import Courier, Reach
from vramwatch.core.digests import Period
from vramwatch.core.metric_pages import Gauged
from vramwatch.core.model import Instant, Owner, ProcessFacts, ProcessKey
from vramwatch.core.policy import Channel
from vramwatch.core.poll import Poll
from vramwatch.core.ports import Feed, Insides, Sightings, Workers
from vramwatch.core.recognition import Engine
from vramwatch.core.units import Bytes, Seconds
from vramwatch.core.whereabouts import FOUND, Whereabouts
from vramwatch.gauging import Gauging, Place, Terms
from vramwatch.judging.watch import Detector, Watch
from vramwatch.logs import LogWatch
from vramwatch.pipeline import Pipeline
from vramwatch.probing.runs import Probing
from vramwatch.probing.timer import PASSED_ON, ProbeTimer
from vramwatch.probing.timer import Plan as ProbePlan
from vramwatch.procfs import (
    Holder,
    IdentifySocket,
    ProcessTable,
    counts_gpu_memory,
    find_holders,
    read_group_memory,
)
from vramwatch.procfs.identity import sees_every_process
from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.remedying import Hands, NoVoices
from vramwatch.store import Store
from vramwatch.store.desk import Desk
from vramwatch.telling.alerting import Alerting
from vramwatch.telling.digesting import Digests, Plan
from vramwatch.telling.outbox import Outbox
from vramwatch.telling.sending import Line
from vramwatch.telling.sketching import Sketching
from vramwatch.treating.applying import Applier, Permit
from vramwatch.treating.treatment import OFF_FILE, NoWorkers, Rules, Treatment

CGROUPS = Path("/sys/fs/cgroup")

FIRST_LOOK = Seconds(20.0)
"""How long a single look waits for the driver: without persistence mode a GPU wakes in seconds."""

HOLDERS_NAMED = 5
"""So many holders fit one readable sentence; more than that is one program with many children."""

LOOK_INTERVAL = Seconds(0.1)


def engines() -> tuple[Engine, ...]:
    """Return one of every engine that is found."""
    return tuple(engine() for engine in families.discover("vramwatch.engines").values())


def open_feed(config: Config, newest: Instant | None) -> Feed:
    """Return the feed of the configured source; its people keep secrets unless told otherwise.

    ``newest``: the poll of the store that it goes on after; None: there is none.
    """
    feed = config.source.open(newest)
    if feed.live and config.store.commands is Commands.FULL:
        return replace(feed, people=ProcessTable(redacts=False, others=IdentifySocket()))
    return feed


def follow_logs(config: Config, feed: Feed) -> Sightings | None:
    """Start to follow the logs that the configuration names.

    None where it names none, and for a recorded or simulated feed: this machine's logs say nothing of it.
    """
    logs = config.logs
    return LogWatch(logs.units, logs.containers) if feed.live and (logs.units or logs.containers) else None


def receive(config: Config, feed: Feed, control: Path) -> Reception | None:
    """Return where workers enrol, beside the socket ``control``.

    None: not wanted, or nobody here is among what the source shows. Errors: ReceptionError.
    """
    options = config.workers
    if not (options.enabled and feed.live and config.source_name == DEFAULT_SOURCE):
        return None
    return Reception(
        options.place(control),
        Admission.of(options.group, options.users),
        Bounds(options.limit, min(options.limit, options.limit_per_user), options.report_interval),
        read_boot_id(),
    )


def ask_engines(config: Config, feed: Feed) -> Gauging | None:
    """Start to ask engines for their own figures.

    None: not wanted, or nobody here is among what the source shows.
    """
    options = config.engines
    if not (options.enabled and feed.live and config.source_name == DEFAULT_SOURCE):
        return None
    gauged = {
        name: engine
        for name, found in families.discover("vramwatch.engines").items()
        if isinstance(engine := found(), Gauged)
    }
    places = tuple(Place(each.owner, each.url, each.token_file) for each in options.urls)
    return Gauging(gauged, Terms(options.interval, places), ask=IdentifySocket().listening).start()


def assemble(
    config: Config, feed: Feed, owners: Mapping[ProcessKey, Owner], insides: Sequence[Insides] = ()
) -> Pipeline:
    """Return the pipeline over ``feed``; ``owners`` are those that history has fixed already."""
    return Pipeline(
        feed,
        engines=engines(),
        rules=config.owner_rules(),
        rates=config.poll.rates(),
        owners=owners,
        surroundings=surroundings(feed.live),
        read_groups=_group_bytes if feed.live and counts_gpu_memory(CGROUPS) else None,
        shows=_name_alone if config.store.commands is Commands.NAME else lambda facts: facts,
        insides=insides,
    )


def detectors(config: Config) -> Mapping[str, Detector]:
    """Return every detector that is not switched off, by name, with its options."""
    return config.detection.detectors.on()


def watch(config: Config) -> Watch:
    """Return what judges polls as the configuration says; nothing is remembered yet."""
    return Watch(detectors(config), config.detection.terms())


def tell(config: Config, store: Store, whereabouts: Whereabouts = FOUND) -> tuple[Alerting, Outbox] | None:
    """Return what decides whom to tell, and what tells them; None: the source is a recording of the past.

    ``whereabouts``: what commands in messages have to name to come to this daemon and its store.
    """
    if config.source_name == "replay":
        return None
    desk, options = Desk(store), config.alerting
    alerting = Alerting(desk, channels(config), observe_for(config))
    host = replace(config.host.host(socket.gethostname()), whereabouts=whereabouts)
    return alerting, Outbox(desk, host, lines(config), options.give_up_after, Sketching(store.path))


def treat(
    config: Config, store: Store, workers: Workers | None, gauging: Gauging | None = None
) -> Treatment | None:
    """Return what has memory given back as the configuration says; None: the source is a recording.

    ``workers`` None: none can enrol; ``gauging`` None: no engine is asked, and so none is called. It is
    there also where no remedy is configured: a later configuration may have one, and what was under way
    when the daemon ended is to be ended.
    """
    if config.source_name == "replay":
        return None
    workers = workers or NoWorkers()
    voices = gauging.hearing if gauging else NoVoices()
    applier = Applier(Hands(workers, open_courier, voices), permit(config))
    off_file = config.control.runtime(os.environ, os.geteuid()) / OFF_FILE
    return Treatment(Desk(store), rules(config), workers, applier, off_file)


def rules(config: Config) -> Rules:
    """Return what may be done to processes, and how it is judged."""
    options = config.remedies
    return Rules(options.ladder(), options.remedies(), options.look_again)


def permit(config: Config) -> Permit | None:
    """Return what is asked before service is touched; None: nothing."""
    wanted = config.remedies.permit
    return Permit(wanted.argv, wanted.timeout) if wanted else None


def digests(config: Config, path: Path, outbox: Outbox) -> Digests:
    """Return what makes the digests of the store at ``path``."""
    return Digests(path, outbox, digest_plan(config))


def digest_plan(config: Config) -> Plan | None:
    """Return when digests are made and for whom; None: nobody wants one."""
    options = config.alerting
    wanted = tuple(name for name, entry in config.channels.items() if entry.digest)
    if options.digest == "off" or not wanted:
        return None
    return Plan(Period(options.digest), options.digest_time, wanted)


def keep_probes(config: Config, store: Store) -> Probing | None:
    """Return what keeps runs of the probe and measures them; None: the source is a recording of the past."""
    return None if config.source_name == "replay" else Probing(Desk(store), config.probe.need())


def time_probes(config: Config, path: Path) -> ProbeTimer | None:
    """Return what has the probe run, for the store at ``path``; None: systemd's timer does.

    In the daemon's own unit, which STATE_DIRECTORY tells, torch has neither the memory it needs nor leave to
    write code.
    """
    if config.source_name == "replay" or os.environ.get("STATE_DIRECTORY"):
        return None
    return ProbeTimer(path, probe_plan(config))


def probe_plan(config: Config) -> ProbePlan | None:
    """Return how often the probe runs, and with what; None: never."""
    options = config.probe
    if options.every is None:
        return None
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    control = {"VRAMWATCH_CONTROL__SOCKET": str(config.control.place(os.environ, os.geteuid()))}
    return ProbePlan(options.every, options.timeout, {**passed, **control, **options.environment()})


def observe_for(config: Config) -> Seconds | None:
    """Return how long a new service observes; None: it tells at once."""
    return config.alerting.observe_for if config.alerting.mode == "observe" else None


def channels(config: Config) -> tuple[Channel, ...]:
    """Return the channels that are told of incidents, as far as the decision whom to tell goes."""
    return tuple(line.channel for line in lines(config) if not line.notifier.BEATS)


def lines(config: Config) -> tuple[Line, ...]:
    """Return the configured channels with what carries their messages."""
    return tuple(
        Line(entry.channel(name, config.alerting), entry.notifier, open_courier)
        for name, entry in config.channels.items()
    )


def open_courier(reach: Reach, secrets: Iterable[str]) -> Courier:
    """Return who carries HTTP to whoever is reached so; ``secrets`` are taken out of what is quoted."""
    from vramwatch.couriers.posting import HttpCourier  # noqa: PLC0415 - 139 ms and 19 MiB, for channels alone

    return HttpCourier(reach, secrets)


def _name_alone(facts: ProcessFacts) -> ProcessFacts:
    return replace(facts, argv=(), title=facts.name, ancestors=(), environment={})


def _group_bytes() -> Mapping[str, Mapping[str, Bytes]]:
    groups = read_group_memory(CGROUPS).by_gpu
    return {pci: {path: group.used for path, group in paths.items()} for pci, paths in groups.items()}


def surroundings(live: bool) -> Surroundings:
    """Return what holds for this machine: a container of its own pid namespace hides processes."""
    return Surroundings(hidden_pids=live and not sees_every_process("/proc"))


def look_once(config: Config) -> Poll:
    """Read every GPU once, without a daemon and without keeping anything.

    Returns the first Poll with readings, else the last one, whose Missing say what is wrong.
    """
    feed = open_feed(config, None)
    pipeline = assemble(config, feed, {})
    deadline = time.monotonic() + FIRST_LOOK
    try:
        at = feed.clock.now()
        poll = pipeline.turn(at)
        while not poll.ledgers and poll.is_starting and time.monotonic() < deadline:
            following = feed.clock.wait(LOOK_INTERVAL)
            if following is None:
                break
            poll = pipeline.turn(following)
        return poll
    finally:
        feed.source.close()


def name_holders(poll: Poll) -> str | None:
    """Return one sentence about who has a GPU open without being listed as its user; None: nobody has.

    Those are where a ghost's bytes are held: children that inherited the descriptors, zombies whose
    threads live on, MPS servers.
    """
    alive = {h.pid for ledger in poll.ledgers for h in ledger.holdings if h.ghost is None}
    holders = find_holders()
    if holders.unreadable:
        holders = IdentifySocket().holders() or holders
    said = [
        f"{holder.name} (pid {holder.pid}, {holder.state}, parent {holder.parent_pid}) has "
        f"{' '.join(holder.devices)} open"
        for holder in holders.found
        if holder.pid not in alive and not _is_ours(holder)
    ]
    if holders.unreadable:
        said.append(f"the open files of {holders.unreadable} processes could not be read")
    if not holders.is_complete:
        said.append("there were more processes than could be looked at in time")
    return "; ".join(said[:HOLDERS_NAMED]) or None


def _is_ours(holder: Holder) -> bool:
    return holder.parent_pid == os.getpid()
