"""What SIGHUP does: the configuration is read again, and a running daemon takes it up."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from vramwatch.core.errors import ConfigError
from vramwatch.core.model import Event, EventKind

if TYPE_CHECKING:
    from vramwatch.config import Config
    from vramwatch.daemon import Daemon
    from vramwatch.judging.watch import Watch
    from vramwatch.pipeline import Pipeline
    from vramwatch.probing.runs import Probing
    from vramwatch.probing.timer import ProbeTimer
    from vramwatch.telling.alerting import Alerting
    from vramwatch.telling.digesting import Digests
    from vramwatch.telling.outbox import Outbox
    from vramwatch.treating.treatment import Treatment

logger = logging.getLogger("vramwatch")


class Reload:
    """Takes up rates, owners' rules, detection, channels, remedies, the probe and log level anew.

    A bad file changes nothing.
    """

    LASTING = ("source", "store", "control", "workers", "engines", "http", "logs", "host")
    """Sections that a running daemon keeps as they were at its start."""

    def __init__(
        self,
        daemon: "Daemon",
        pipeline: "Pipeline",
        watch: "Watch",
        alerting: "Alerting | None",
        outbox: "Outbox | None",
        digester: "Digests | None",
        treatment: "Treatment | None",
        config: "Config",
        load_again: "Callable[[], Config]",
        probing: "Probing | None" = None,
        probe_timer: "ProbeTimer | None" = None,
    ) -> None:
        self._daemon = daemon
        self._pipeline = pipeline
        self._watch = watch
        self._alerting = alerting
        self._outbox = outbox
        self._digester = digester
        self._treatment = treatment
        self._probing = probing
        self._probe_timer = probe_timer
        self._at_start = config
        self._load_again = load_again

    def __call__(self) -> None:
        from vramwatch.assembly import (
            channels,
            detectors,
            digest_plan,
            lines,
            observe_for,
            permit,
            probe_plan,
            rules,
        )
        from vramwatch.config import sentence

        try:
            config = self._load_again()
        except ConfigError as error:
            logger.error("configuration kept as it was because=%r", str(error))
            self._daemon.misconfigured = str(error).splitlines()[0]
            self._daemon.note(Event(EventKind.RELOAD_REFUSED, self._daemon.misconfigured))
            return
        self._daemon.misconfigured = None
        self._pipeline.rates = config.poll.rates()
        self._pipeline.name_by(config.owner_rules())
        self._watch.reconfigure(detectors(config), config.detection.terms())
        if self._alerting:
            self._alerting.reconfigure(channels(config), observe_for(config))
        if self._outbox:
            self._outbox.reconfigure(lines(config), config.alerting.give_up_after)
        if self._digester:
            self._digester.reconfigure(digest_plan(config))
        if self._treatment:
            self._treatment.reconfigure(rules(config), permit(config))
        if self._probing:
            self._probing.reconfigure(config.probe.need())
        if self._probe_timer:
            self._probe_timer.reconfigure(probe_plan(config))
        logging.getLogger().setLevel(config.log.level.upper())
        waiting = [name for name in self.LASTING if getattr(config, name) != getattr(self._at_start, name)]
        rest = f"; {', '.join(waiting)} changed too, and count from the next start" if waiting else ""
        read = "poll, owners, detection, alerting, channels, remedies, probe and log were read again"
        self._daemon.note(Event(EventKind.RELOADED, f"{read}{rest}"))
        logger.info("%s", sentence(config))
