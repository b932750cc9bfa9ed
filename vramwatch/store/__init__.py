"""What was, kept in SQLite: written by the daemon alone, read by every verb.

Each name is imported when it is first asked for: who only looks where the store is imports no SQLAlchemy.
"""

from typing import TYPE_CHECKING

from vramwatch.lazy import lazily

if TYPE_CHECKING:
    from vramwatch.store.answers import EventRow, GapRow, Point, SeriesRow, Step
    from vramwatch.store.attempts import ActionRow, WithheldRow
    from vramwatch.store.casebook import Casebook, Chain, Entry
    from vramwatch.store.damage import StoreDamaged
    from vramwatch.store.forgetting import Forgotten
    from vramwatch.store.incidents import Stand, stand_of
    from vramwatch.store.opening import StoreLocked
    from vramwatch.store.reading import History
    from vramwatch.store.retention import Retention
    from vramwatch.store.telling import DeliveryRow, Remark, RemarkKind, StepRow
    from vramwatch.store.writing import Store
else:
    __getattr__ = lazily(
        __name__,
        {
            "answers": ("EventRow", "GapRow", "Point", "SeriesRow", "Step"),
            "attempts": ("ActionRow", "WithheldRow"),
            "casebook": ("Casebook", "Chain", "Entry"),
            "damage": ("StoreDamaged",),
            "forgetting": ("Forgotten",),
            "incidents": ("Stand", "stand_of"),
            "opening": ("StoreLocked",),
            "reading": ("History",),
            "retention": ("Retention",),
            "telling": ("DeliveryRow", "Remark", "RemarkKind", "StepRow"),
            "writing": ("Store",),
        },
    )

__all__ = [
    "ActionRow",
    "Casebook",
    "Chain",
    "DeliveryRow",
    "Entry",
    "EventRow",
    "Forgotten",
    "GapRow",
    "History",
    "Point",
    "Remark",
    "RemarkKind",
    "Retention",
    "SeriesRow",
    "Stand",
    "Step",
    "StepRow",
    "Store",
    "StoreDamaged",
    "StoreLocked",
    "WithheldRow",
    "stand_of",
]
