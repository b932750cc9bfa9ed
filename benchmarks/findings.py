"""What was found: figures with their spread, the goal beside them, and the table that people read."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

WIDTH = 120  # columns: as wide into a file as on a terminal


@dataclass(frozen=True, slots=True)
class Figures:
    """One thing measured several times, in order; at least once."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def over(self, other: "Figures") -> "Figures":
        """Return the ratios of what was measured at the same time. Errors: ValueError when one has more."""
        return Figures(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def show(self, unit: str = "") -> str:
        """Return "median unit (least to most)"; without the spread where there is but one value."""
        said = f"{_number(self.median)} {unit}".strip()
        if len(self.values) == 1:
            return said
        return f"{said} ({_number(min(self.values))} to {_number(max(self.values))})"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``reached`` None: there is no goal, or nothing was measured."""

    name: str
    measured: str
    goal: str = ""
    reached: bool | None = None


def told(name: str, figures: Figures, unit: str = "") -> Finding:
    """Return a finding without a goal."""
    return Finding(name, figures.show(unit))


def at_most(name: str, figures: Figures, limit: float, unit: str = "") -> Finding:
    """Return a finding whose goal is reached where the median is no more than ``limit``."""
    return Finding(name, figures.show(unit), f"≤ {_number(limit)} {unit}".strip(), figures.median <= limit)


def at_least(name: str, figures: Figures, limit: float, unit: str = "") -> Finding:
    """Return a finding whose goal is reached where the median is no less than ``limit``."""
    return Finding(name, figures.show(unit), f"≥ {_number(limit)} {unit}".strip(), figures.median >= limit)


def not_measured(name: str, why: str) -> Finding:
    return Finding(name, f"not measured: {why}")


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the rise a step of x of the straight line nearest to ``points`` (least squares).

    Errors: StatisticsError for fewer than two.
    """
    xs, ys = zip(*points, strict=True)
    return statistics.linear_regression(xs, ys).slope


def show(findings: Iterable[Finding]) -> None:
    """Print the report."""
    table = Table("what", "measured", "goal", "reached", box=SIMPLE)
    for one in findings:
        reached = "" if one.reached is None else "yes" if one.reached else "NO"
        table.add_row(one.name, one.measured, one.goal, reached)
    Console(highlight=False, width=WIDTH).print(table)


def _number(value: float) -> str:
    """Three digits are more than a shared machine repeats."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
