"""Whether the receivers of a channel take connections, directly or through a proxy; nothing is sent."""

import os
import socket
from dataclasses import dataclass

from vramwatch.core.couriers import Place, place_of
from vramwatch.notifying import Notifier

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
"""Where requests finds a proxy (its documentation, Proxies)."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a connection to a receiver goes: to itself, or to the proxy before it."""

    place: Place
    is_proxy: bool = False

    def __str__(self) -> str:
        return f"{'the proxy ' if self.is_proxy else ''}{self.place.host}:{self.place.port}"


def ways(notifier: Notifier) -> tuple[Way, ...]:
    """Return how each of a notifier's receivers is connected to; empty: no connection would tell anything.

    Behind a proxy, configured or the environment's, that is the proxy itself, for it connects to them.
    """
    found = (_way(place, notifier.reach().proxy) for place in notifier.places())
    return tuple(dict.fromkeys(way for way in found if way))


def _way(place: Place, proxy: str | None) -> Way | None:
    """Return how ``place`` is connected to; None: by a proxy that is none of HTTP, which is not tried."""
    if proxy is None and place.scheme and any(name in os.environ for name in PROXY_VARIABLES):
        # Where nothing is sent through a proxy, requests costs its memory with the first message alone.
        from vramwatch.couriers.posting import environment_proxy  # noqa: PLC0415

        host = f"[{place.host}]" if ":" in place.host else place.host
        proxy = environment_proxy(f"{place.scheme}://{host}:{place.port}")
    if not (proxy and place.scheme):
        return Way(place)
    found = place_of(proxy)
    return Way(found, is_proxy=True) if found else None


def unreachable(notifier: Notifier) -> str | None:
    """Return why none of a notifier's receivers takes a connection; None: one does, or nobody can say."""
    reasons = []
    for way in ways(notifier):
        place = way.place
        try:
            with socket.create_connection((place.host, place.port), timeout=notifier.reach().connect):
                return None
        except OSError as error:
            reasons.append(f"{way} takes no connection ({error.strerror or error})")
    return "; ".join(reasons) or None
