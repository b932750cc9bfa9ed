"""Follows the log files of containers that were opted in by name."""

import logging
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from vramwatch.core.oom_lines import TRIGGERS, parse
from vramwatch.core.oom_sightings import Sighting
from vramwatch.logs.formats import cri_message, docker_message
from vramwatch.logs.tail import Tail
from vramwatch.procfs.container_logs import ContainerLog, ContainerLogs

FOLLOWED_MOST = 256
"""Files followed at a time: a descriptor and a line each."""

LOOKS_BETWEEN_SEARCHES = 10
"""Looks after which containers are searched for again."""

LINES_MOST = 500
"""Lines of one file that one look makes sense of: some ms. A container that has more to say of memory, as one
might to keep the daemon busy, is passed over to the end."""

logger = logging.getLogger("vramwatch.logs")


class ContainerWatch:
    """The logs of the containers that ``names``, globs, mean. Has no clock: each ``look`` is one round."""

    def __init__(self, names: Sequence[str], hand_over: Callable[[Sighting], None], host: Path) -> None:
        """``hand_over`` must not wait."""
        self._names = names
        self._hand_over = hand_over
        self._host = host
        self._logs = ContainerLogs(host)
        self._tails: dict[ContainerLog, Tail] = {}
        self._looks = 0
        self._complaints: set[str] = set()

    def look(self) -> None:
        """Search where that is due, and hand over what every followed file has to say since the last look.

        A container that is there at the first look is followed from its end, a later one from its beginning.
        """
        if self._looks % LOOKS_BETWEEN_SEARCHES == 0:
            self._search(is_first=self._looks == 0)
        self._looks += 1
        for log, tail in self._tails.items():
            self._look_at(log, tail)

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    def _search(self, *, is_first: bool) -> None:
        wanted = [log for log in self._logs.found() if self._is_wanted(log)]
        if len(wanted) > FOLLOWED_MOST:
            self._complain(f"logs.containers means {len(wanted)} containers; {FOLLOWED_MOST} are followed")
            wanted = sorted(wanted, key=lambda log: log not in self._tails)[:FOLLOWED_MOST]
        for gone in self._tails.keys() - set(wanted):
            tail = self._tails.pop(gone)
            self._look_at(gone, tail)
            tail.close()
        for log in wanted:
            if log not in self._tails:
                self._tails[log] = Tail(self._host, log.path, TRIGGERS, from_end=is_first)

    def _is_wanted(self, log: ContainerLog) -> bool:
        return any(fnmatchcase(name, glob) for name in log.names for glob in self._names)

    def _look_at(self, log: ContainerLog, tail: Tail) -> None:
        read = cri_message if log.is_cri else docker_message
        for count, line in enumerate(tail.look()):
            if count == LINES_MOST:
                tail.pass_over()
                break
            message = read(line)
            report = parse(message) if message else None
            if report:
                self._hand_over(Sighting(report, container=log.container, container_name=log.names[0]))
        if tail.passed_over:
            self._complain(
                f"the log of container {log.names[0]} grows faster than it is read; parts are left out"
            )

    def _complain(self, what: str) -> None:
        """Log each thing that is wrong once."""
        if what not in self._complaints and len(self._complaints) < FOLLOWED_MOST:
            self._complaints.add(what)
            logger.warning("%s", what)
