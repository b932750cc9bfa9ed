"""Signals enrolled workers that did not answer: the second rung, and a knock at the door, no more."""

import signal as signals

from pydantic import Field, field_validator

from vramwatch.core.attempts import Apply
from vramwatch.core.parties import Offer, Party, Unfit, consenting
from vramwatch.core.policy import Case
from vramwatch.remedying import DONE, Hands, Remedy, Report
from vramwatch.sdk.wire import NEVER_SENT, SIGNAL

WAITS = 60.0
"""Seconds for which a worker that was signalled waits for its safe point (SIGNALLED in sdk/worker.py)."""


class Signal(Remedy):
    """Sends a signal, by pidfd, to workers that consent to it by name and have a handler for it."""

    signal: str = Field(
        "SIGURG",
        description=(
            "The signal's name. A process without a handler ignores SIGURG; most other signals "
            "would end it, so a worker must consent to exactly the signal named here."
        ),
    )

    @field_validator("signal")
    @classmethod
    def _is_harmless(cls, name: str) -> str:
        if name not in signals.Signals.__members__:
            raise ValueError(f"{name!r} is no signal; write SIGURG")
        if name in NEVER_SENT:
            raise ValueError(f"{name} ends or stops processes; write SIGURG")
        return name

    @property
    def patience(self) -> float:
        return WAITS

    def offer(self, case: Case, party: Party) -> Offer | Unfit:
        workers = consenting(party, case.incident.judgement.pid, SIGNAL + self.signal)
        if isinstance(workers, Unfit):
            return workers
        pids = ", ".join(str(each.key.pid) for each in workers)
        return Offer(tuple(each.key for each in workers), f"send {self.signal} to pid {pids}")

    def carry_out(self, apply: Apply, hands: Hands) -> Report:
        faults = [
            f"pid {key.pid}: {fault}"
            for key in apply.targets
            if (fault := hands.workers.signal(key, self.signal)) is not None
        ]
        return Report("; ".join(faults)) if len(faults) == len(apply.targets) else DONE
