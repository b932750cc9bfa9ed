"""What was, kept in SQLite: written by the daemon alone, read by every verb."""

from vramwatch.store.reading import EventRow, GapRow, History, Point, SeriesRow
from vramwatch.store.writing import Store

__all__ = ["EventRow", "GapRow", "History", "Point", "SeriesRow", "Store"]
