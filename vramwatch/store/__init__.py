"""What was, kept in SQLite: written by the daemon alone, read by every verb."""

from vramwatch.store.forgetting import Forgotten
from vramwatch.store.reading import EventRow, GapRow, History, Point, SeriesRow, Step
from vramwatch.store.retention import Retention
from vramwatch.store.writing import Store

__all__ = ["EventRow", "Forgotten", "GapRow", "History", "Point", "Retention", "SeriesRow", "Step", "Store"]
