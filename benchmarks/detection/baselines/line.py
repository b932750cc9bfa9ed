"""The straight line of least squares through a sliding window, a few additions a sample."""

from collections import deque
from dataclasses import dataclass, field

FULL = 0.95  # of a window must have been seen before it is judged: samples never fill it to the second


@dataclass(slots=True)
class SlidingLine:
    """The points of the last ``window`` seconds. Times count from the first sample, so sums stay exact."""

    window: float
    points: deque[tuple[float, float]] = field(default_factory=deque)
    _origin: float | None = None
    _x: float = 0.0
    _y: float = 0.0
    _xx: float = 0.0
    _xy: float = 0.0

    def add(self, time: float, value: float) -> list[float]:
        """Take in a point; return the values that left the window, oldest first."""
        if self._origin is None:
            self._origin = time
        x = time - self._origin
        self.points.append((x, value))
        self._count(x, value, 1)
        left = []
        while x - self.points[0][0] > self.window:
            old_x, old = self.points.popleft()
            self._count(old_x, old, -1)
            left.append(old)
        return left

    @property
    def span(self) -> float:
        """Seconds between the oldest point and the newest."""
        return self.points[-1][0] - self.points[0][0]

    @property
    def slope(self) -> float:
        """Rise of the line a second; 0 where all points are of one time."""
        count = len(self.points)
        spread = count * self._xx - self._x**2
        return (count * self._xy - self._x * self._y) / spread if spread > 0 else 0.0

    def ahead(self, seconds: float) -> float:
        """Return the value of the line that long after the newest point."""
        middle = self._x / len(self.points)
        return self._y / len(self.points) + self.slope * (self.points[-1][0] + seconds - middle)

    def _count(self, x: float, value: float, sign: int) -> None:
        self._x += sign * x
        self._y += sign * value
        self._xx += sign * x * x
        self._xy += sign * x * value
