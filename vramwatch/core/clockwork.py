"""Seconds to judge by, counted from poll to poll."""

from dataclasses import dataclass

from vramwatch.core.model import Instant


@dataclass(slots=True)
class Clockwork:
    """Seconds that never step back: by boot time within a boot, by the wall clock between two."""

    seconds: float = 0.0
    before: Instant | None = None

    def tick(self, at: Instant) -> float:
        before = self.before
        if before is None:
            self.seconds = at.wall
        elif before.boot_id == at.boot_id:
            self.seconds += max(0.0, at.boottime - before.boottime)
        else:
            self.seconds += max(0.0, at.wall - before.wall)
        self.before = at
        return self.seconds

    def seconds_at(self, past: Instant) -> float:
        """Return the seconds of an instant of an earlier poll, as far as the wall clock tells."""
        if self.before is None:  # the first poll will begin with its wall clock
            return past.wall
        return self.seconds - max(0.0, self.before.wall - past.wall)
