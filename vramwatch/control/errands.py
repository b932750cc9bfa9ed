"""What other threads want done between two turns of the daemon, and the replies they wait for."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vramwatch.control.control import ControlError

logger = logging.getLogger("vramwatch.daemon")

PATIENCE = 10.0
"""Seconds that whoever asks waits for the turn to end."""

Reply = Mapping[str, Any]
Later = Callable[[], Reply]
"""Waits for a reply, on the thread of whoever asked."""


@dataclass(slots=True)
class _Errand:
    do: Callable[[], Reply | Later]
    done: threading.Event = field(default_factory=threading.Event)
    reply: Reply | Later = field(default_factory=dict)
    refusal: ControlError | None = None


class Errands:
    """``wake``: called when one is waiting whose reply is waited for."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._waiting: queue.SimpleQueue[_Errand] = queue.SimpleQueue()

    @property
    def is_empty(self) -> bool:
        return self._waiting.empty()

    def ask(self, do: Callable[[], Reply | Later]) -> Reply:
        """Have ``do`` called between two turns; return its reply. Errors: ControlError refuses it."""
        errand = _Errand(do)
        self._waiting.put(errand)
        self._wake()
        if not errand.done.wait(PATIENCE):
            raise ControlError("the daemon is busy with a poll that does not end; see vramwatch status")
        if errand.refusal:
            raise errand.refusal
        return errand.reply() if callable(errand.reply) else errand.reply

    def call(self, do: Callable[[], None]) -> None:
        """Have ``do`` called before the next turn. From a signal handler too."""

        def errand() -> Reply:
            do()
            return {}

        self._waiting.put(_Errand(errand))

    def run(self) -> None:
        """Do all that is waiting, on the thread of the turns; what nobody foresaw ends the errand alone."""
        while not self._waiting.empty():
            errand = self._waiting.get_nowait()
            try:
                errand.reply = errand.do()
            except ControlError as refusal:
                errand.refusal = refusal
            except Exception as error:
                logger.exception("not done what was asked between two turns because=%s", type(error).__name__)
                errand.refusal = ControlError(
                    f"the daemon failed at it ({type(error).__name__}); see its log"
                )
            errand.done.set()
