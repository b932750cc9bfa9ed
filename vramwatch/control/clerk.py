"""Carries out what people ask of incidents, silences and channels, between two polls.

Who asks is what the kernel says of the caller; a name that is given beside it is kept with it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from math import isfinite, nan
from typing import Any

from vramwatch.control.control import ControlError, MisusedError, Request
from vramwatch.control.errands import Later, Reply
from vramwatch.core.addressing import AMBIGUOUS, SHOWN, bare_id, which
from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import State
from vramwatch.core.messages import MessageKind
from vramwatch.core.outgoing import Delivered, Outcome
from vramwatch.core.policy import Acknowledgement, Case
from vramwatch.core.silences import Matcher, Silence
from vramwatch.core.texts import clean
from vramwatch.core.units import parse_seconds, show_seconds
from vramwatch.judging.judge import Judge
from vramwatch.store import Remark, RemarkKind
from vramwatch.store.desk import Desk
from vramwatch.telling.alerting import Alerting
from vramwatch.telling.outbox import Outbox

LONGEST_TEXT = 500
"""Characters of a note, a reason or a glob."""

LONGEST_SILENCE = 365 * 86400.0
"""Seconds. Who wants to hear of something never writes a filter."""

SEND_WITHIN = 55.0
"""Seconds that a test message has to be answered."""

_GLOB = frozenset("*?[")
"""What makes a text stand for several."""

_NUMBERED = re.compile(r"s(\d+)")


class Clerk:
    """For the thread of the polls. Errors of every verb: ControlError, which refuses it."""

    def __init__(self, desk: Desk, judge: Judge, alerting: Alerting, outbox: Outbox) -> None:
        self._desk = desk
        self._judge = judge
        self._alerting = alerting
        self._outbox = outbox
        self._now = 0.0
        self._verbs: Mapping[str, Callable[[Request], Reply | Later]] = {
            "ack": self._acknowledge,
            "resolve": self._resolve,
            "mark": self._mark,
            "silence": self._silence,
            "expire": self._expire,
            "send": self._send,
        }

    @property
    def verbs(self) -> Iterable[str]:
        return self._verbs

    def do(self, request: Request, now: float) -> Reply | Later:
        """Carry ``request`` out at ``now`` (unix seconds); return its reply, or what waits for it."""
        self._now = now
        try:
            return self._verbs[request.verb](request)
        except StoreError as error:
            raise ControlError(str(error)) from error

    # --- incidents --------------------------------------------------------------------------------

    def _acknowledge(self, request: Request) -> Reply:
        case = self._case(request)
        remark = self._remark(request, case, RemarkKind.ACK)
        if case.incident.state is State.RESOLVED:
            raise ControlError(f"incident {case.incident.id} is over; there is nothing to acknowledge")
        self._desk.write_remark(remark)
        told = Acknowledgement(remark.wall, remark.author, remark.note, remark.severity)
        self._alerting.acknowledge(case.incident.id, told)
        return _reply(remark)

    def _resolve(self, request: Request) -> Reply:
        case = self._case(request)
        remark = self._remark(request, case, RemarkKind.RESOLVE)
        if case.incident.state is State.RESOLVED:
            raise ControlError(f"incident {case.incident.id} is over already")
        self._desk.write_remark(remark)
        self._judge.dismiss(case.incident)
        return _reply(remark)

    def _mark(self, request: Request) -> Reply:
        try:
            kind = RemarkKind(str(request.arguments.get("as")))
        except ValueError:
            raise MisusedError("mark takes false_alarm or true_alarm") from None
        remark = self._remark(request, self._case(request), kind)
        self._desk.write_remark(remark)
        return _reply(remark)

    def _case(self, request: Request) -> Case:
        """Return the incident that is asked for, as it stands in the store."""
        return self._desk.case(self._incident(str(request.arguments.get("incident", ""))))

    def _incident(self, written: str) -> str:
        """Return the id of the incident that is meant. Errors: ControlError."""
        try:
            bare = bare_id(written, (self._outbox.host.name, *self._desk.hosts()))
            listing = self._outbox.host.whereabouts.reading("incidents")
            return which(bare, self._desk.beginning(bare, AMBIGUOUS), listing)
        except ValueError as error:
            raise MisusedError(str(error)) from None

    def _remark(self, request: Request, case: Case, kind: RemarkKind) -> Remark:
        by = _text(request, "by")
        author = f"{by} as {request.author}" if by else request.author
        severity = case.incident.judgement.severity
        return Remark(case.incident.id, self._now, kind, author, _text(request, "note"), severity)

    # --- silences ---------------------------------------------------------------------------------

    def _silence(self, request: Request) -> Reply:
        reason = _text(request, "reason")
        if not reason:
            raise MisusedError("a silence needs a reason, for those who wonder")
        try:
            globs = {str(name): str(glob) for name, glob in dict(request.arguments["globs"]).items()}
            if not _GLOB & set(globs.get("incident", "*")):
                globs["incident"] = self._incident(globs["incident"])
            self._refuse_unknown_gpu(globs)
            matcher = Matcher(globs)
        except (ValueError, TypeError, KeyError) as error:
            raise MisusedError(f"what to silence is not understood: {error}") from None
        if any(len(glob) > LONGEST_TEXT for glob in globs.values()):
            raise MisusedError(f"a glob has at most {LONGEST_TEXT} characters")
        silence = Silence(
            self._new_id(), request.author, reason, self._now, self._until(request.arguments), matcher
        )
        self._alerting.silence(silence)
        return {"id": silence.id, "until": silence.until, "silences": str(matcher)}

    def _refuse_unknown_gpu(self, globs: Mapping[str, str]) -> None:
        """Refuse a GPU that was never met; as long as none was, any may be silenced. Errors: MisusedError."""
        gpus, glob = self._desk.gpus(), globs.get("gpu")
        if glob is None or not gpus:
            return
        if not any(fnmatchcase(name, glob) for gpu in gpus for name in (gpu.ordinal, gpu.uuid)):
            there = ", ".join(f"{gpu.ordinal} ({gpu.uuid})" for gpu in gpus)
            raise MisusedError(f"no GPU is called {glob[:SHOWN]!r}; there are: {there}")

    def _until(self, arguments: Mapping[str, Any]) -> float:
        """Return the end of a silence, unix seconds, of the arguments ``for`` or ``until``."""
        try:
            asked = arguments.get("for")
            span = float(arguments["until"]) - self._now if asked is None else parse_seconds(str(asked))
        except (ValueError, TypeError, KeyError, OverflowError):
            span = nan
        if not isfinite(span):
            raise MisusedError("a silence needs an end: for (2h) or until (unix seconds)")
        if not 0 < span <= LONGEST_SILENCE:
            most = show_seconds(LONGEST_SILENCE)
            raise MisusedError(
                f"a silence lasts more than 0 and at most {most}, as in 2h; this is {show_seconds(span)}"
            )
        return self._now + span

    def _new_id(self) -> str:
        """Return an id that no silence ever had: "s1", "s2"."""
        numbers = [_NUMBERED.fullmatch(each.id) for each in self._desk.silences()]
        return f"s{max((int(match[1]) for match in numbers if match), default=0) + 1}"

    def _expire(self, request: Request) -> Reply:
        id = str(request.arguments.get("silence", ""))
        ended = self._alerting.expire(id, self._now)
        if ended is None:
            there = ", ".join(sorted(self._alerting.silences)) or "none"
            raise MisusedError(f"no silence {id[:SHOWN]!r} holds; those that do: {there}")
        return {"id": ended.id, "until": self._now, "group_wait_seconds": self._alerting.group_wait}

    # --- channels ---------------------------------------------------------------------------------

    def _send(self, request: Request) -> Later:
        channel = str(request.arguments.get("channel", ""))
        pending = self._outbox.send(channel, MessageKind.TEST, test_words(request.author), self._now)
        if pending is None:
            raise MisusedError(no_channel(channel, self._outbox.channels))
        return lambda: outcome_record(pending.wait(SEND_WITHIN))


def test_words(author: str) -> str:
    """Return what a test message says; ``author``: who asked for it."""
    return f"A test, asked for by {clean(author)}. Nothing is wrong."


def no_channel(name: str, there: Iterable[str]) -> str:
    """Return what is said where no channel has that name."""
    known = ", ".join(there)
    if not known:
        return "no channel is configured; write one in the section channels, and reload (SIGHUP)"
    return f"no channel {name[:SHOWN]!r}; there are: {known}"


def outcome_record(outcome: Outcome | None) -> Reply:
    """Return what a receiver answered; None: nothing yet."""
    if outcome is None:
        return {"outcome": "unknown", "detail": f"no answer within {SEND_WITHIN:g} s"}
    detail = outcome.detail if isinstance(outcome, Delivered) else outcome.reason
    return {"outcome": type(outcome).__name__.lower(), "detail": detail}


def _reply(remark: Remark) -> Reply:
    return {"incident": remark.incident, "author": remark.author}


def _text(request: Request, name: str) -> str:
    text = str(request.arguments.get(name) or "")
    if len(text) > LONGEST_TEXT:
        raise MisusedError(f"{name} is too long: at most {LONGEST_TEXT} characters")
    return clean(text)
