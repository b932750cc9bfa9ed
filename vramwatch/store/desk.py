"""What the decision whom to tell goes on from, and what becomes of messages: each method is a transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from vramwatch.core.attempts import Attempt
from vramwatch.core.incidents import Transition
from vramwatch.core.ladder import WithheldApply
from vramwatch.core.messages import Heard
from vramwatch.core.model import Gpu
from vramwatch.core.outgoing import Delivery, Outcome, Waiting
from vramwatch.core.policy import OBSERVE, Case
from vramwatch.core.probe_runs import ProbeRun
from vramwatch.core.silences import Silence
from vramwatch.store import attempts, deliveries, incidents, probes, telling
from vramwatch.store import tables as t
from vramwatch.store.rows import gpu_of
from vramwatch.store.spans import listed
from vramwatch.store.telling import Accounts, Remark
from vramwatch.store.writing import Store


@dataclass(frozen=True, slots=True)
class Told:
    """What stands in the store when the daemon starts.

    ``has_observed``: whether this service has begun to observe before.
    """

    cases: tuple[Case, ...]
    accounts: Accounts
    silences: tuple[Silence, ...]
    has_observed: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of an attempt at ``delivery``, as that was before; None: it was not made.

    ``due``: unix seconds of the next, None: it is over.
    """

    delivery: Delivery
    outcome: Outcome | None
    due: float | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What the outbox has to keep at once, in this order."""

    ended: Sequence[Ended] = ()
    dissolved: Sequence[Delivery] = ()
    superseded: Sequence[Waiting] = ()
    begun: Sequence[tuple[Delivery, float]] = ()

    def __bool__(self) -> bool:
        return bool(self.ended or self.dissolved or self.superseded or self.begun)


class Desk:
    """For the thread of the store. Errors of every method: StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def told(self, since: float, now: float) -> Told:
        """Return what stands: incidents that are open or have moved after ``since`` (unix seconds)."""
        with self._store.committing() as connection:
            cases = telling.cases(connection, since)
            accounts = telling.accounts(connection, [case.incident.id for case in cases])
            silences = telling.all_silences(connection)
            standing = tuple(each for each in silences if each.until > now)
            has_observed = any(each.id == OBSERVE for each in silences)
            return Told(tuple(cases), accounts, standing, has_observed)

    def waiting(self, channel: str, most: int, besides: Collection[str] = ()) -> list[Waiting]:
        """Return the notices that have not left yet, in the order in which they were decided.

        ``besides``: of which incidents none is wanted.
        """
        with self._store.committing() as connection:
            return deliveries.waiting(connection, channel, most, besides)

    def under_way(self, channel: str) -> tuple[list[tuple[Delivery, float]], float | None]:
        """Return the deliveries that are not over, each with when it is due, and when one was made last.

        Unix seconds; None: none was made yet.
        """
        with self._store.committing() as connection:
            return deliveries.under_way(connection, channel), deliveries.last_left(connection, channel)

    def keep(self, changes: Changes, now: float) -> tuple[int, ...]:
        """Keep ``changes``; return the ids of the deliveries that are begun, in their order."""
        with self._store.committing() as connection:
            for each in changes.ended:
                deliveries.end(connection, each.delivery.id, each.outcome, now, each.due)
            for dissolved in changes.dissolved:
                deliveries.dissolve(connection, dissolved.id, now)
            if changes.superseded:
                deliveries.supersede(connection, [each.step for each in changes.superseded])
            return tuple(deliveries.begin(connection, each, due) for each, due in changes.begun)

    def newest_id(self) -> int:
        """Return the greatest id of any step or delivery; 0: there is none."""
        with self._store.committing() as connection:
            return deliveries.newest_id(connection)

    def references(self, channel: str, ids: Collection[str]) -> Mapping[str, tuple[str, int]]:
        """Return incident -> what the receiver calls its message, and how many others in it are open."""
        with self._store.committing() as connection:
            found = deliveries.references(connection, channel, ids)
            together = {each: deliveries.open_in(connection, channel, each) for each in set(found.values())}
        return {id: (each, len(together[each] - {id})) for id, each in found.items()}

    def heard(self, channel: str, ids: Collection[str]) -> Mapping[str, Heard]:
        """Return incident -> what ``channel``'s receiver has taken of it; those alone of which it has."""
        with self._store.committing() as connection:
            return deliveries.heard(connection, channel, listed(ids))

    def standing(self, channel: str) -> Mapping[str, Heard]:
        """Return the same of every incident that fires now."""
        with self._store.committing() as connection:
            return deliveries.heard(connection, channel, incidents.firing())

    def told_in(self, channel: str, reference: str) -> list[Transition]:
        """Return how every incident stands that the message ``reference`` of ``channel`` tells of."""
        with self._store.committing() as connection:
            return deliveries.told_in(connection, channel, reference)

    def attempts(self, since: float) -> tuple[list[Attempt], dict[str, WithheldApply]]:
        """Return the attempts decided after ``since`` (unix seconds), or not over, oldest first; and why
        nothing was done at last, by incident."""
        with self._store.committing() as connection:
            return attempts.since(connection, since), attempts.last_withheld(connection)

    def attempts_at(self, ids: Collection[str]) -> Mapping[str, tuple[Attempt, ...]]:
        """Return what was done about the incidents ``ids``, in the order of the decisions."""
        with self._store.committing() as connection:
            found = attempts.of_incidents(connection, ids)
        return {id: tuple(each for each in done if isinstance(each, Attempt)) for id, done in found.items()}

    def write_silence(self, silence: Silence) -> None:
        with self._store.committing() as connection:
            telling.write_silence(connection, silence)

    def silences(self) -> list[Silence]:
        """Return every silence that was ever set, the oldest first."""
        with self._store.committing() as connection:
            return telling.all_silences(connection)

    def gpus(self) -> list[Gpu]:
        """Return every Gpu that the store has met, in the order in which they were met."""
        with self._store.committing() as connection:
            return [gpu_of(row) for row in connection.execute(select(t.gpu).order_by(t.gpu.c.id))]

    def beginning(self, text: str, most: int) -> list[str]:
        """Return the ids of incidents that begin with ``text``, at most so many, the newest first."""
        with self._store.committing() as connection:
            return telling.beginning(connection, text, most)

    def hosts(self) -> list[str]:
        """Return what the machine was called in messages, the newest name first; empty: nobody kept it."""
        with self._store.committing() as connection:
            return telling.hosts(connection)

    def case(self, incident: str) -> Case:
        """Return an incident as it stands in the store, by its id; it is known."""
        with self._store.committing() as connection:
            return telling.case(connection, incident)

    def write_remark(self, remark: Remark) -> None:
        with self._store.committing() as connection:
            telling.write_remark(connection, remark)

    def probe_runs(self) -> list[ProbeRun]:
        """Return the runs of the probe that are kept, in the order in which they were handed in."""
        with self._store.committing() as connection:
            return probes.all_runs(connection)

    def write_probe_run(self, run: ProbeRun, seq: int) -> ProbeRun:
        """Keep ``run``, handed in at the poll ``seq``; return it under the id that it has got."""
        with self._store.committing() as connection:
            return probes.write(connection, run, seq)

    def accept_probe_run(self, id: str) -> None:
        """Have later runs be measured by the run ``id``."""
        with self._store.committing() as connection:
            probes.accept(connection, id)
