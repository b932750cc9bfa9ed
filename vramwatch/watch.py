"""Judges every Poll: folds it into windows, has them examined, and moves incidents.

The same for live polls, a replay and stored history; it owns no clock and reads nothing.
"""

from collections.abc import Mapping
from typing import Any

from vramwatch.core.incidents import Transition
from vramwatch.core.model import Poll


class Watch:
    """Told every Poll in its order. What it remembers is bounded, and can be put down and taken up."""

    def turn(self, poll: Poll) -> tuple[Transition, ...]:
        """Return how incidents move at ``poll``, in the order in which they do; most often not at all."""
        return ()

    def checkpoint(self) -> Mapping[str, Any]:
        """Return all that is remembered, as JSON has it; ``restore`` goes on from there to the bit."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint. Errors: ValueError where it is of another version, or damaged."""
