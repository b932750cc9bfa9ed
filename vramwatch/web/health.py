"""Liveness and readiness, from the newest Vitals."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the daemon says of itself after each turn."""

    polls: int  # finished turns; one that ends in a Gap counts
    readings: int  # turns that brought at least one reading
    age: float  # seconds since the newest finished turn
    stuck_after: float  # seconds after which a turn counts as stuck
    lag: float = 0.0  # seconds by which the newest turn began too late
    blind: str | None = None  # since when and why nothing can be read
    store: str | None = None  # what is wrong with the store

    @property
    def is_healthy(self) -> bool:
        return self.age <= self.stuck_after

    @property
    def is_ready(self) -> bool:
        return self.is_healthy and self.readings > 0 and self.blind is None

    def told(self, is_fine: bool) -> dict[str, Any]:
        """Return what an answer says, as JSON has it."""
        return {
            "ok": is_fine,
            "polls": self.polls,
            "last_poll_age_seconds": round(self.age, 3),
            "lag_seconds": round(self.lag, 3),
            "blind": self.blind,
            "store": self.store,
        }
