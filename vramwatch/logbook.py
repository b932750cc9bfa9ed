"""What the daemon says as it goes: one line an event, a transition and a turn between seeing and blind."""

import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.incidents import State, Subject, Transition
from vramwatch.core.model import Fault
from vramwatch.core.policy import Step, Withheld
from vramwatch.core.poll import Poll

HOUR = 3600

logger = logging.getLogger("vramwatch.daemon")


class Logbook:
    """Told every Poll, in order; logs what is new in it."""

    def __init__(self) -> None:
        self.blind: str | None = None
        """Since when and why nothing at all can be read; None while something can."""
        self._faults: dict[str, Fault] = {}

    def tell(self, poll: Poll) -> None:
        for event in poll.events:
            logger.info(
                "event kind=%s detail=%r gpu=%s author=%s", event.kind, event.detail, event.gpu, event.author
            )
        faults = {missing.gpu.uuid if missing.gpu else "all": missing.fault for missing in poll.missing}
        for gpu, fault in faults.items():
            if gpu not in self._faults or self._faults[gpu].kind is not fault.kind:
                logger.warning("blind gpu=%s reason=%s detail=%r", gpu, fault.kind, fault.detail)
        for gpu in self._faults.keys() - faults.keys():
            logger.info("reading again gpu=%s", gpu)
        self._faults = faults
        self.blind = self._sentence(poll)

    def tell_moves(self, transitions: Iterable[Transition]) -> None:
        for each in transitions:
            incident, judged = each.incident, each.incident.judgement
            logger.log(
                logging.WARNING if incident.state is State.FIRING else logging.INFO,
                "incident=%s state=%s severity=%s cause=%s pattern=%s subject=%r gpu=%s pid=%s "
                "rate_bytes_per_hour=%s exhaustion=%s reason=%s at=%s sentence=%r",
                incident.id,
                incident.state,
                judged.severity,
                judged.cause,
                judged.pattern,
                _subject(incident.subject),
                incident.subject.gpu,
                judged.pid,
                None if judged.rate is None else round(judged.rate.median * HOUR),
                _forecast(judged.forecast),
                each.reason,
                _iso(each.at.wall),
                judged.evidence.sentence,
            )

    def tell_steps(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if isinstance(step, Withheld):
                logger.info(
                    "withheld incident=%s channel=%s notice=%s because=%s detail=%r",
                    *(step.incident, step.channel, step.notice, step.reason, step.detail),
                )

    def _sentence(self, poll: Poll) -> str | None:
        if poll.ledgers or not poll.missing:
            return None
        since = self.blind.partition(",")[0] if self.blind else f"blind since {_clock(poll.at.wall)}"
        return f"{since}, because {poll.missing[0].fault.detail}"


def _subject(subject: Subject) -> str:
    return subject.owner or subject.kind.value


def _forecast(forecast: Exhaustion | Abstention) -> str:
    return _iso(forecast.at) if isinstance(forecast, Exhaustion) else forecast.reason.value


def _iso(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds")


def _clock(wall: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall))
