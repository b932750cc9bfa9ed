"""Keeps a reader alive, asks it, and says why it cannot. Implements core.ports.Source.

Signals and restarts are carried out as driver.lifecycle decides, from poll to poll; a poll never waits
longer than its deadline.
"""

import time
from signal import SIGKILL, SIGTERM, Signals

from vramwatch.core.model import Ask, Event, Fault, FaultKind, Instant, Missing, Reading, Readings
from vramwatch.core.units import Seconds
from vramwatch.driver.answers import fault, reading
from vramwatch.driver.lifecycle import GRACE, STUCK_AFTER, Lifecycle, Move, Phase
from vramwatch.driver.process import EXIT_WAIT, Babble, Ended, ReaderProcess
from vramwatch.driver.roster import Roster
from vramwatch.driver.wire import Answer, Calling, Farewell, GpuRow, Ready, Request

NO_GPU = Fault(FaultKind.NO_DRIVER, "the NVIDIA driver is loaded and shows no GPU")


class Keeper:
    """The reader's keeper. ``deadline`` bounds a poll, ``start_deadline`` the start of a reader."""

    def __init__(self, deadline: Seconds, start_deadline: Seconds) -> None:
        self._deadline = deadline
        self._start_deadline = start_deadline
        self._life = Lifecycle()
        self._roster = Roster()
        self._process: ReaderProcess | None = None
        self._stuck: list[ReaderProcess] = []
        self._events: list[Event] = []
        self._offset = 0.0  # boottime of a poll minus the monotonic clock: what time it is within a poll

    # --- core.ports.Source ------------------------------------------------------------------------

    def read(self, at: Instant, ask: Ask) -> Readings:
        """Return what ``ask`` asks for, within the deadline; what cannot be read is a Missing."""
        began = time.monotonic()
        self._offset = at.boottime - began
        self._look_after_the_dying()
        if self._life.may_start(self._now()):
            self._start()
        answer = self._exchange(ask, until=began + self._deadline)
        readings = self._readings(answer) if answer else None
        events, self._events = tuple(self._events), []
        if answer is None or readings is None:
            return Readings(missing=(Missing(None, self._life.fault),), events=events)
        seconds = {group: Seconds(spent) for group, spent in answer.seconds.items()}
        return Readings(*readings, events, seconds, answer.calls)

    def release(self) -> None:
        """End the reader, so that no GPU is open when this returns; after 6 s it is given up as stuck."""
        self._end()
        self._life = self._life.let_go()

    def resume(self) -> None:
        """Have the next poll start a reader."""
        self._life = self._life.taken_up()

    def close(self) -> None:
        """End the reader for good."""
        self._end()
        for process in self._stuck:
            process.close()

    # --- one poll ---------------------------------------------------------------------------------

    def _exchange(self, ask: Ask, until: float) -> Answer | None:
        """Return the reader's answer, None where there is none; the lifecycle then knows why."""
        process = self._process
        if process is None:
            return None
        try:
            if self._life.phase is Phase.STARTING:
                self._await_start(process, until)
            left = until - time.monotonic()
            if self._life.phase is not Phase.READY or left < self._deadline / 2:
                return None
            return self._await_answer(process, ask, left)
        except Ended:
            self._ended_unasked(process)
        except Babble as babble:
            self._make(self._life.babbled(self._now(), str(babble)))
        return None

    def _await_start(self, process: ReaderProcess, until: float) -> None:
        rest = self._life.since + self._start_deadline - self._now()
        told = process.answer(Seconds(max(0.0, min(until - time.monotonic(), rest))))
        if isinstance(told, Ready):
            self._life = self._life.ready(self._now())
        elif isinstance(told, Farewell):
            self._said_farewell(process, told)
        elif told:
            raise Babble("an answer before it was ready")
        elif self._now() >= self._life.since + self._start_deadline:
            self._make(self._life.overdue(self._now(), self._start_deadline, self._inside(process)))

    def _await_answer(self, process: ReaderProcess, ask: Ask, within: float) -> Answer | None:
        lists = None if ask.lists is None else sorted(ask.lists)
        process.ask(Request(lists, ask.slow, self._life.left_out(self._now())))
        told = process.answer(Seconds(within))
        if isinstance(told, Answer):
            self._life = self._life.answered(self._now())
            return told
        if isinstance(told, Farewell):
            self._said_farewell(process, told)
        elif told:
            raise Babble("what is no answer")
        else:
            self._make(self._life.overdue(self._now(), Seconds(within), self._inside(process)))
        return None

    def _readings(self, answer: Answer) -> tuple[tuple[Reading, ...], tuple[Missing, ...]] | None:
        """Return what was read and what is missing, None for an answer that makes no sense."""
        now = self._now()
        left_out = self._life.left_out(now)
        try:
            if answer.inventory is not None:
                self._events += self._roster.take(answer.inventory, left_out, now)
            rows = [GpuRow(*row) for row in answer.gpus]
            read = [reading(self._roster.gpu(row.uuid), row) for row in rows]
            missing = [Missing(self._roster.gpu(uuid), fault(row)) for uuid, row in answer.missing]
        except (ValueError, TypeError, LookupError) as error:
            self._make(self._life.babbled(now, f"what makes no sense: {error}"))
            return None
        for device, index in left_out.items():
            why = self._life.why_left_out(device, now)
            missing += (Missing(gpu, why) for gpu in self._roster.of_device(device, index))
        missing += self._roster.missing(now)
        missing += (one for one in read if isinstance(one, Missing))
        if self._roster.is_empty() and not missing:
            missing.append(Missing(None, NO_GPU))
        return tuple(one for one in read if isinstance(one, Reading)), tuple(missing)

    # --- the reader's life ------------------------------------------------------------------------

    def _start(self) -> None:
        now = self._now()
        try:
            self._process = ReaderProcess()
        except OSError as error:
            self._make(self._life.crashed(now, f"could not be started: {error}", None, None))
            return
        self._life = self._life.started(now)
        try:
            self._process.ask(Request([], False, self._life.left_out(now)))
        except Ended:
            self._ended_unasked(self._process)

    def _look_after_the_dying(self) -> None:
        for stuck in [stuck for stuck in self._stuck if stuck.has_ended()]:
            self._life = self._life.stuck_ended(stuck.pid)
            self._stuck.remove(stuck)
        process = self._process
        if process is None or self._life.phase is not Phase.ENDING:
            return
        if process.has_ended():
            self._life = self._life.ended(self._now())
            self._drop(process)
            return
        self._make(self._life.still_ending(self._now(), process.pid))
        if self._life.phase is Phase.ABSENT:
            self._stuck.append(process)
            self._drop(process)

    def _ended_unasked(self, process: ReaderProcess) -> None:
        inside = self._inside(process)
        status = process.wait(EXIT_WAIT)
        if status is None:
            gone = Fault(FaultKind.CRASHED, "the reader of the GPUs closed its end", inside and inside.call)
            self._make(self._life.lingers(self._now(), gone, inside))
            return
        how = f"was ended by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
        self._make(self._life.crashed(self._now(), how, -status if status < 0 else None, inside))
        self._drop(process)

    def _said_farewell(self, process: ReaderProcess, farewell: Farewell) -> None:
        why = fault(farewell.fault)
        if process.wait(EXIT_WAIT) is None:
            self._make(self._life.lingers(self._now(), why, self._inside(process)))
            return
        self._life = self._life.said_farewell(self._now(), why)
        self._drop(process)

    def _end(self) -> None:
        """End the reader as kindly as it lets itself be ended; give it up when not even SIGKILL does."""
        process = self._process
        if process is None:
            return
        process.hang_up()
        ended = process.wait(Seconds(0.0) if self._life.phase is Phase.ENDING else GRACE)
        for signal, patience in ((SIGTERM, GRACE), (SIGKILL, STUCK_AFTER)):
            if ended is None:
                process.signal(signal)
                ended = process.wait(patience)
        if ended is None:
            self._make(self._life.gave_up(self._now(), process.pid))
            self._stuck.append(process)
        self._drop(process)

    def _drop(self, process: ReaderProcess) -> None:
        process.close()
        self._process = None

    def _make(self, move: Move) -> None:
        self._life = move.life
        self._events += move.events
        if move.signal and self._process:
            self._process.signal(move.signal)

    def _inside(self, process: ReaderProcess) -> Calling | None:
        """Return the driver call that the reader is inside of, its GPU named by the device's UUID."""
        inside = process.calling()
        if inside is None or inside.gpu is None:
            return inside
        return inside._replace(gpu=self._roster.device(inside.gpu))

    def _now(self) -> float:
        return time.monotonic() + self._offset


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
