"""Levels that return shifted: the candidate of vramwatch itself (core.recurrence), on whole GPUs alone."""

from dataclasses import dataclass, field

from benchmarks.detection.recordings import Sample
from vramwatch.core.recurrence import Recurrence

EMPTY = 0.02  # of the capacity: below it the service has ended, and what comes next is another life


@dataclass(slots=True)
class LevelReturn:
    """Fires while the returns agree on a rate, by busy time or by the clock."""

    _by_work: Recurrence = field(default_factory=Recurrence)
    _by_time: Recurrence = field(default_factory=Recurrence)
    _busy: float = 0.0
    _before: float | None = None
    _is_clear: bool = False

    def fires(self, sample: Sample) -> bool:
        if sample.used < EMPTY * sample.total:
            self._by_work, self._by_time, self._is_clear = Recurrence(), Recurrence(), False
            return False
        if self._before is not None:
            self._busy += (sample.time - self._before) * (sample.utilization or 0.0)
        self._before = sample.time
        came = self._by_work.fold(sample.time, sample.used, self._busy)
        came |= self._by_time.fold(sample.time, sample.used, sample.time)
        if came:
            peaks = (self._by_work.peak(), self._by_time.peak())
            self._is_clear = any(peak is not None and peak.is_clear for peak in peaks)
        return self._is_clear
