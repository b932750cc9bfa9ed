"""The one sentence of what the daemon will watch, tell and touch."""

from vramwatch.config.sections import DEFAULT_SOURCE
from vramwatch.config.shape import Config
from vramwatch.quantities import duration_text


def sentence(config: Config) -> str:
    """Return what a daemon of this configuration does, as one line; it is logged at start."""
    store = f"the store {config.store.path}" if config.store.path else "the store in its default place"
    touch = f"{_touch(config)}, and writes {store} alone"
    if config.source_name == "replay":
        return f"vramwatch plays a recording; {_look(config)}; {touch}"
    listen = config.http.listen
    readers = "this machine alone" if listen and listen.is_loopback else "whoever has its token"
    health = f"tells its health and metrics on http://{listen}, to {readers}; " if listen else ""
    reads = f"{_watch(config)}; {_look(config)}; {_follow(config)}; {_ask(config)}; {_enrol(config)}"
    return f"vramwatch {reads}; {_tell(config)}; {health}{touch}"


def _touch(config: Config) -> str:
    """Return what is done to processes: nothing, unless a remedy is configured and no dry run."""
    on = [each.remedy.value for each in config.remedies.remedies() if not each.is_dry]
    if config.source_name == "replay" or not on:
        return "touches no process"
    return f"has memory given back by {', '.join(on)} as docs/remedies.md says, touches no process otherwise"


def _tell(config: Config) -> str:
    """Return whom incidents are told to: the channels by name, and whether a new service observes first."""
    if not config.channels:
        return "tells incidents to nobody, for no channel is configured"
    alerting = config.alerting
    observes = alerting.mode == "observe"
    first = (
        f", after a new service has observed for {duration_text(alerting.observe_for)}" if observes else ""
    )
    return f"tells incidents to {', '.join(config.channels)}{first}"


def _look(config: Config) -> str:
    """Return what looks for growth: every detector, or which of them do not."""
    off = config.detection.detectors.off()
    if not off:
        return "looks for growth with every detector"
    if not config.detection.detectors.on():
        return "looks for no growth, for every detector is switched off"
    return f"looks for growth with {', '.join(off)} switched off"


def _follow(config: Config) -> str:
    """Return whose logs are read: nobody's, or the very globs that were written."""
    logs = config.logs
    followed = [
        f"{what} {', '.join(globs)}"
        for what, globs in (("the journal of", logs.units), ("the log files of containers", logs.containers))
        if globs
    ]
    if not followed or config.source_name != DEFAULT_SOURCE:
        return "reads no log"
    return f"follows {' and '.join(followed)} for out-of-memory lines, keeping numbers and no text"


def _ask(config: Config) -> str:
    """Return whether engines are asked for figures, and where."""
    options = config.engines
    if not options.enabled or config.source_name != DEFAULT_SOURCE:
        return "asks no engine for its figures"
    beside = f", and at {len(options.urls)} that are configured" if options.urls else ""
    return f"asks engines for their figures at addresses of this machine{beside}"


def _enrol(config: Config) -> str:
    """Return who may enrol as a worker."""
    workers = config.workers
    if not workers.enabled or config.source_name != DEFAULT_SOURCE:
        return "lets no worker enrol"
    users = "" if workers.users is None else f" named {', '.join(workers.users)}"
    group = "" if workers.group is None else f", and members of group {workers.group}{users}"
    return f"lets workers of root and of its own user enrol{group}"


def _watch(config: Config) -> str:
    poll = config.poll
    return (
        f"watches the GPUs of source {config.source_name} every {duration_text(poll.interval)} "
        f"({duration_text(poll.fastest)} when one is nearly full, {duration_text(poll.slowest)} when all is "
        f"quiet), "
        f"at most {poll.driver_share * 100:g} % of the time inside the driver"
    )
