"""``predict_linear(used[window], ahead) > total``, as alert rules for Prometheus have it.

Source: functions.go of Prometheus 3, linearRegression: least squares. A window that is not yet
full is not judged: the first minutes after a start would else decide.
"""

from dataclasses import dataclass, field

from benchmarks.detection.baselines.line import FULL, SlidingLine
from benchmarks.detection.recordings import MIB, Sample


@dataclass(slots=True)
class PredictLinear:
    """Seconds."""

    window: float
    ahead: float
    _line: SlidingLine = field(init=False)

    def __post_init__(self) -> None:
        self._line = SlidingLine(self.window)

    def fires(self, sample: Sample) -> bool:
        self._line.add(sample.time, sample.used / MIB)
        is_full = self._line.span >= FULL * self.window
        return is_full and self._line.ahead(self.ahead) > sample.total / MIB
