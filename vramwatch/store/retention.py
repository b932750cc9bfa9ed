"""How long what is kept, and how much of it."""

from dataclasses import dataclass

from vramwatch.core.units import GIB, Bytes, Seconds

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How far each level reaches back from the newest poll, and how large the database may grow."""

    raw: Seconds = Seconds(7 * DAY)  # every sample that was read
    minutes: Seconds = Seconds(90 * DAY)  # one roll-up a minute
    hours: Seconds = Seconds(730 * DAY)  # one roll-up an hour
    max_size: Bytes | None = Bytes(2 * GIB)  # kept by pruning the oldest: raw, then minutes, then hours


DEFAULT = Retention()
