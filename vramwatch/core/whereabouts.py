"""Options that a suggested command needs to reach the same daemon and store. Pure."""

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What has to be named for it; None: it is found without.

    ``config``: the configuration file; ``socket``: the daemon's; ``store``: the history's file. All absolute.
    """

    config: str | None = None
    socket: str | None = None
    store: str | None = None

    def asking(self, verb: str) -> str:
        """Return the command of a ``verb`` that asks the daemon."""
        return f"{self._named(self.config, self.socket)}vramwatch {verb}"

    def reading(self, verb: str) -> str:
        """Return the command of a ``verb`` that reads the store and takes --store."""
        socket = None if self.store else self.socket  # by which a store is found where none is named
        return f"{self._named(self.config, socket)}vramwatch {verb}{self._stored()}"

    def both(self, verb: str) -> str:
        """Return the command of a ``verb`` that does both."""
        return f"{self.asking(verb)}{self._stored()}"

    def _stored(self) -> str:
        return f" --store {shlex.quote(self.store)}" if self.store else ""

    @staticmethod
    def _named(config: str | None, socket: str | None) -> str:
        """By the environment, for --set is no option of every verb."""
        named = {"VRAMWATCH_CONFIG": config, "VRAMWATCH_CONTROL__SOCKET": socket}
        return "".join(f"{name}={shlex.quote(value)} " for name, value in named.items() if value)


FOUND = Whereabouts()
"""Nothing has to be named: the service's, or the user's own, are found."""
