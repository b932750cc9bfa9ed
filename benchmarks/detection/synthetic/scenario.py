"""A scenario: how a server is built from a cell of parameters, and what is so of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from benchmarks.detection.cases import Cause, Group, Serving, View
from benchmarks.detection.synthetic.server import Trace

TUNING_SEEDS = (101, 103, 107)
TEST_SEEDS = tuple(range(901, 932))
"""No seed and no cell of the one stands in the other; a test keeps it so."""

SEEDS: Mapping[Group, tuple[int, int]] = {
    Group.LOOK_ALIKE: (3, 31),
    Group.MINUTES: (3, 6),
    Group.SLOW: (1, 12),
}
"""How many seeds a cell of a group gets, tuning and test, where it is not FEW.

The test counts are the least with which a goal can be resolved: 36 of 36 bound a share above 0.90, and
0 of 368 one below 1 %.
"""
FEW = (1, 2)

Cell = Mapping[str, float]
Build = Callable[[Cell, Random, bool], Trace]
"""From a cell, the chance, and whether it grows: without growth it is the twin."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of server. ``has_twin``: it grows, and is written once more without."""

    name: str
    build: Build
    cause: Cause
    group: Group
    serving: Serving
    tuning: tuple[Cell, ...]
    test: tuple[Cell, ...]
    views: tuple[View, ...] = (View.ALL_LAYERS, View.DRIVER_ONLY)
    judges_cause: bool = True
    judges_forecast: bool = False
    may_be_refused: bool = False

    def draws(self, final: bool) -> Iterator[tuple[int, Cell, int]]:
        """Yield (number of the cell, cell, seed) of the test part if ``final``, else of the tuning part."""
        count = SEEDS.get(self.group, FEW)[final]
        cells = self.test if final else self.tuning
        for number, cell in enumerate(cells):
            for seed in (TEST_SEEDS if final else TUNING_SEEDS)[:count]:
                yield number, cell, seed

    @property
    def has_twin(self) -> bool:
        return self.group in (Group.GROWTH, Group.SLOW, Group.MINUTES, Group.SPIKE, Group.POOL)
