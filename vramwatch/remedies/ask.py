"""Asks enrolled workers over their socket to clear what they hold without need: the first rung."""

from typing import Annotated

from pydantic import Field, field_validator

from vramwatch.core.attempts import Apply
from vramwatch.core.parties import Offer, Party, Unfit, consenting
from vramwatch.core.policy import Case
from vramwatch.core.units import Seconds
from vramwatch.quantities import Duration
from vramwatch.remedying import DONE, Hands, Remedy, Report
from vramwatch.sdk.wire import CLEARS, Clear

CONSENT = "ask"


class Ask(Remedy):
    """Asks workers that have enrolled and consent; they clear memory themselves, between two requests."""

    clears: tuple[str, ...] = Field(
        CLEARS,
        min_length=1,
        description=f"What workers are asked to clear, as far as they offer it: {', '.join(CLEARS)}.",
    )
    busy_for: Annotated[Seconds, Duration("1s", "6h")] = Field(
        Seconds(600.0), description="How long a busy worker is waited for before the next remedy is tried."
    )
    max_pause: Annotated[Seconds, Duration("1ms", "1m")] = Field(
        Seconds(0.2),
        description="A worker that was held up for longer is not asked again while it serves requests.",
    )

    @field_validator("clears")
    @classmethod
    def _are_known(cls, clears: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [each for each in clears if each not in CLEARS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is nothing a worker can clear; accepted: {', '.join(CLEARS)}")
        return clears

    @property
    def patience(self) -> float:
        return self.busy_for

    def offer(self, case: Case, party: Party) -> Offer | Unfit:
        workers = consenting(party, case.incident.judgement.pid, CONSENT)
        if isinstance(workers, Unfit):
            return workers
        if bare := next((each for each in workers if not self._of(each.hello.clears)), None):
            return Unfit(f"pid {bare.key.pid} offers to clear nothing of {', '.join(self.clears)}")
        what = ", ".join(self._of(tuple(each for worker in workers for each in worker.hello.clears)))
        pids = ", ".join(str(each.key.pid) for each in workers)
        return Offer(tuple(each.key for each in workers), f"ask pid {pids} to clear: {what}")

    def carry_out(self, apply: Apply, hands: Hands) -> Report:
        enrolled = hands.workers.enrolled()
        missing = [key.pid for key in apply.targets if key not in enrolled]
        if missing:  # together or not at all
            return Report(f"pid {missing[0]} is not enrolled any more; nobody was asked")
        faults = []
        for key in apply.targets:
            clears = self._of(enrolled[key].hello.clears)
            fault = hands.workers.ask(key, Clear(apply.id, clears, self.busy_for, self.max_pause))
            faults += [f"pid {key.pid}: {fault}"] if fault else []
        return Report("; ".join(faults)) if len(faults) == len(apply.targets) else DONE

    def _of(self, offered: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(each for each in CLEARS if each in self.clears and each in offered)
