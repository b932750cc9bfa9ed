"""Runs of the probe that the daemon is handed: kept, and measured by those before; and the room for one."""

import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from vramwatch.control.control import ControlError, Request
from vramwatch.control.errands import Reply
from vramwatch.core.drifts import Drift, drift, standing
from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import Reason, Transition
from vramwatch.core.model import Instant, Ledger, SubjectKind
from vramwatch.core.probe_runs import read
from vramwatch.core.room import Need, NoRoom, find_room
from vramwatch.core.texts import clean
from vramwatch.core.troubles import PROBE, Trouble
from vramwatch.store.desk import Desk

logger = logging.getLogger("vramwatch.daemon")


class Probing:
    """For the thread of the turns."""

    def __init__(self, desk: Desk, need: Need) -> None:
        """``need``: what must be free for a run that a timer begins."""
        self._desk = desk
        self._need = need
        self._drifts: dict[str, Drift] = {}  # by the name of its trouble
        self._failed: str | None = None  # why the newest scheduled run could not be made
        self._has_begun = False

    def reconfigure(self, need: Need) -> None:
        self._need = need

    def begin_anew(self) -> None:
        """Go on from what stands in the store: something was deleted there."""
        self._has_begun = False

    def room(self, ledgers: Iterable[Ledger], ailing: Collection[str]) -> Reply:
        """Return which GPU has room for a run now, or "because" of what there is none."""
        found = find_room(self._need, ledgers, ailing)
        if isinstance(found, NoRoom):
            return {"gpu": None, "because": found.why}
        return {"gpu": found.gpu.uuid, "ordinal": found.gpu.ordinal, "free_bytes": found.free}

    def hand_in(self, request: Request, at: Instant) -> Reply:
        """Keep the run that is handed in, or take in that a scheduled one failed. Errors: ControlError."""
        if (why := request.arguments.get("failed")) is not None:
            self.fail(clean(str(why)))
            return {}
        try:
            run = replace(read(request.arguments.get("run")), author=request.author)
        except ValueError as error:
            raise ControlError(str(error)) from None
        try:
            earlier = self._desk.probe_runs()
            run = self._desk.write_probe_run(run, at.seq)
        except StoreError as error:
            raise ControlError(str(error)) from error
        if run.is_scheduled:
            self._failed = None
        for name in [name for name, each in self._drifts.items() if each.run.is_like(run)]:
            del self._drifts[name]
        found = drift(run, earlier)
        if found:
            self._drifts[_name(found)] = found
        logger.info(
            "probe kept id=%s author=%r drift=%r", run.id, run.author, found.sentence if found else ""
        )
        return {"id": run.id, "drift": found.sentence if found else None}

    def fail(self, why: str) -> None:
        """Take in that a scheduled run could not be made."""
        self._failed = why
        logger.warning("scheduled probe failed because=%r", why)

    def troubles(self) -> Iterator[Trouble]:
        """Yield the drifts that stand, and why no scheduled run could be made."""
        if not self._has_begun:
            self._begin()
        if self._failed:
            yield Trouble(PROBE, f"the scheduled probe cannot run: {self._failed}")
        for name, each in self._drifts.items():
            yield Trouble(name, each.sentence, numbers=each.numbers, since=each.since, count=each.count)

    def let_go(self, moved: Iterable[Transition]) -> None:
        """Take in which of them a person dismissed: later runs are measured by the one that had drifted."""
        for each in moved:
            subject = each.incident.subject
            if each.reason is not Reason.DISMISSED or subject.kind is not SubjectKind.VRAMWATCH:
                continue
            if subject.owner == PROBE:
                self._failed = None
            if found := self._drifts.pop(subject.owner or "", None):
                try:
                    self._desk.accept_probe_run(found.run.id)
                except StoreError as error:
                    logger.error("the drift will be told again because=%r", str(error))

    def _begin(self) -> None:
        try:
            self._drifts = {_name(each): each for each in standing(self._desk.probe_runs())}
        except StoreError as error:
            logger.error("earlier runs of the probe are not known because=%r", str(error))
        self._has_begun = True


def _name(found: Drift) -> str:
    return f"{PROBE} {found.run.model} {found.run.digest}"
