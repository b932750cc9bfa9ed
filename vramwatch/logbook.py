"""What the daemon says as it goes: one line an event and a turn between seeing and blind, none a poll."""

import logging
import time

from vramwatch.core.model import Fault, Poll

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

    def _sentence(self, poll: Poll) -> str | None:
        if poll.ledgers or not poll.missing:
            return None
        since = self.blind.partition(",")[0] if self.blind else f"blind since {_clock(poll.at.wall)}"
        return f"{since}, because {poll.missing[0].fault.detail}"


def _clock(wall: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall))
