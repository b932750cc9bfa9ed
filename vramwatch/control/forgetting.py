"""History deleted at an operator's word: in the store, and in the memory of whoever goes on from it."""

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from vramwatch.control.control import ControlError, Request
from vramwatch.control.errands import Reply
from vramwatch.core.errors import StoreError
from vramwatch.core.model import ProcessKey
from vramwatch.judging.judge import Judge
from vramwatch.store import Store

logger = logging.getLogger("vramwatch.daemon")


class Resumable(Protocol):
    """Remembers what stands in the store, and can read it again."""

    def begin_anew(self) -> None: ...


class Keeper(Protocol):
    """Keeps something by owner."""

    def forget(self, owners: Collection[str]) -> None: ...


class Forgetting:
    """For the thread of the turns."""

    def __init__(
        self,
        store: Store,
        judge: Judge,
        treatment: Keeper | None = None,
        others: Iterable[Resumable] = (),
        *,
        lose: Callable[[Collection[ProcessKey]], None] = lambda processes: None,
        count_anew: Callable[[], None] = lambda: None,
    ) -> None:
        """``lose`` lets go of who the processes are.

        ``others`` go on from the store afterwards, in their order; ``count_anew`` is called last.
        """
        self._store = store
        self._judge = judge
        self._treatment = treatment
        self._others = tuple(others)
        self._lose = lose
        self._count_anew = count_anew

    def forget(self, request: Request) -> Reply:
        """Delete an owner's or a user's history and return what was, in numbers of rows.

        What was deleted is not named in the log either. Errors: ControlError.
        """
        owner, user = (request.arguments.get(name) for name in ("owner", "user"))
        if (owner is None) == (user is None):
            raise ControlError("forget takes either an owner's key or a user's name")
        try:
            forgotten = self._store.forget(owner and str(owner), user and str(user))
            self._judge.forget(forgotten.owner_keys, forgotten.process_keys)
        except StoreError as error:
            raise ControlError(str(error)) from error
        self._lose(forgotten.process_keys)
        if self._treatment:
            self._treatment.forget(forgotten.owner_keys)
        for other in self._others:
            other.begin_anew()
        self._count_anew()
        counts = " ".join(f"{name}={count}" for name, count in forgotten.counts.items())
        logger.info("history forgotten author=%r %s", request.author, counts)
        return forgotten.counts
