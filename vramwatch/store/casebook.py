"""What is known of incidents, for the verbs: how they moved, whom they were told to, what people said."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy import Connection

from vramwatch.core.attempts import Attempt
from vramwatch.core.incidents import Transition
from vramwatch.core.marks import Mark
from vramwatch.core.policy import Case
from vramwatch.core.silences import Silence
from vramwatch.store import attempts, deliveries, telling
from vramwatch.store.attempts import ActionRow
from vramwatch.store.telling import Remark, StepRow


@dataclass(frozen=True, slots=True)
class Entry:
    """An incident as it stands. ``told``: the channels that have taken a message about it."""

    case: Case
    told: tuple[str, ...]
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """All that is stored of one incident; each part in the order in which it happened."""

    entry: Entry
    transitions: tuple[Transition, ...]
    steps: tuple[StepRow, ...]
    actions: tuple[ActionRow, ...] = ()


class Casebook:
    """Part of a ``History``. Every method raises StoreError if the store cannot be read."""

    def __init__(self, reading: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._reading = reading

    def entries(self, since: float) -> list[Entry]:
        """Return every incident that is open or has moved after ``since`` (unix seconds).

        In the order in which they moved last.
        """
        with self._reading() as connection:
            cases = telling.cases(connection, since)
            ids = [case.incident.id for case in cases]
            told, said = telling.takers(connection, ids), telling.remarks(connection, ids)
            return [
                Entry(case, told.get(id, ()), said.get(id, ())) for case, id in zip(cases, ids, strict=True)
            ]

    def beginning(self, text: str, most: int) -> list[str]:
        """Return the ids of incidents that begin with ``text``, at most so many, the newest first."""
        with self._reading() as connection:
            return telling.beginning(connection, text, most)

    def hosts(self) -> list[str]:
        """Return what the machine was called in messages, the newest name first; empty: nobody kept it."""
        with self._reading() as connection:
            return telling.hosts(connection)

    def chain(self, incident: str) -> Chain:
        """Return all that is stored of an incident, by its id; it is known."""
        with self._reading() as connection:
            told, said = telling.takers(connection, [incident]), telling.remarks(connection, [incident])
            entry = Entry(telling.case(connection, incident), told.get(incident, ()), said.get(incident, ()))
            moves = telling.transitions_of(connection, incident)
            done = attempts.of_incidents(connection, [incident]).get(incident, ())
            return Chain(entry, tuple(moves), tuple(telling.steps_of(connection, incident)), done)

    def marks(self, ids: Collection[str]) -> Mapping[str, Mark]:
        """Return what those of the incidents ``ids`` were marked as that were; the newest word counts."""
        with self._reading() as connection:
            return telling.marks(connection, ids)

    def last_attempts(self, since: float) -> list[Attempt]:
        """Return the newest attempt at each Owner on each Gpu since ``since`` (unix seconds)."""
        with self._reading() as connection:
            return attempts.last_of_owners(connection, since)

    def last_digests(self) -> Mapping[str, float]:
        """Return channel -> when the newest digest was made for it, unix seconds; those that had one."""
        with self._reading() as connection:
            return deliveries.last_digests(connection)

    def silences(self) -> list[Silence]:
        """Return every silence that was ever set, the oldest first; that of observing too."""
        with self._reading() as connection:
            return telling.all_silences(connection)
