"""An alarm must last before it is told: ``for: 15m`` of alert rules for Prometheus."""

from dataclasses import dataclass
from typing import Protocol

from benchmarks.detection.recordings import Sample


class Rule(Protocol):
    """Judges one Gpu, sample by sample."""

    def fires(self, sample: Sample) -> bool:
        """Take in ``sample``, later than all before it; return whether the alarm stands now."""
        ...


@dataclass(slots=True)
class Lasting:
    """Fires where ``rule`` has fired at every sample of the last ``seconds``."""

    rule: Rule
    seconds: float
    _since: float | None = None

    def fires(self, sample: Sample) -> bool:
        if not self.rule.fires(sample):
            self._since = None
            return False
        self._since = sample.time if self._since is None else self._since
        return sample.time - self._since >= self.seconds
