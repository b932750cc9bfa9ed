"""Transitions made by hand, and a watch whose every word depends on all that it was told before."""

import json
import zlib

from tests.polls import instant
from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.forecast import Reason as NoForecast
from vramwatch.core.incidents import (
    Incident,
    Judgement,
    Reason,
    Severity,
    State,
    Subject,
    Transition,
)
from vramwatch.core.model import SubjectKind
from vramwatch.core.series import samples
from vramwatch.core.verdicts import Cause, Evidence, Rate, RuledOut
from vramwatch.judging.watch import Watch

RATE = Rate(1000.5, 1234.25, 1500.0)
EVIDENCE = Evidence("grew by 3 MiB in 1 h", {"growth_bytes": 3145728.0, "votes": 7.0}, 100.0, 3700.5, 61)


def transition(at, id="chat", state=State.PENDING, owner="unit:chat.service", **told):
    """``at``: an Instant, or a seq of ``tests.polls``."""
    at = instant(at) if isinstance(at, int) else at
    kind = SubjectKind.OWNER if owner else SubjectKind.UNATTRIBUTED
    reason = told.pop("reason", Reason.SEEN)
    judgement = Judgement(
        told.pop("pattern", "floor"),
        told.pop("cause", Cause.LEAK),
        told.pop("severity", Severity.WARNING),
        told.pop("evidence", EVIDENCE),
        told.pop("rate", RATE),
        told.pop("forecast", Abstention(NoForecast.THIN)),
        **told,
    )
    return Transition(
        at, Incident(id, Subject("GPU-00000000", kind, owner), 1_700_000_000.0, state, judgement), reason
    )


FULL = transition(
    7,
    state=State.FIRING,
    severity=Severity.CRITICAL,
    reason=Reason.ESTABLISHED,
    forecast=Exhaustion(1_700_090_000.0, 1_700_080_000.5, 1_700_100_000.0),
    ruled_out=(
        RuledOut(Cause.WARMUP, "it is up for 9 h", {"up_seconds": 32400.0}),
        RuledOut(Cause.LOAD, "idle", {}),
    ),
    pid=4104,
    others=("slope", "valleys"),
)


class Chain(Watch):
    """Tells of an incident whenever a checksum over every poll so far says so: it forgives no difference."""

    def __init__(self):
        self.state = {"sum": 0, "count": 0}
        self.seqs = []

    def turn(self, poll):
        self.seqs.append(poll.at.seq)
        told = [
            [poll.at.seq, poll.at.wall, poll.at.boottime],
            [
                [str(each.series), each.value]
                for book in poll.ledgers
                for each in sorted(samples(book), key=lambda sample: str(sample.series))
            ],
            [str(book.holdings) for book in poll.ledgers],
            [[each.gpu and each.gpu.uuid, each.fault.kind] for each in poll.missing],
        ]
        checksum = zlib.crc32(json.dumps(told).encode(), self.state["sum"])
        self.state = {"sum": checksum, "count": self.state["count"] + 1}
        number = checksum % 7
        if number > 2:
            return ()
        state = list(State)[number]
        moves = [transition(poll.at, f"incident-{checksum % 5}", state, rate=None, pid=checksum % 1000)]
        return tuple(moves * 1 if checksum % 2 else [*moves, transition(poll.at, "other", state)])

    def adopt(self, told, at):
        return ()

    def checkpoint(self, *, late=False):
        return self.state

    def restore(self, state):
        self.state = dict(state)
