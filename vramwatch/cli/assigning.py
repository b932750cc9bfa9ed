"""Stored polls, with the Owners that the rules of another configuration give."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from vramwatch.core.model import Holding, ProcessKey, Tenant
from vramwatch.core.owners import OwnerRule, Reassigned, reassign
from vramwatch.core.poll import Poll


class Assigner:
    """Gives the processes of polls other Owners; remembers of whom that was in doubt."""

    def __init__(self, rules: Sequence[OwnerRule]) -> None:
        self._rules = rules
        self._known: dict[ProcessKey, Reassigned] = {}
        self._holdings: dict[str, tuple[tuple[Holding, ...], tuple[Holding, ...]]] = {}  # by UUID: old, new

    def polls(self, polls: Iterable[Poll]) -> Iterator[Poll]:
        """Yield ``polls`` with other Owners. Ledgers share what did not change between them."""
        for poll in polls:
            ledgers = tuple(
                replace(ledger, holdings=self._assigned(ledger.gpu.uuid, ledger.holdings))
                for ledger in poll.ledgers
            )
            yield replace(poll, ledgers=ledgers)

    @property
    def doubt(self) -> str | None:
        """One sentence about rules of which it cannot be told whether they apply; None: all could be."""
        doubts = [each.in_doubt for each in self._known.values() if each.in_doubt is not None]
        if not doubts:
            return None
        rules = ", ".join(dict.fromkeys(f"{rule.name!r}" for rule in doubts))
        whom = "1 process" if len(doubts) == 1 else f"{len(doubts)} processes"
        return (
            f"owners: the arguments of {whom} are not stored; the commands in {rules} were compared with "
            "titles alone"
        )

    def _assigned(self, gpu: str, holdings: tuple[Holding, ...]) -> tuple[Holding, ...]:
        before = self._holdings.get(gpu)
        if before is None or before[0] is not holdings:
            made = tuple(replace(each, tenant=self._tenant(each.tenant)) for each in holdings)
            before = self._holdings[gpu] = holdings, made
        return before[1]

    def _tenant(self, tenant: Tenant) -> Tenant:
        key = tenant.facts.key
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = reassign(tenant, self._rules)
        return replace(tenant, owner=found.owner)
