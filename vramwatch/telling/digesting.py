"""Gathers the daily or weekly digest from history, and hands it to the channels that ask for one."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import time, tzinfo
from pathlib import Path

from vramwatch.core.digests import Digest, Headroom, Holder, Noted, Period, digest_text, due
from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import State
from vramwatch.core.messages import MessageKind, item_of
from vramwatch.core.model import Gpu, Owner, SubjectKind
from vramwatch.core.policy import Withheld
from vramwatch.core.series import USED_BYTES
from vramwatch.core.units import MIB
from vramwatch.store import Chain, Entry, History, Step
from vramwatch.telling.outbox import Outbox

GROWN = 64 * MIB
"""Bytes by which an Owner must have grown to be named."""

HELD = 256 * MIB
"""Bytes that an idle Owner must hold to be named: a bare CUDA context is no news."""

IDLE_AFTER = 3 * 3600.0
"""Seconds without any work on a GPU after which those who hold memory on it are named."""

HOUR = 3600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """When a digest is made, and for which channels. ``zone`` None: that of this machine."""

    period: Period
    at: time
    channels: tuple[str, ...]
    zone: tzinfo | None = None


class Digests:
    """``look`` is called every minute or so on a thread of its own; it reads, and the polls go on."""

    def __init__(self, path: Path, outbox: Outbox, plan: Plan | None) -> None:
        """``path``: of the store. ``plan`` None: nobody wants a digest."""
        self._path = path
        self._outbox = outbox
        self._plan = plan
        self._made = float("-inf")  # unix seconds at which one was made in this life

    def reconfigure(self, plan: Plan | None) -> None:
        self._plan = plan

    def look(self, call: Callable[[Callable[[], None]], None]) -> None:
        """Have a digest sent if one is due; ``call`` has something done on the thread of the polls."""
        plan = self._plan
        if plan is None:
            return
        try:
            with closing(History.open(self._path)) as history:
                span = history.span()
                if span is None:
                    return
                now, last = span[1], history.casebook.last_digests()
                since = {each: max(last.get(each, span[0]), self._made) for each in plan.channels}
                asked = {each: due(at, now, plan.period, plan.at, plan.zone) for each, at in since.items()}
                found = [(each, stretch) for each, stretch in asked.items() if stretch is not None]
                if not found:
                    return
                # each is of the newest span; whoever was not sent it before a kill is sent it now
                text = digest_text(gather(history, *found[0][1]), self._outbox.host, plan.zone)
        except StoreError as error:
            logger.error("digest not made because=%r", str(error))
            return
        self._made = now
        call(lambda: self._send([each for each, _ in found], text, now))

    def _send(self, channels: Iterable[str], text: str, now: float) -> None:
        for channel in channels:
            self._outbox.send(channel, MessageKind.DIGEST, text, now)


def gather(history: History, since: float, until: float) -> Digest:
    """Return what is to be told of a span, unix seconds. Errors: StoreError."""
    gpus = {gpu.uuid: gpu for gpu in history.gpus()}
    begun, _ = history.span() or (since, until)
    entries = [each for each in history.casebook.entries(since) if each.case.incident.opened <= until]
    fired = [each for each in entries if _has_fired(each, since)]
    told = tuple(_noted(history, each) for each in fired)
    pending = [each for each in entries if each.case.incident.state is State.PENDING and each not in fired]
    return Digest(
        since,
        until,
        tuple(each for each in told if each.told),
        tuple(each for each in told if not each.told),
        tuple(Noted(item_of(each.case)) for each in pending),
        tuple(_growers(history, gpus, max(since, begun), until)),
        tuple(_idlers(history, gpus, until)),
        tuple(_rooms(history, gpus, since, until)),
    )


def _has_fired(entry: Entry, since: float) -> bool:
    return entry.case.incident.state is State.FIRING or any(each >= since for each in entry.case.openings)


def _noted(history: History, entry: Entry) -> Noted:
    chain: Chain = history.casebook.chain(entry.case.incident.id)
    withheld = [row.step for row in chain.steps if isinstance(row.step, Withheld)]
    why = "not delivered" if chain.steps else "there was no channel"
    if withheld:
        why = f"withheld ({withheld[-1].reason}): {withheld[-1].detail}"
    return Noted(item_of(entry.case), entry.told, why)


def _growers(history: History, gpus: dict[str, Gpu], since: float, until: float) -> list[Holder]:
    names = {row.key: row for row in history.series(kind=SubjectKind.OWNER, quantity=USED_BYTES)}
    grown = []
    for key, (first, last) in history.change(since, until, quantity=USED_BYTES).items():
        if key in names and first is not None and last is not None and last - first >= GROWN:
            name, gpu = _name(names[key].owner, key.subject), _ordinal(gpus, key.gpu)
            grown.append(Holder(name, gpu, round(last), round(last - first)))
    return sorted(grown, key=lambda each: -each.gained)


def _idlers(history: History, gpus: dict[str, Gpu], until: float) -> list[Holder]:
    """Return who holds memory on GPUs that have done no work for hours; a GPU that tells nothing is none."""
    found: list[Holder] = []
    for row in history.series(kind=SubjectKind.GPU, quantity="utilization_ratio"):
        hours = history.steps([row], until - 24 * HOUR, until, HOUR).get(row.id, [])
        idle = _idle_for(hours, until)
        if idle < IDLE_AFTER:
            continue
        for owner in history.series(gpu=row.key.gpu, kind=SubjectKind.OWNER, quantity=USED_BYTES):
            held = history.value_at(owner, until)
            if held is not None and held >= HELD:
                name = _name(owner.owner, owner.key.subject)
                found.append(Holder(name, _ordinal(gpus, row.key.gpu), round(held), idle=idle))
    return sorted(found, key=lambda each: -each.held)


def _idle_for(hours: Sequence[Step], until: float) -> float:
    """Return the seconds before ``until`` in whose whole hours no work was seen; they must have been read."""
    begin = until
    for hour in reversed(hours):
        if hour.maximum > 0 or begin - hour.start > 2 * HOUR:
            break
        begin = hour.start
    return until - begin


def _rooms(history: History, gpus: dict[str, Gpu], since: float, until: float) -> Iterator[Headroom]:
    rows = history.series(kind=SubjectKind.GPU, quantity=USED_BYTES)
    peaks = history.peaks(rows, since, until)
    totals = history.change(until, until, quantity="total_bytes")
    by_gpu = {key.gpu: total for key, (_, total) in totals.items() if key.kind is SubjectKind.GPU and total}
    for row in rows:
        gpu, peak = gpus.get(row.key.gpu), peaks.get(row.id)
        if gpu and peak and peak.value is not None and gpu.uuid in by_gpu:
            yield Headroom(gpu.ordinal, gpu.name, round(by_gpu[gpu.uuid]), round(peak.value))


def _name(owner: Owner | None, key: str) -> str:
    return owner.name if owner and owner.name else key


def _ordinal(gpus: dict[str, Gpu], uuid: str) -> str:
    return gpus[uuid].ordinal if uuid in gpus else uuid
