"""What was, kept in SQLite: written by the daemon alone, read by every verb."""

from vramwatch.store.answers import EventRow, GapRow, Point, SeriesRow, Step
from vramwatch.store.forgetting import Forgotten
from vramwatch.store.incidents import Stand, stand_of
from vramwatch.store.reading import History
from vramwatch.store.retention import Retention
from vramwatch.store.writing import Store

__all__ = [
    "EventRow",
    "Forgotten",
    "GapRow",
    "History",
    "Point",
    "Retention",
    "SeriesRow",
    "Stand",
    "Step",
    "Store",
    "stand_of",
]
