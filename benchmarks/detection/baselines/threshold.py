"""The alert of most dashboards: more than a share of the card is used."""

from dataclasses import dataclass

from benchmarks.detection.recordings import Sample


@dataclass(slots=True)
class Threshold:
    share: float

    def fires(self, sample: Sample) -> bool:
        return sample.used > self.share * sample.total
