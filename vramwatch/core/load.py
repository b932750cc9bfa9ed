"""Decides whether growth was load: it came with the load and went with it."""

from vramwatch.core.floors import MORE_LOAD
from vramwatch.core.lanes import MINUTE, MINUTES_KEPT, Lane
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Evidence
from vramwatch.core.windows import Window

CAME_BACK = 0.1
"""The share of its growth that memory may still hold to have come back."""

SETTLED = 15 * MINUTE
"""Over so long it is looked at where memory and load stand now: longer than a release takes to come."""


def gone_with_load(window: Window, evidence: Evidence) -> Evidence | None:
    """Return what shows that the growth of ``evidence`` came back as less was asked; None: it did not.

    Growth of which memory falls back by itself to where it began was kept for nobody. That the load
    fell meanwhile, by as much as would have kept a floor from being judged (``floors.MORE_LOAD``), names
    the reason. None too where the load is not known, or the growth is not told in bytes.
    """
    lane = window.used
    since, until = (wall - window.wall + window.now for wall in (evidence.since, evidence.until))
    grown = evidence.numbers.get("growth_bytes", 0.0)
    if not window.tells_load or grown <= 0 or since < lane.began or window.now - until < SETTLED:
        return None
    begin = lane.floor(since, since + max((until - since) / 5, 3 * MINUTE))
    now = lane.floor(lane.time - SETTLED, lane.time)
    then_load, load = _pace(lane, since, until), _pace(lane, lane.time - SETTLED, lane.time)
    if begin is None or now is None or then_load is None or load is None:
        return None
    if now - begin > CAME_BACK * grown or load * MORE_LOAD > then_load:
        return None
    left, share = max(0.0, now - begin), load / then_load if then_load > 0 else 0.0
    sentence = (
        f"{show_bytes(round(grown))} came with the load and went with it: "
        f"{show_bytes(round(left))} are left, at {share:.0%} of the load"
    )
    numbers = {"growth_bytes": grown, "left_bytes": left, "load_share": share}
    return Evidence(sentence, numbers, evidence.since, window.at(lane.time), evidence.count)


def _pace(lane: Lane, since: float, until: float) -> float | None:
    """Return the work done a second between two times; None: it is not known any more."""
    envelope = lane.minutes if lane.time - since <= (MINUTES_KEPT - 1) * MINUTE else lane.hours
    start, stop = envelope.since(since), envelope.since(until) - 1
    if stop <= start:
        return None
    elapsed = (envelope.index[stop] - envelope.index[start]) * envelope.span
    return (envelope.work[stop] - envelope.work[start]) / elapsed
