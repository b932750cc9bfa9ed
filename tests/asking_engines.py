"""A Gauging that a test asks, with a clock of the test's own."""

import os
from collections.abc import Mapping
from dataclasses import replace

from tests.engine_pages import page
from tests.polls import BOOT, instant, owner
from vramwatch import families
from vramwatch.core.model import Instant, Tenant
from vramwatch.core.recognition import recognise
from vramwatch.core.units import Seconds
from vramwatch.gauging import Gauging, Place, Terms
from vramwatch.procfs import ProcessTable

ENGINES = {name: found() for name, found in families.discover("vramwatch.engines").items()}
GAUGED = {name: engine for name, engine in ENGINES.items() if hasattr(engine, "read")}
VLLM = {"/metrics": page("vllm-0.33.txt")}


class Asking:
    """A Gauging with a clock of its own, and the processes of one GPU as /proc shows them."""

    def __init__(self, *places: Place) -> None:
        self.now = 1000.0
        self.gauging = Gauging(GAUGED, Terms(Seconds(5.0), places), clock=lambda: self.now)
        self.people = ProcessTable()
        self.tenants: dict[int, Tenant] = {}

    def meet(self, *pids: int) -> None:
        facts = self.people.facts(pids, instant(1))
        self.tenants = {
            pid: Tenant(each, owner("chat"), recognise(ENGINES.values(), each)) for pid, each in facts.items()
        }

    def told(self, look: bool = True) -> Mapping[int, Mapping[str, float]]:
        """Return what is known after a look: pid -> quantity -> value."""
        at = Instant(1, 0.0, self.now, BOOT)
        self.gauging.gauges({"GPU-0": self.tenants}, at)
        if look:
            self.gauging.look()
        told: dict[int, dict[str, float]] = {}
        for gauge in self.gauging.gauges({"GPU-0": self.tenants}, at)["GPU-0"]:
            told.setdefault(gauge.pid, {})[gauge.quantity] = gauge.value
        return told


def ours(argv):
    """Return a Tenant that is this very process, as if it had been started by ``argv``."""
    (facts,) = ProcessTable().facts([os.getpid()], instant(1)).values()
    facts = replace(facts, argv=argv, title=" ".join(argv), ancestors=())
    return Tenant(facts, owner("chat"), recognise(ENGINES.values(), facts))


def asking_ourselves(receiver, *places, argv=None):
    asking = Asking(*places)
    command = argv or ("vllm", "serve", "m", "--port", str(receiver.port))
    asking.tenants = {os.getpid(): ours(command)}
    return asking
