"""What one service says at this moment, at an address that is proven to be its own."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vramwatch.core.metric_pages import Gauged, Told
from vramwatch.core.model import ProcessKey, Tenant
from vramwatch.core.texts import clean
from vramwatch.gauging.fetching import FAILURES, Fetcher
from vramwatch.gauging.pools import in_bytes
from vramwatch.gauging.services import Door, Place, Service, doors, services
from vramwatch.procfs.gpus import gpus_of_the_machine
from vramwatch.procfs.listening import Ask, still_listens
from vramwatch.remedying import Voice


@dataclass(frozen=True, slots=True)
class Answered:
    """``door``: where the pages came from."""

    door: Door
    told: tuple[Told, ...]


def ask_service(
    engine: Gauged, service: Service, candidates: Iterable[Door], root: str, sockets: Ask | None = None
) -> Answered | str:
    """Return what the first of ``candidates`` tells that is this service; else why none does.

    It is where the page has the engine's names and, if the address was found, the process still holds it.
    ``sockets`` tells of those that we may not see.
    """
    asks = engine.asks(service.facts)
    paths = asks.harmless(gpus_of_the_machine(root))
    why = "no socket of this machine that is known to be its own; see engines.urls"
    for door in candidates:
        try:
            fetcher = Fetcher(door.url, door.token.reveal() if door.token else None)
            pages = {path: text for path in paths if (text := fetcher.get(path)) is not None}
        except FAILURES as error:
            why = f"{door.url} does not answer: {clean(str(error)) or type(error).__name__}"
            continue
        told = tuple(in_bytes(each, asks.cache) for each in engine.read(pages))
        if told and (door.inode is None or still_listens(root, door.pids, door.inode, sockets)):
            return Answered(door, told)
        why = f"{door.url} has no page with its names; its metrics may have to be switched on"
    return why


@dataclass(frozen=True, slots=True)
class Hearing:
    """Asks a service anew whenever it is wanted, on the caller's thread. Implements remedying.Voices.

    ``tenants``: returns who was present at the newest list.
    """

    engines: Mapping[str, Gauged]
    places: Sequence[Place]
    root: str
    tenants: Callable[[], Mapping[ProcessKey, Tenant]]
    sockets: Ask | None = None

    def hear(self, engine: str, targets: Collection[ProcessKey], url: str | None = None) -> Voice | str:
        """Return what ``engine`` of ``targets`` says now, or why that is not known; see remedying.Voices."""
        gauged = self.engines.get(engine)
        if gauged is None:
            return f"{engine} tells nothing of itself"
        known = self.tenants()
        theirs = [known[key] for key in targets if key in known]
        found = [
            each for (name, _), each in services(theirs, self.engines, self.places).items() if name == engine
        ]
        if len(found) != 1:
            return f"{len(found) or 'no'} services of {engine} are known there; one is wanted"
        (service,) = found
        if url is None:
            candidates = doors(service, gauged.asks(service.facts), self.root, self.sockets)
        else:
            token = service.place.token if service.place and service.place.url.rstrip("/") == url else None
            candidates = (Door(url, token=token),)
        answered = ask_service(gauged, service, candidates, self.root, self.sockets)
        if isinstance(answered, str):
            return answered
        return Voice(answered.door.url.rstrip("/"), answered.told, answered.door.token)
