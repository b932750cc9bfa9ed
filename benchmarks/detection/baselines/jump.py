"""A single sample that lies far above the one before it."""

from dataclasses import dataclass

from benchmarks.detection.recordings import MIB, Sample


@dataclass(slots=True)
class Jump:
    mebibytes: float
    _before: int | None = None

    def fires(self, sample: Sample) -> bool:
        before, self._before = self._before, sample.used
        return before is not None and sample.used - before > self.mebibytes * MIB
