"""Holds the connections of workers, on one thread; what others ask of it never waits."""

import array
import contextlib
import logging
import os
import re
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vramwatch.core.model import Gauge, Instant, ProcessKey, Tenant
from vramwatch.core.workers import Worker
from vramwatch.reception.bounds import (
    ACCEPTED_A_SECOND,
    ACCEPTED_AT_ONCE,
    HELLO_WITHIN,
    REFUSED_COSTS,
    Allowance,
    Bounds,
)
from vramwatch.reception.entrance import Admission, Entrance
from vramwatch.reception.guest import Guest, PassedOver
from vramwatch.reception.peer import UCRED, Caller, Peer, caller, identify
from vramwatch.sdk.wire import LIMIT, SIGNAL, Answer, Clear, Message, Refused, Welcome, encode

SWEEP_EVERY = 1.0
"""Seconds between two looks for who has not said hello, and after which one is let in again."""

OLD_REPORTS = 3
"""A report that is so many intervals old tells nothing of the present any more."""

DRAINED = 16
"""Datagrams that are read and thrown away before a connection ends: else its peer loses the reason."""

TOLD_EVERY = 60.0
"""Seconds between two lines in the log about connections that were refused for one reason."""

REASONS_KEPT = 64

NUMBERS = re.compile(r"\d+")

logger = logging.getLogger(__name__)


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Reception:
    """Who has enrolled, each for as long as its connection and its process live.

    Implements core.ports.Workers and core.ports.Insides.
    """

    def __init__(
        self,
        path: Path,
        admission: Admission,
        bounds: Bounds,
        boot_id: str,
        *,
        now: Callable[[], float] = boottime,
        proc: str = "/proc",
    ) -> None:
        """Listen on ``path``. ``now``: seconds of boot time. Errors: ReceptionError."""
        self._entrance = Entrance(path, admission.group)
        self._admission, self._bounds = admission, bounds
        self._boot_id, self._now, self._proc = boot_id, now, proc
        self._guests: dict[socket.socket, Guest] = {}
        self._enrolled: dict[ProcessKey, Guest] = {}
        self._lock = threading.RLock()  # of all guests and their connections
        self._entries = Allowance(ACCEPTED_A_SECOND, ACCEPTED_AT_ONCE, now())
        self._is_open = False  # whether new connections are taken up
        self._refusals: dict[str, tuple[float, int]] = {}  # reason -> told when, and how many since
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._woken, selectors.EVENT_READ, self._waker)
        self._let_in()
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, name="reception", daemon=True)
        self._thread.start()

    # --- what others ask, on threads of their own --------------------------------------------------

    def enrolled(self) -> Mapping[ProcessKey, Worker]:
        with self._lock:
            return {key: guest.worker for key, guest in self._enrolled.items() if guest.worker}

    def gauges(
        self, present: Mapping[str, Mapping[int, Tenant]], at: Instant
    ) -> Mapping[str, tuple[Gauge, ...]]:
        oldest = at.boottime - OLD_REPORTS * self._bounds.report_every
        told: dict[str, tuple[Gauge, ...]] = {}
        for key, worker in self.enrolled().items():
            if worker.reported_at is None or worker.reported_at < oldest:
                continue
            for gpu, tenants in present.items():
                tenant = tenants.get(key.pid)
                if tenant is not None and tenant.facts.key == key:
                    told[gpu] = (*told.get(gpu, ()), *worker.gauges(gpu))
        return told

    def ask(self, key: ProcessKey, clear: Clear) -> str | None:
        with self._lock:
            guest = self._enrolled.get(key)
            if guest is None or guest.worker is None:
                return f"pid {key.pid} is not enrolled"
            if not guest.worker.consents_to("ask"):
                return f"pid {key.pid} does not consent to be asked"
            if unoffered := [each for each in clear.clears if each not in guest.worker.hello.clears]:
                return f"pid {key.pid} does not offer to clear {', '.join(unoffered)}"
            guest.ask(clear)
            if not _send(guest.connection, clear):
                _hang_up(guest.connection)
                return f"pid {key.pid} does not read what it is sent"
        return None

    def signal(self, key: ProcessKey, name: str) -> str | None:
        with self._lock:
            guest = self._enrolled.get(key)
            if guest is None or guest.worker is None:
                return f"pid {key.pid} is not enrolled"
            if not guest.worker.consents_to(SIGNAL + name):
                return f"pid {key.pid} does not consent to {name}"
            why_not = guest.peer.signal(name, self._proc)
            if why_not is None:
                guest.signalled()
            return why_not

    def answers(self) -> Sequence[tuple[ProcessKey, Answer]]:
        told: list[tuple[ProcessKey, Answer]] = []
        with self._lock:
            for key, guest in self._enrolled.items():
                while guest.answers:
                    told.append((key, guest.answers.popleft()))
        return told

    def close(self) -> None:
        """End every connection, and with it every consent."""
        self._is_over = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b".")
        self._thread.join()
        for guest in list(self._guests.values()):
            self._drop(guest)
        self._selector.close()
        self._entrance.close()
        os.close(self._woken)
        os.close(self._waker)

    # --- the thread ---------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Run the thread; what nobody foresaw ends every consent, and not the daemon."""
        try:
            self._attend_all()
        except Exception as error:
            logger.exception("no worker can enrol any more because=%s", type(error).__name__)
            for guest in list(self._guests.values()):
                self._drop(guest)

    def _attend_all(self) -> None:
        sweep_at = self._now()
        while not self._is_over:
            for key, _ in self._selector.select(SWEEP_EVERY if self._must_sweep() else None):
                match key.data:
                    case Entrance():
                        self._accept()
                    case Guest() as guest if guest.connection in self._guests:
                        self._attend(guest, has_ended=key.fileobj is not guest.connection)
            now = self._now()
            if now - sweep_at >= SWEEP_EVERY:
                sweep_at = now
                self._sweep(now)

    def _must_sweep(self) -> bool:
        return not self._is_open or any(guest.worker is None for guest in self._guests.values())

    def _let_in(self) -> None:
        self._selector.register(self._entrance.socket, selectors.EVENT_READ, self._entrance)
        self._is_open = True

    def _keep_out(self) -> None:
        """Leave new connections in the kernel's queue until the next sweep."""
        self._selector.unregister(self._entrance.socket)
        self._is_open = False

    def _sweep(self, now: float) -> None:
        if not self._is_open:
            self._let_in()
        for guest in list(self._guests.values()):
            if guest.worker is None and now - guest.since > HELLO_WITHIN:
                self._refuse(guest, Refused(f"said no hello within {HELLO_WITHIN:g} s"))

    def _accept(self) -> None:
        now = self._now()
        if not self._entries.take(now):
            self._keep_out()
            return
        try:
            connection, _ = self._entrance.socket.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left: as soon as one is, it is tried again
            self._keep_out()
            return
        connection.setblocking(False)
        peer = self._admit(connection)
        if isinstance(peer, Refused):
            self._entries.charge(REFUSED_COSTS - 1)
            self._note(peer)
            _send(connection, peer)
            _hang_up(connection)
            connection.close()
            return
        with self._lock:
            self._guests[connection] = guest = Guest(connection, peer, now)
        try:
            self._selector.register(connection, selectors.EVENT_READ, guest)
            self._selector.register(peer.pidfd, selectors.EVENT_READ, guest)
        except OSError as error:  # epoll_ctl(2): no memory, or too many watched
            self._refuse(guest, Refused(f"the daemon cannot watch this process ({error.strerror})"))

    def _admit(self, connection: socket.socket) -> Peer | Refused:
        """Return who may go on; what costs least is looked at first, for floods end there."""
        if len(self._guests) >= self._bounds.total:
            return Refused(f"{self._bounds.total} workers are connected, more are not taken (workers.limit)")
        try:
            known = caller(connection)
            return self._why_not(known) or identify(connection, known, self._boot_id, self._proc)
        except OSError as error:
            return Refused(f"the kernel does not say who speaks ({error.strerror})")

    def _why_not(self, known: Caller) -> Refused | None:
        if not self._admission.admits(known.uid, known.gids):
            return Refused(f"uid {known.uid} may not enrol (workers.group, workers.users)")
        same = sum(guest.peer.uid == known.uid for guest in self._guests.values())
        if same >= self._bounds.per_user:
            return Refused(
                f"uid {known.uid} has {same} connections, more are not taken (workers.limit_per_user)"
            )
        return None

    def _attend(self, guest: Guest, *, has_ended: bool) -> None:
        if has_ended:  # whatever copy of its end a child may hold
            self._drop(guest)
            return
        try:
            raw, sender, refused = _receive(guest.connection)
        except BlockingIOError:
            return
        except OSError:
            raw, sender, refused = b"", 0, None
        if refused is None and not raw:
            self._drop(guest)
            return
        was_enrolled = guest.worker is not None
        with self._lock:
            heard = refused or guest.hear(raw, sender, self._now())
            if heard is None and not was_enrolled:
                heard = self._enrol(guest)
        match heard:
            case Refused():
                self._refuse(guest, heard)
            case PassedOver():
                self._note(heard)

    def _enrol(self, guest: Guest) -> Refused | None:
        key = guest.peer.key
        before = self._enrolled.get(key)
        if before is not None and _has_hung_up(before.connection):  # which is seen only after this Hello
            self._drop(before)
            before = None
        if before is not None:
            return Refused(f"pid {key.pid} has enrolled on another connection")
        self._enrolled[key] = guest
        if not _send(guest.connection, Welcome(report_every=self._bounds.report_every)):
            return Refused("does not read what it is sent, or has gone")
        return None

    def _refuse(self, guest: Guest, refused: Refused) -> None:
        self._note(refused)
        self._entries.charge(REFUSED_COSTS - 1)
        with self._lock:
            _send(guest.connection, refused)
            _hang_up(guest.connection)
        self._drop(guest)

    def _drop(self, guest: Guest) -> None:
        """Forget a connection, and the consent that was given on it."""
        with self._lock:
            self._guests.pop(guest.connection, None)
            if self._enrolled.get(guest.peer.key) is guest:
                del self._enrolled[guest.peer.key]
            for watched in (guest.connection, guest.peer.pidfd):
                with contextlib.suppress(KeyError):
                    self._selector.unregister(watched)
            guest.close()

    def _note(self, refused: Refused | PassedOver) -> None:
        """Log a refusal: each reason, whoever it is, at once, then once a minute with how many there were."""
        now, reason = self._now(), NUMBERS.sub("N", refused.reason)
        told_at, count = self._refusals.pop(reason, (None, 0))
        if told_at is None or now - told_at >= TOLD_EVERY:
            logger.warning("worker refused reason=%r times=%d", refused.reason, count + 1)
            told_at, count = now, 0
        else:
            count += 1
        self._refusals[reason] = told_at, count
        if len(self._refusals) > REASONS_KEPT:
            del self._refusals[next(iter(self._refusals))]


def _receive(connection: socket.socket) -> tuple[bytes, int, Refused | None]:
    """Return a datagram, the pid of who sent it, and why it is not taken, if so; empty: the end."""
    room = socket.CMSG_SPACE(UCRED.size)  # for no descriptor besides
    raw, ancillary, flags, _ = connection.recvmsg(LIMIT + 1, room, socket.MSG_DONTWAIT)
    sender, refused = 0, None
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            sender = UCRED.unpack(data[: UCRED.size])[0]
        elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors = array.array("i", data[: len(data) // 4 * 4])
            for descriptor in descriptors:
                os.close(descriptor)
    if flags & socket.MSG_CTRUNC:
        refused = Refused("a message came with descriptors")
    if flags & socket.MSG_TRUNC:
        refused = Refused(f"a message is longer than {LIMIT} bytes")
    return raw, sender, refused


def _send(connection: socket.socket, message: Message) -> bool:
    """Return whether ``message`` was taken by the kernel at once; who does not read has filled its queue."""
    try:
        connection.send(encode(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def _has_hung_up(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLHUP)
    return bool(poll.poll(0))


def _hang_up(connection: socket.socket) -> None:
    """End a connection so that its peer still reads what it was sent last."""
    with contextlib.suppress(OSError):
        for _ in range(DRAINED):
            if not connection.recv(1, socket.MSG_DONTWAIT):
                break
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
