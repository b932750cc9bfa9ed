"""Carries out what was decided, each attempt on a thread of its own, so that none delays a poll.

Only what stands in the store is begun, so that after ``kill -9`` it is known what may have been done.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vramwatch.core.attempts import Apply
from vramwatch.core.errors import without_words
from vramwatch.remedying import Hands, Remedy, Report, run_program, told

CLOSE_WITHIN = 3.0
"""Seconds at the end for attempts under way; what goes on after that is uncertain."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Permit:
    """A program of the operator's that must exit with 0 before service is touched. Seconds."""

    argv: Sequence[str]
    timeout: float


@dataclass(frozen=True, slots=True)
class Said:
    """What came back of the attempt ``id``: of its permit, or of carrying it out."""

    id: str
    report: Report
    is_permit: bool = False


class Applier:
    """For the thread of the polls. ``said`` is filled by the threads of the attempts."""

    def __init__(self, hands: Hands, permit: Permit | None) -> None:
        """``permit``: asked before service is touched; None: nothing is."""
        self.said: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self.permit = permit
        self._hands = hands
        self._threads: list[threading.Thread] = []

    def ask_permit(self, apply: Apply, permit: Permit) -> None:
        """Ask whether ``apply`` may be carried out; what was said arrives in ``said``."""
        self._on_a_thread(lambda: _permitted(apply, permit), apply)

    def carry_out(self, apply: Apply, remedy: Remedy) -> None:
        """Begin ``apply``, which stands in the store; its report arrives in ``said``."""
        self._on_a_thread(lambda: Said(apply.id, _carried_out(remedy, apply, self._hands)), apply)

    def close(self) -> None:
        """Wait a little for what is under way."""
        for each in self._threads:
            each.join(CLOSE_WITHIN / max(1, len(self._threads)))

    def _on_a_thread(self, do: Callable[[], Said], apply: Apply) -> None:
        self._threads = [each for each in self._threads if each.is_alive()]
        thread = threading.Thread(target=lambda: self.said.put(do()), name=f"attempt {apply.id}", daemon=True)
        self._threads.append(thread)
        thread.start()


def _permitted(apply: Apply, permit: Permit) -> Said:
    fault = run_program(permit.argv, told(apply, os.environ), permit.timeout)
    return Said(apply.id, Report(fault, refused=fault is not None), is_permit=True)


def _carried_out(remedy: Remedy, apply: Apply, hands: Hands) -> Report:
    """Carry out ``apply`` and return what came of it; never raises."""
    try:
        return remedy.carry_out(apply, hands)
    except Exception as error:  # a remedy's fault must not end in silence: it may have been half done
        bare = without_words(error)
        logger.exception("remedy failed remedy=%s attempt=%s", apply.remedy, apply.id, exc_info=bare)
        return Report(f"the remedy failed ({type(error).__name__})")
