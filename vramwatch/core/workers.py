"""Who has enrolled, what it consents to, and how it is by its own word. Pure."""

from dataclasses import dataclass

from vramwatch.core.model import ProcessKey
from vramwatch.sdk.wire import Hello, Report

SIGNAL = "signal:"
"""Before a signal's name in a consent, as in "signal:SIGURG"."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One enrolled process. The kernel says who it is; ``hello`` and ``report`` are its own words.

    ``since`` and ``reported_at`` are boot time in seconds; ``report`` None: none has come yet.
    """

    key: ProcessKey
    uid: int
    hello: Hello
    since: float
    report: Report | None = None
    reported_at: float | None = None

    def consents_to(self, remedy: str) -> bool:
        """Whether it accepts ``remedy``: "ask", or "signal:SIGURG"."""
        return remedy in self.hello.remedies

    @property
    def requests_running(self) -> int | None:
        return self.report.requests_running if self.report else None
