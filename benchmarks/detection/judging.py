"""What a program made of one recording, beside the truth. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.detection.alarms import Alarm, Forecast, Line, Span, alarms, blames, first_apart
from benchmarks.detection.cases import Case, Cause, Group
from benchmarks.detection.programs import Answer

ANY_ALARM_COUNTS = frozenset({Group.SPIKE, Group.POOL})
"""Groups in which nothing need grow for the alarm to be right, so that its cause may say so."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One recording with its alarms; ``twin_spans``: when the same recording without the growth fired."""

    case: Case
    answer: Answer
    alarms: tuple[Alarm, ...]
    twin_spans: tuple[Span, ...] = ()

    @property
    def found(self) -> float | None:
        """When the growth was found: the first alarm before the end that the twin does not have.

        Unix seconds. None: not found.
        """
        truth = self.case.truth
        spans = [
            (alarm.begin, alarm.end)
            for alarm in self.alarms
            if blames(alarm) or self.case.group in ANY_ALARM_COUNTS
        ]
        time = first_apart(spans, self.twin_spans, truth.begin)
        return time if time is not None and time < truth.end else None

    @property
    def delay(self) -> float | None:
        """How much of the time to exhaustion had passed when it was found: 0 to 1. None: not found."""
        truth, found = self.case.truth, self.found
        if found is None:
            return None
        return max(0.0, (found - truth.life) / (truth.end - truth.life))

    @property
    def is_blamed(self) -> bool:
        """Whether any alarm says that memory grows."""
        return any(blames(alarm) for alarm in self.alarms)

    @property
    def cause(self) -> Cause | None:
        """The cause as last told before the end by the first alarm that blames, else by the first.

        None: no alarm.
        """
        truth = self.case.truth
        standing = [
            a for a in self.alarms if not truth.grows or (truth.begin <= a.end and a.begin < truth.end)
        ]
        ordered = sorted(standing, key=lambda alarm: (not blames(alarm), alarm.begin))
        return ordered[0].cause(truth.end if truth.grows else self.case.last + 1) if ordered else None

    @property
    def forecast(self) -> Forecast | None:
        """The newest forecast that stood when half of the life was over. None: it abstained."""
        truth = self.case.truth
        half = (truth.life + truth.end) / 2
        standing: dict[str, Line] = {}
        for line in self.answer.lines:
            if truth.life <= line.time <= half:
                standing[line.incident] = line
        told = [line for line in standing.values() if line.state != "resolved" and line.forecast]
        return max(told, key=lambda line: line.time).forecast if told else None


def judge(cases: Iterable[Case], answers: Mapping[str, Answer]) -> tuple[Judged, ...]:
    """Return every case with its alarms and those of its twin."""
    cases = tuple(cases)
    fired = {case.name: alarms(answers[case.name].lines, case.last) for case in cases}
    return tuple(
        Judged(
            case,
            answers[case.name],
            fired[case.name],
            tuple((alarm.begin, alarm.end) for alarm in fired[case.twin]) if case.twin else (),
        )
        for case in cases
    )
