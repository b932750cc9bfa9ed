"""How notifiers reach receivers: the interface of a courier, addresses, and answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from vramwatch.core.outgoing import Outcome, Rejected, Retry


class Place(NamedTuple):
    """Host and TCP port of a receiver; ``scheme``: http or https where it speaks HTTP, else empty."""

    host: str
    port: int
    scheme: str = ""


def place_of(url: str) -> Place | None:
    """Return where an address of http:// or https:// leads; None: it is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return Place(host, port or usual, parts.scheme) if host and usual else None


@dataclass(frozen=True, slots=True)
class Reach:
    """How receivers are reached. Seconds.

    ``proxy`` None: as the environment says (HTTPS_PROXY, NO_PROXY); empty: none.
    ``ca_file`` None: the system's.
    """

    connect: float = 5.0
    read: float = 10.0
    total: float = 20.0
    proxy: str | None = None
    ca_file: str | None = None
    verify_tls: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """Return the body as JSON has it; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Courier(Protocol):
    """Carries requests of one channel, within bounds of time and memory."""

    def post(
        self, url: str, content: object, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer | Retry | Rejected:
        """Send ``content`` (bytes or text as they are, else as JSON) and return what is answered.

        Retry and Rejected: nothing was answered at all.
        """
        ...

    def outcome(self, answer: Answer | Retry | Rejected, reference: str | None = None) -> Outcome:
        """Return what an answer means by its status: 2xx is delivered, 429 and 5xx may work later."""
        ...

    def quoted(self, answer: Answer) -> str:
        """Return ": what was answered", bounded, without secrets; empty where there is none."""
        ...

    def close(self) -> None: ...
