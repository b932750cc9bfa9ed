"""Writes a Board as Prometheus and OpenMetrics read it; touches neither driver nor store.

Labels that are not known are left out: to Prometheus an absent label and an empty one are the same.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from vramwatch import __version__
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Transition
from vramwatch.core.model import Gpu, Holding, Ledger, SubjectKind
from vramwatch.core.owners import told_owner
from vramwatch.core.poll import Poll
from vramwatch.core.texts import clean
from vramwatch.web import catalogue as of
from vramwatch.web.board import Board, Remedies
from vramwatch.web.catalogue import MetricFamily
from vramwatch.web.health import Vitals

LONGEST_LABEL = 128
"""Characters of a label's value; other users choose the names of pods, units and jobs."""

MOST_GPUS, MOST_OWNERS, MOST_PROCESSES, MOST_INCIDENTS = 128, 256, 1024, 512
"""GPUs; owners and processes on each of them; incidents: so many are told of by name."""

OTHERS = "(others)"
"""The owner that owners beyond the bound are summed up as."""

REMEMBERED_LABELS = 8192

Labels = dict[str, str]
Place = tuple[tuple[str, str], ...]


class Metrics:
    """Answers scrapes, for one caller at a time. A scrape sees one Board from its first line to its last.

    An answer is kept until the next poll, and for a second at most, so that a caller who asks again and
    again costs the daemon no more than one who asks once a second.
    """

    def __init__(self, board: Callable[[], Board], vitals: Callable[[], Vitals], *, processes: bool) -> None:
        """``processes``: whether single processes are told of, by pid."""
        self._board = board
        self._vitals = vitals
        self._processes = processes
        self._own = ProcessCollector(registry=None)
        self._cut: Counter[str] = Counter()  # of all answers so far
        self._answered: tuple[Board, object] | None = None  # what the answers that are kept were made of
        self._answers: dict[str, bytes] = {}  # by content type

    def answer(self, accept: str) -> tuple[bytes, str]:
        """Return the text of a scrape and its content type, which ``accept`` (RFC 9110, 12.5.1) chooses."""
        encode, content_type = choose_encoder(accept)
        board, vitals = self._board(), self._vitals()
        moment = vitals.polls, int(vitals.age), vitals.is_healthy, vitals.is_ready
        if self._answered is None or self._answered[0] is not board or self._answered[1] != moment:
            self._answered, self._answers = (board, moment), {}
        if content_type not in self._answers:
            self._answers[content_type] = encode(_Answer(self._page(board, vitals), self._own))
        return self._answers[content_type], content_type

    def _page(self, board: Board, vitals: Vitals) -> "_Page":
        page = _Page(self._processes)
        page.tell(board, vitals)
        self._cut += page.cut
        for family in (of.TOTAL, of.OWNER_USED, of.PROCESS_USED, of.INCIDENT):
            page.add(of.CUT, self._cut[family.name], metric=family.name)
        return page


class _Answer(Collector):
    """One answer: the families of a page, and what the kernel says of this process."""

    def __init__(self, page: "_Page", own: Collector) -> None:
        self._page = page
        self._own = own

    def collect(self) -> Iterator[Metric]:
        yield from self._page.metrics()
        yield from self._own.collect()


class _Page:
    """The families of one answer, filled in sample by sample."""

    def __init__(self, processes: bool) -> None:
        self.cut: Counter[str] = Counter()
        self._processes = processes
        self._metrics: dict[str, Metric] = {}

    def metrics(self) -> Iterable[Metric]:
        return (self._metrics[name] for name in sorted(self._metrics))

    def add(
        self, family: MetricFamily, value: float | None, labels: Labels | None = None, **more: str
    ) -> None:
        """Add one sample; None: it is not known, so there is none."""
        if value is None or not math.isfinite(value):
            return
        metric = self._metrics.get(family.name)
        if metric is None:
            metric = Metric(family.bare, family.help, family.kind, family.unit)
            self._metrics[family.name] = metric
        metric.add_sample(family.name, {**labels, **more} if labels else more, value)

    def tell(self, board: Board, vitals: Vitals) -> None:
        self._tell_of_ourselves(board, vitals)
        self._tell_of_remedies(board.remedies)
        poll = board.poll if vitals.is_healthy else None  # what a stuck loop saw last is no longer so
        if poll is None:
            return
        for missing in poll.missing[:MOST_GPUS]:
            labels = _gpu_labels(missing.gpu) if missing.gpu else {}
            self.add(of.UNREADABLE, 1, labels, reason=missing.fault.kind.value)
        self.cut[of.TOTAL.name] += max(0, len(poll.ledgers) - MOST_GPUS)
        for ledger in poll.ledgers[:MOST_GPUS]:
            self._tell_of_gpu(ledger)
            self._tell_of_owners(ledger)
        self._tell_of_incidents(board.incidents, poll)

    def _tell_of_ourselves(self, board: Board, vitals: Vitals) -> None:
        poll = board.poll
        pace = poll.pace if poll else None
        sees = poll is not None and bool(poll.ledgers) and vitals.is_healthy
        self.add(of.BUILD, 1, version=__version__)
        self.add(of.UP, sees)
        self.add(of.READY, vitals.is_ready)
        self.add(of.POLLS, vitals.polls)
        self.add(of.READ_POLLS, vitals.readings)
        self.add(of.LAST_POLL, poll.at.wall if poll else None)
        self.add(of.LAG, vitals.lag)
        self.add(of.INTERVAL, pace.interval if pace else None)
        self.add(of.DRIVER_SHARE, pace.driver_share if pace else None)
        self.add(of.BLIND_SECONDS, board.blind_seconds)
        self.add(of.STORE_UP, vitals.store is None)
        self.add(of.LOST_POLLS, board.lost_polls)
        for (function, code), count in board.driver_errors.items():
            self.add(of.DRIVER_ERRORS, count, function=function, code=code)
        for channel, queue in board.queues.items():
            self.add(of.OUTBOX, queue.messages, channel=_label(channel))
            self.add(of.FAILING, queue.failing, channel=_label(channel))
        for (pattern, cause, state), count in board.moves.items():
            self.add(of.MOVES, count, pattern=pattern, cause=cause, state=state)

    def _tell_of_remedies(self, told: Remedies) -> None:
        for remedy, count in told.attempts.items():
            self.add(of.REMEDIES, count, remedy=remedy)
        for (remedy, result), count in told.results.items():
            self.add(of.RESULTS, count, remedy=remedy, result=result)
        for remedy, freed in told.freed.items():
            self.add(of.FREED, freed, remedy=remedy)
        for hindrance, count in told.withheld.items():
            self.add(of.WITHHELD, count, hindrance=hindrance)

    def _tell_of_gpu(self, ledger: Ledger) -> None:
        gpu, memory, reading = ledger.gpu, ledger.memory, ledger.reading
        labels = _gpu_labels(gpu)
        parent = {"parent": gpu.parent} if gpu.parent else {}
        self.add(of.GPU_INFO, 1, labels, name=_label(gpu.name), **parent)
        self.add(of.TOTAL, memory.total, labels)
        self.add(of.USED, memory.used, labels)
        self.add(of.FREE, memory.free, labels)
        self.add(of.RESERVED, memory.reserved, labels)
        self.add(of.UTILIZATION, reading.utilization, labels)
        self.add(of.TEMPERATURE, reading.temperature, labels)
        self.add(of.POWER, reading.power, labels)
        if ledger.listed is not None:
            self.add(of.UNATTRIBUTED, ledger.unattributed, labels)
            self.add(of.GHOST, ledger.ghost_bytes, labels)

    def _tell_of_owners(self, ledger: Ledger) -> None:
        places = {holding.pid: _place(holding) for holding in ledger.holdings}
        named = dict.fromkeys(places.values())  # largest first, as the holdings are
        self.cut[of.OWNER_USED.name] += max(0, len(named) - MOST_OWNERS)
        for beyond in list(named)[MOST_OWNERS:]:
            named[beyond] = (("owner", OTHERS),)
        places = {pid: named[place] or place for pid, place in places.items()}
        labels = {place: {**_gpu_labels(ledger.gpu), **dict(place)} for place in places.values()}
        held: dict[Place, float] = dict.fromkeys(labels, 0.0)
        for holding in ledger.holdings:  # one that is withheld leaves its owner without a sum
            held[places[holding.pid]] += math.nan if holding.held is None else holding.held
        for place, count in Counter(places.values()).items():
            self.add(of.OWNER_USED, held[place], labels[place])
            self.add(of.OWNER_PROCESSES, count, labels[place])
        self._tell_of_layers(ledger, places, labels)
        if self._processes:
            self.cut[of.PROCESS_USED.name] += max(0, len(ledger.holdings) - MOST_PROCESSES)
            for holding in ledger.holdings[:MOST_PROCESSES]:
                where = labels[places[holding.pid]]
                self.add(of.PROCESS_USED, holding.held, where, pid=str(holding.pid))

    def _tell_of_layers(
        self, ledger: Ledger, places: Mapping[int, Place], labels: Mapping[Place, Labels]
    ) -> None:
        told = {(gauge.pid, gauge.quantity): gauge.value for gauge in ledger.reading.gauges}
        values: dict[tuple[str, Place], list[float]] = {}
        for (pid, quantity), value in told.items():
            if pid in places:
                values.setdefault((quantity, places[pid]), []).append(value)
        for (quantity, place), figures in values.items():
            if summed := of.LAYERS.get(quantity):
                self.add(summed, sum(figures), labels[place])
            elif highest := of.HIGHEST.get(quantity):
                self.add(highest, max(figures), labels[place])

    def _tell_of_incidents(self, incidents: tuple[Transition, ...], poll: Poll) -> None:
        ordinals = {ledger.gpu.uuid: ledger.gpu.ordinal for ledger in poll.ledgers}
        self.cut[of.INCIDENT.name] += max(0, len(incidents) - MOST_INCIDENTS)
        for moved in incidents[-MOST_INCIDENTS:]:
            judged = moved.incident.judgement
            labels = {"incident": moved.incident.id, **_subject_labels(moved, ordinals)}
            self.add(
                of.INCIDENT,
                1,
                labels,
                pattern=judged.pattern,
                cause=judged.cause.value,
                severity=judged.severity.value,
                state=moved.incident.state.value,
            )
            if rate := judged.rate:
                self.add(of.GROWTH, rate.median, labels)
                self.add(of.GROWTH_LOW, rate.low, labels)
                self.add(of.GROWTH_HIGH, rate.high, labels)
            if isinstance(judged.forecast, Exhaustion):
                now, forecast = poll.at.wall, judged.forecast
                self.add(of.EXHAUSTION, max(0.0, forecast.at - now), labels)
                self.add(of.EXHAUSTION_LOW, max(0.0, forecast.low - now), labels)
                self.add(of.EXHAUSTION_HIGH, max(0.0, forecast.high - now), labels)


@lru_cache(REMEMBERED_LABELS)
def _label(text: str) -> str:
    return clean(text)[:LONGEST_LABEL]


def _gpu_labels(gpu: Gpu) -> Labels:
    return {"gpu": gpu.ordinal, "uuid": gpu.uuid}


def _place(holding: Holding) -> Place:
    """Return under which labels a process counts; several may share them."""
    facts, owner = holding.tenant.facts, holding.tenant.owner
    container, pod, job = facts.container, facts.pod, facts.slurm
    known = (
        ("owner", owner.name),
        ("team", owner.team),
        ("container", (container.name or container.id[:12]) if container else None),
        ("pod", (pod.name or pod.uid) if pod else None),
        ("namespace", pod.namespace if pod else None),
        ("unit", facts.unit),
        ("slurm_job", job.job if job else None),
    )
    return tuple((name, _label(text)) for name, text in known if text)


def _subject_labels(moved: Transition, ordinals: Mapping[str, str]) -> Labels:
    """Return whom an incident is about, by the names that the owners' metrics have too."""
    subject, scene = moved.incident.subject, moved.scene
    labels = {"subject": subject.kind.value}
    if subject.kind is not SubjectKind.VRAMWATCH:
        labels["uuid"] = subject.gpu
        if ordinal := ordinals.get(subject.gpu) or (scene.gpu if scene else None):
            labels["gpu"] = ordinal
    if subject.owner:
        known = told_owner(subject.owner)
        name = (scene.owner if scene else None) or (known.name if known else subject.owner)
        labels["owner"] = _label(name)
    return labels
