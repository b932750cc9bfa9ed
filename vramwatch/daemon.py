"""The loop: wait, take a turn, remember it; and between turns do what an operator asked.

With the outbox the only place that owns a clock. A running daemon never ends for the driver or the
disk: without a driver it stays up blind and tries again, without a writable store it keeps the
newest polls in bounded memory and says so.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import inf

from vramwatch.backlog import Backlog
from vramwatch.cold import ColdJobs
from vramwatch.control.clerk import Clerk
from vramwatch.control.control import ControlError, Request
from vramwatch.control.errands import Errands, Later, Reply
from vramwatch.control.forgetting import Forgetting
from vramwatch.control.releasing import RELEASED_INTERVAL, Releasing
from vramwatch.core import oom_sightings
from vramwatch.core.errors import NoDeviceError, StoreError
from vramwatch.core.incidents import State
from vramwatch.core.instants import kept_instant
from vramwatch.core.metric_pages import Loaded
from vramwatch.core.model import Event, EventKind, Explanation, Fault, FaultKind, Instant, Ledger, Missing
from vramwatch.core.poll import Poll
from vramwatch.core.ports import Feed, Sightings, Workers
from vramwatch.core.records import free_record, loaded_record, worker_record
from vramwatch.core.troubles import CHANNEL, CONFIGURATION, STORE, Trouble, blindness
from vramwatch.core.units import Seconds, show_seconds
from vramwatch.judging.judge import Judge
from vramwatch.judging.watch import Watch
from vramwatch.logbook import Logbook
from vramwatch.pipeline import Pipeline
from vramwatch.probing.runs import Probing
from vramwatch.probing.timer import ProbeTimer
from vramwatch.store import Store
from vramwatch.store.desk import Desk
from vramwatch.store.location import mark
from vramwatch.systemd import Systemd
from vramwatch.telling.alerting import Alerting
from vramwatch.telling.digesting import Digests
from vramwatch.telling.outbox import Outbox
from vramwatch.treating.treatment import Treatment
from vramwatch.web.board import Board, Queue, Tally
from vramwatch.web.health import Vitals

TROUBLE_SHOWN = 120
"""Characters of the first of its own troubles that systemd's STATUS tells."""

CLOCK_STEP = 2.0
"""Seconds by which the wall clock must move against boot time to count as a step."""

STALL_POLLS, STALL_SECONDS = 5, 10.0
"""A hole of so many intervals and so many seconds between two polls is kept as a Gap."""

HOLDERS_INTERVAL = Seconds(60.0)
"""How often the holder of a ghost is looked for: it walks every process's open files."""

DIGEST_INTERVAL = Seconds(60.0)
"""How often it is looked whether a digest is due."""

PROBE_INTERVAL = Seconds(10.0)
"""How often it is looked whether a run of the probe is due."""

TEND_LONGEST = Seconds(0.05)
"""Seconds of the time until the next poll that may go into tending the store."""

CATCH_UP_LEAST, CATCH_UP_LONGEST = Seconds(0.02), Seconds(0.25)
"""Seconds of the time until the next poll that go into judging again what was stored before a restart."""

STUCK_POLLS, STUCK_SECONDS = 10, 30.0
"""A turn that is so many intervals and so many seconds late counts as stuck."""

logger = logging.getLogger(__name__)


class Daemon:
    """Runs a Feed through the Pipeline into the Store until the feed ends or ``stop`` is called."""

    def __init__(
        self,
        feed: Feed,
        pipeline: Pipeline,
        watch: Watch,
        store: Store,
        *,
        find_holders: Callable[[Poll], str | None] | None = None,
        require_gpu: bool = False,
        logs: Sightings | None = None,
        alerting: Alerting | None = None,
        outbox: Outbox | None = None,
        digests: Digests | None = None,
        systemd: Systemd | None = None,
        workers: Workers | None = None,
        loaded: Callable[[], Iterable[Loaded]] | None = None,
        treatment: Treatment | None = None,
        probing: Probing | None = None,
        probe_timer: ProbeTimer | None = None,
    ) -> None:
        """``find_holders`` says who may keep the ghosts of a Poll; None where that has no meaning.

        ``logs`` are those that may be followed, None where none may; closed with the daemon, as is the
        ``outbox``. Without ``alerting`` nobody is told anything, and without ``treatment`` nothing is done.
        """
        self._feed = feed
        self._pipeline = pipeline
        self._store = store
        self._backlog = Backlog(store, outbox.slate if outbox else None)
        self._judge = Judge(watch, store)
        self._alerting = alerting
        self._outbox = outbox
        self._digests = digests
        self._systemd = systemd or Systemd({})
        self._workers = workers
        self._loaded = loaded
        self._treatment = treatment if alerting else None
        self._clerk = Clerk(Desk(store), self._judge, alerting, outbox) if alerting and outbox else None
        self._lost = 0  # polls, as the backlog counted them when the judge heard of it
        self._errands = Errands(feed.clock.wake)
        self._releasing = Releasing(feed.source, self.note)
        self._probing = probing
        self._probe_timer = probe_timer
        others = [each for each in (probing, alerting, outbox) if each]
        self._forgetting = Forgetting(
            store, self._judge, self._treatment, others, lose=pipeline.forget, count_anew=self._count_anew
        )
        self._now = Instant(0, 0.0, 0.0, "")
        self._events: list[Event] = [Event(EventKind.STARTED, "vramwatch started")]
        self._before: Poll | None = None
        self._logbook = Logbook()
        self._tally = Tally()
        self._board = Board()
        self._polls = 0
        self._with_readings = 0
        self._turn_began = self._turned_at = time.monotonic()
        self._find_holders = find_holders
        self._require_gpu = require_gpu
        self._holders: str | None = None
        self._logs = logs
        self._digest = oom_sightings.Digest()
        self._cold: ColdJobs | None = None
        self.misconfigured: str | None = None
        """Why the configuration was not taken up when it was last read again; None: it was."""

    # --- called from other threads and from signal handlers ---------------------------------------

    def stop(self) -> None:
        self._feed.clock.stop()

    def answer(self, request: Request) -> Reply:
        """Carry out a verb between two turns and return its reply. Errors: ControlError refuses it."""
        # Whoever looks every second must not cause a poll each time.
        at_once = {"workers": self._tell_workers, "models": self._tell_models, "free": self._tell_free}
        verbs: dict[str, Callable[[Request], Reply | Later]] = {
            **at_once,
            "ping": self._say_hello,
            "release": lambda asked: self._releasing.let_go(asked, self._now),
            "resume": self._releasing.take_up,
            "forget": self._forgetting.forget,
        }
        if treatment := self._treatment:
            verbs["remedies"] = treatment.set
        if probing := self._probing:
            verbs["room"] = self._find_room
            verbs["probed"] = lambda asked: probing.hand_in(asked, self._now)
        if clerk := self._clerk:
            verbs |= dict.fromkeys(clerk.verbs, lambda asked: clerk.do(asked, self._now.wall))
        if request.verb in at_once:
            return at_once[request.verb](request)
        if request.verb not in verbs:
            raise ControlError(f"the daemon knows no verb {request.verb!r}; it knows {', '.join(verbs)}")
        return self._errands.ask(lambda: verbs[request.verb](request))

    def call(self, do: Callable[[], None]) -> None:
        """Have ``do`` called before the next turn. From a signal handler too."""
        self._errands.call(do)

    def vitals(self) -> Vitals:
        pace = self._before.pace if self._before else None
        interval = pace.interval if pace else 1.0
        return Vitals(
            polls=self._polls,
            readings=self._with_readings,
            age=time.monotonic() - self._turned_at,
            stuck_after=max(STUCK_SECONDS, STUCK_POLLS * interval),
            lag=self._feed.clock.lag,
            blind=self._logbook.blind,
            store=self._backlog.fault,
        )

    def board(self) -> Board:
        """Return what the newest turn left to show, for a thread that may take its time with it."""
        return self._board

    # --- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Turn until the feed ends or ``stop`` is called; then let go of source and store.

        Errors: NoDeviceError when a GPU is required and the first answer of the driver has none.
        """
        interval = Seconds(0.0)
        try:
            self._judge.begin()
            self._systemd.ready()
            self._count_anew()
            while (at := self._feed.clock.wait(interval)) is not None:
                self._now = at
                self._errands.run()
                interval = self._turn(at)
                self._systemd.turn(*self._standing(at), interval, self._turned_at)
                self._use_the_time(at, interval)
                if self._cold is None:
                    self._cold = self._start_cold_jobs()  # after the first reading is stored, not before
        finally:
            self._systemd.stopping()
            self._end()

    def _standing(self, at: Instant) -> tuple[str, str]:
        """Return one sentence about what is watched, and when it was last."""
        last = time.strftime("last poll %H:%M:%S", time.localtime(at.wall))
        if self._logbook.blind:
            return self._logbook.blind, last
        gpus = len(self._before.ledgers) if self._before else 0
        firing = self._alerting.firing if self._alerting else 0
        fact = f"{gpus} GPU{'s' * (gpus != 1)}, {firing} open incident{'s' * (firing != 1)}"
        ailing = next(self._ailing(self._before), None) if self._before else None
        return (f"{fact}; {ailing.sentence[:TROUBLE_SHOWN]}" if ailing else fact), last

    def _turn(self, at: Instant) -> Seconds:
        """Take one turn and return how long to wait for the next."""
        self._turn_began = time.monotonic()
        at = self._mind_the_clock(kept_instant(at))
        poll = self._releasing.poll(at) or self._pipeline.turn(at)
        poll = replace(poll, events=(*self._events, *poll.events, *self._hear(poll)))
        self._events = []
        self._logbook.tell(poll)
        self._keep(poll)
        if self._require_gpu:
            self._require_gpu = poll.is_starting
            _refuse_blindness(poll)
        self._before = poll
        self._polls += 1
        self._with_readings += bool(poll.ledgers)
        self._board = self._tally.board(self._backlog.dropped, self._queues())
        self._turned_at = time.monotonic()
        return self._interval(poll)

    def _interval(self, poll: Poll) -> Seconds:
        """Return how long to wait for the next poll: less while it is seen whether memory comes back."""
        interval = poll.pace.interval if poll.pace else RELEASED_INTERVAL
        treatment = self._treatment
        self._pipeline.watched = treatment.watched if treatment else frozenset()
        return min(interval, (treatment and treatment.interval) or interval)

    def _hear(self, poll: Poll) -> list[Event]:
        """Return what the followed logs have said of memory since the last turn; whoever failed may be gone
        from this poll's ledgers already, and still stand in those before."""
        if self._logs is None:
            return []
        ledgers = (*poll.ledgers, *(self._before.ledgers if self._before else ()))
        told = self._digest.take(self._logs.take(), poll.at.boottime)
        is_whole = not poll.missing
        return [oom_sightings.event(seen, repeated, ledgers, is_whole=is_whole) for seen, repeated in told]

    def _keep(self, poll: Poll) -> None:
        """Have ``poll`` judged, and stored with what was found and whom to tell: all in one transaction."""
        poll = self._judge.turn(poll)
        self._logbook.tell_moves(poll.transitions)
        if self._alerting:
            if self._probing:
                self._probing.let_go(poll.transitions)
            judged = len(poll.transitions)
            poll = self._alerting.turn(poll, self._ailing(poll))
            self._logbook.tell_moves(poll.transitions[judged:])
            self._logbook.tell_steps(poll.steps)
        is_kept = self._backlog.is_empty
        if self._treatment and self._alerting:
            poll = self._treatment.turn(poll, self._alerting.cases, is_kept=is_kept)
            self._alerting.heed(poll.actions, poll.at.wall)
        self._tally.turn(poll)
        self._backlog.remember(poll)
        if self._treatment:
            self._treatment.begin(poll, is_kept=self._backlog.is_empty)
        if self._outbox:
            self._outbox.expect(poll.steps)
            self._outbox.turn(poll.at.wall)

    def _count_anew(self) -> None:
        """Have the board go on from the incidents that are open in the store."""
        try:
            self._tally.take_up(self._store.open_incidents())
        except StoreError as error:
            logger.error("open incidents not shown until they move because=%r", str(error))

    def _queues(self) -> dict[str, Queue]:
        outbox = self._outbox
        if outbox is None:
            return {}
        return {name: Queue(count, name in outbox.failing) for name, count in outbox.under_way.items()}

    def _ailing(self, poll: Poll) -> Iterator[Trouble]:
        """Yield what is wrong with vramwatch itself."""
        if trouble := blindness(poll):
            yield trouble
        if self._backlog.fault:
            yield Trouble(STORE, f"what is seen cannot be kept: {self._backlog.fault}")
        if self.misconfigured:
            yield Trouble(CONFIGURATION, f"the configuration was kept as it was: {self.misconfigured}")
        yield from self._probing.troubles() if self._probing else ()
        for channel, reason in self._outbox.failing.items() if self._outbox else ():
            yield Trouble(f"{CHANNEL} {channel}", f"channel {channel} cannot be told anything: {reason}")

    def _use_the_time(self, at: Instant, interval: Seconds) -> None:
        """Use what is left until the next poll; a feed that does not wait for the clock has all the time."""
        left = Seconds(interval - (time.monotonic() - self._turn_began)) if self._feed.live else Seconds(inf)
        if self._judge.is_behind:
            longest = CATCH_UP_LONGEST if self._feed.live else left
            self._judge.catch_up(max(CATCH_UP_LEAST, min(longest, Seconds(left / 2))))
        elif left > 0:
            self._backlog.tend(at, min(TEND_LONGEST, left))
            self._put_down()

    def _put_down(self, *, is_end: bool = False) -> None:
        """Have the judge write a checkpoint if one is due and no poll waits for the store."""
        if not self._backlog.is_empty:
            return
        if self._lost != self._backlog.dropped:
            self._lost = self._backlog.dropped
            self._judge.hurry()
        self._judge.put_down(is_end=is_end)

    def _end(self) -> None:
        if self._cold:
            self._cold.close()
        if self._probe_timer:
            self._probe_timer.close()
        if self._logs:
            self._logs.close()
        self._feed.source.close()
        if self._treatment:
            self._treatment.close()
        if self._outbox:
            self._outbox.close()
        self._put_down(is_end=True)
        self._judge.close()
        self._backlog.close()

    def _mind_the_clock(self, at: Instant) -> Instant:
        """Note steps of the wall clock, and keep a hole between two polls as a Gap of its own."""
        before = self._before
        if before is None or not self._feed.live:
            return at
        elapsed = at.boottime - before.at.boottime
        step = at.wall - before.at.wall - elapsed
        if abs(step) > CLOCK_STEP:
            self.note(Event(EventKind.CLOCK_STEP, f"the wall clock moved by {step:+.1f} s"))
            if self._cold:
                self._cold.reschedule()
        interval = before.pace.interval if before.pace else RELEASED_INTERVAL
        if elapsed <= max(STALL_POLLS * interval, STALL_SECONDS):
            return at
        why = Fault(FaultKind.STALLED, f"no poll for {show_seconds(elapsed)}: asleep, or held up")
        start = replace(at, wall=before.at.wall + interval, boottime=before.at.boottime + interval)
        self._keep(Poll(kept_instant(start), missing=(Missing(None, why),)))
        return kept_instant(self._feed.clock.now())

    def _start_cold_jobs(self) -> ColdJobs:
        cold = ColdJobs()
        if self._find_holders:
            cold.every(HOLDERS_INTERVAL, "ghost holders", self._look_for_holders)
        if digests := self._digests:
            cold.every(DIGEST_INTERVAL, "digest", lambda: digests.look(self.call))
        if (timer := self._probe_timer) and (probing := self._probing):
            failed = probing.fail
            cold.every(
                PROBE_INTERVAL, "probe", lambda: timer.look(lambda why: self.call(lambda: failed(why)))
            )
        return cold

    def _look_for_holders(self) -> None:
        """Name who keeps the device files open while bytes are held by nobody. Runs on a cold thread."""
        poll = self._before
        if self._find_holders is None or poll is None or not any(map(_has_ghosts, poll.ledgers)):
            return
        found = self._find_holders(poll)
        if found and found != self._holders:
            self._holders = found
            self.call(lambda: self.note(Event(EventKind.GHOST_HOLDER, found)))

    # --- what an operator asks for ----------------------------------------------------------------

    def _say_hello(self, request: Request) -> Reply:
        return {
            "polls": self._polls,
            "blind": self._logbook.blind,
            "store": self._backlog.fault,
            "path": str(self._store.path.absolute()),
            "writes": mark(self._store.path),
            "source": self._store.source,
        }

    def _find_room(self, request: Request) -> Reply:
        """Return the GPU that has room for a run of the probe, or why none has."""
        ledgers = self._before.ledgers if self._before else ()
        cases = self._alerting.cases if self._alerting else ()
        firing = {each.incident.subject.gpu for each in cases if each.incident.state is State.FIRING}
        return self._probing.room(ledgers, firing) if self._probing else {}

    def _tell_workers(self, request: Request) -> Reply:
        """Return who has enrolled and how each is; "workers" null: none can."""
        if self._workers is None:
            return {"workers": None}
        ledgers = self._before.ledgers if self._before else ()
        enrolled = self._workers.enrolled().values()
        return {"workers": [worker_record(each, ledgers, self._now.boottime) for each in enrolled]}

    def _tell_models(self, request: Request) -> Reply:
        """Return what engines say that they have loaded, model by model; "models" null: none is asked."""
        return {"models": None if self._loaded is None else [loaded_record(each) for each in self._loaded()]}

    def _tell_free(self, request: Request) -> Reply:
        """Return what is free on each GPU, by the newest poll; "time" null: there was none yet."""
        poll = self._before
        return {
            "time": poll.at.wall if poll else None,
            "writes": mark(self._store.path),
            "gpus": [free_record(each) for each in poll.ledgers] if poll else [],
        }

    def note(self, event: Event) -> None:
        """Have ``event`` stored with the next poll; called between two turns."""
        self._events.append(event)


def _has_ghosts(ledger: Ledger) -> bool:
    return ledger.ghost_bytes > 0 or Explanation.NOBODY in ledger.explanations


def _refuse_blindness(poll: Poll) -> None:
    if poll.ledgers or poll.is_starting:
        return
    why = poll.missing[0].fault.detail if poll.missing else "the driver is there and has no GPU"
    raise NoDeviceError(f"{why}; to see vramwatch without a GPU: make try")
