"""How soon people are told, how fast a backlog of messages drains, and what that costs a poll.

The real store, decision, outbox and webhook, one poll a second; a receiver in a process of its own.
"""

import http.server
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.findings import Figures, Finding, at_least, at_most, told
from tests.polls import instant, poll
from tests.verdicts import transition
from vramwatch.core.incidents import Reason, State, Transition
from vramwatch.core.messages import Host
from vramwatch.core.policy import Channel
from vramwatch.couriers.posting import HttpCourier
from vramwatch.notifiers.webhook import Webhook
from vramwatch.store import Store
from vramwatch.store.desk import Desk
from vramwatch.telling.alerting import Alerting
from vramwatch.telling.outbox import Outbox
from vramwatch.telling.sending import Line

RUNS = 5
AT_ONCE, SOONEST = 50, 1.0
"""Incidents that fire at one poll, and the seconds from there within which they are on the wire."""

BACKLOG, BATCH, DRAINED = 10_000, 100, 100.0
"""Incidents that wait, how many fired at each poll, and how many a second must leave."""

PATIENCE = 300.0


def measure() -> Iterator[Finding]:
    soon = Figures(tuple(_latency() for _ in range(RUNS)))
    yield at_most(f"{AT_ONCE} incidents at one poll, until all are on the wire", soon, SOONEST, "s")
    drain = _drain()
    yield at_least(f"{BACKLOG:,} waiting incidents, how many leave", Figures((drain.rate,)), DRAINED, "/s")
    yield told("a turn of the outbox meanwhile", Figures(tuple(1000 * each for each in drain.turns)), "ms")
    yield told("a turn that has nothing to do", Figures(tuple(1000 * each for each in drain.idle)), "ms")


def _receive(arrivals: Connection) -> None:
    """Answer every POST, and say how many incidents it had."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrivals.send((time.monotonic(), body.count(b'"notice": ')))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        arrivals.send(server.server_port)
        server.serve_forever()


@contextmanager
def _receiver() -> Iterator[tuple[str, Connection]]:
    """Give the URL of a receiver, and where it tells of what has arrived: monotonic seconds, incidents."""
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_receive, args=(there,), daemon=True)
    child.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/", here
    finally:
        child.terminate()
        child.join()


@contextmanager
def _service() -> Iterator[tuple["_Service", Connection]]:
    """Give a service over a new store, and where its receiver tells of what has arrived."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _receiver() as (url, arrivals),
        closing(_Service(Path(folder), url)) as service,
    ):
        yield service, arrivals


class _Service:
    """What tells, without what sees: polls are handed in."""

    def __init__(self, folder: Path, url: str) -> None:
        channel = Channel("hook", group_wait=0.0, group_interval=0.0)
        line = Line(channel, Webhook.model_validate({"url": url}), HttpCourier)
        self._store = Store.open(folder / "telling.db", "simulated", "benchmark")
        desk = Desk(self._store)
        self._alerting = Alerting(desk, [channel], None)
        self._outbox = Outbox(desk, Host("benchmark"), [line], 86400.0, lambda item: item)
        self._seq = 0

    def poll(self, *moved: Transition) -> None:
        """Decide and store one poll, without having anything leave."""
        self._seq += 1
        at = instant(self._seq)
        taken = replace(poll(self._seq), transitions=tuple(replace(each, at=at) for each in moved))
        decided = self._alerting.turn(taken)
        self._store.write(decided)
        self._outbox.expect(decided.steps)

    def turn(self) -> float:
        """Let the outbox take its turn; return the seconds that it took of the poll's thread."""
        began = time.perf_counter()
        self._outbox.turn(instant(self._seq).wall)
        return time.perf_counter() - began

    def close(self) -> None:
        self._outbox.close()
        self._store.close()


def _firing(first: int, count: int) -> list[Transition]:
    return [
        transition(1, f"incident-{n}", State.FIRING, f"unit:{n}.service", reason=Reason.ESTABLISHED)
        for n in range(first, first + count)
    ]


def _latency() -> float:
    """Return the seconds from the poll at which incidents fire until the last of them has arrived."""
    with _service() as (service, arrivals):
        service.poll()
        service.turn()
        began = time.monotonic()
        service.poll(*_firing(0, AT_ONCE))
        service.turn()
        arrived, at = 0, began
        while arrived < AT_ONCE:
            assert arrivals.poll(PATIENCE), "the receiver got nothing"
            at, count = arrivals.recv()
            arrived += count
        return float(at - began)


@dataclass(frozen=True, slots=True)
class _Drain:
    rate: float  # incidents a second
    turns: list[float]  # seconds each
    idle: list[float]


def _drain() -> _Drain:
    """Have a backlog leave, a poll a second, and then some polls at which nothing does."""
    with _service() as (service, arrivals):
        for first in range(0, BACKLOG, BATCH):
            service.poll(*_firing(first, BATCH))
        began, last, arrived, turns = time.monotonic(), 0.0, 0, []
        while arrived < BACKLOG:
            due = time.monotonic() + 1.0
            service.poll()
            turns.append(service.turn())
            while (left := due - time.monotonic()) > 0:
                if arrivals.poll(left):
                    last, count = arrivals.recv()
                    arrived += count
            assert last - began < PATIENCE, "the backlog does not drain"
        service.poll()
        service.turn()
        idle = []
        for _ in range(100):
            service.poll()
            idle.append(service.turn())
        return _Drain(BACKLOG / (last - began), turns, idle)
