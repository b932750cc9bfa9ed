"""Which processes are one service, and at which address it tells its figures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from vramwatch.core.commandline import lineage, option, parse
from vramwatch.core.metric_pages import Asks, Gauged
from vramwatch.core.model import ProcessFacts, ProcessKey, Tenant
from vramwatch.core.recognition import ROUTER_ROLE
from vramwatch.credentials import Secret
from vramwatch.procfs.listening import Ask, Listener, children, in_our_network, own_listeners
from vramwatch.procfs.published import find_published

CANDIDATES_MOST = 4
"""Sockets of one service that are asked; an engine has one for people, and some of its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operator says that the engine of an Owner tells its figures. ``owner``: a glob."""

    owner: str
    url: str
    token: Secret | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """Processes that one engine's pages speak of. ``pids``: its own, from the one on the GPU upwards."""

    engine: str
    facts: ProcessFacts
    pids: tuple[int, ...]
    place: Place | None
    members: tuple[ProcessKey, ...]


@dataclass(frozen=True, slots=True)
class Door:
    """An address to ask. ``inode``: the socket behind it, which ``pids`` must still hold after the answer."""

    url: str
    inode: int | None = None
    pids: tuple[int, ...] = ()
    token: Secret | None = None


def services(
    tenants: Iterable[Tenant], engines: Mapping[str, Gauged], places: Sequence[Place]
) -> dict[tuple[str, str], Service]:
    """Return the services behind ``tenants``, by engine and what tells one service from another."""
    found: dict[tuple[str, str], Service] = {}
    for tenant in tenants:
        engine = engines.get(tenant.engine.engine) if tenant.engine else None
        if engine is None or tenant.engine is None:
            continue
        place = next((each for each in places if _is_at(each, tenant)), None)
        pids = own_pids(tenant.facts, engine)
        key = (tenant.engine.engine, place.url if place else str(pids[-1]))
        known = found.get(key) or Service(key[0], tenant.facts, (), place, ())
        found[key] = replace(
            known,
            pids=tuple(dict.fromkeys((*known.pids, *pids))),
            members=(*known.members, tenant.facts.key),
        )
    return found


def own_pids(facts: ProcessFacts, engine: Gauged) -> tuple[int, ...]:
    """Return the pids of the process and of those above it that are the engine's too; the highest last.

    A router is none of them: each server below it tells its own figures.
    """
    line = lineage(facts)
    pids = [facts.key.pid]
    for place, above in enumerate(line[1:], 1):
        seen = replace(
            facts,
            key=replace(facts.key, pid=above.pid),
            name=above.name,
            argv=above.argv,
            title=above.title,
            ancestors=line[place + 1 :],
        )
        claim = engine.recognise(seen)
        is_router = claim is not None and claim.role == ROUTER_ROLE
        if claim is None or (is_router and not parse(above.argv).is_multiprocessing_child):
            break
        pids.append(above.pid)
    return tuple(pids)


def doors(service: Service, asks: Asks, root: str, ask: Ask | None = None) -> tuple[Door, ...]:
    """Return where to ask, the likeliest first; empty: nowhere that is known to be this service's.

    ``ask`` tells of sockets that we may not see.
    """
    if service.place:
        return (Door(service.place.url, token=service.place.token),)
    port = asks.port or _told_port(service.facts, asks)
    near = tuple(dict.fromkeys((*service.pids, *children(root, service.pids[-1]))))
    found = own_listeners(root, near, port, ask)
    own = tuple(each for each in found if each.port in asks.usual_ports) or found
    if here := in_our_network(root, own):
        entrances = [(each, near) for each in here]
    else:
        published = find_published(root, service.pids[0], own, ask)
        entrances = [(each.listener, (each.pid,)) for each in published]
    return tuple(_door(each, pids) for each, pids in entrances if each.loopback)[:CANDIDATES_MOST]


def _door(listener: Listener, pids: tuple[int, ...]) -> Door:
    host = listener.loopback or ""
    written = f"[{host}]" if ":" in host else host
    return Door(f"http://{written}:{listener.port}", listener.inode, pids)


def _told_port(facts: ProcessFacts, asks: Asks) -> int | None:
    """Return the port that the nearest command with such an option names; None where none does."""
    for each in lineage(facts):
        text = option(parse(each.argv).arguments, *asks.port_options)
        if text and text.isascii() and text.isdigit() and 0 < int(text[:6]) < 1 << 16:
            return int(text[:6])
    return None


def _is_at(place: Place, tenant: Tenant) -> bool:
    owner = tenant.owner
    return any(fnmatchcase(name, place.owner) for name in (owner.name, owner.key))
