"""What a detector declares: which windows it examines, and how its verdict ranks beside others."""

from dataclasses import dataclass

from vramwatch.core.model import SubjectKind

GROWING = frozenset({SubjectKind.PROCESS, SubjectKind.UNATTRIBUTED, SubjectKind.GPU})
"""Windows in which growth is looked for; a Gpu's own only where nothing more specific holds its bytes."""


@dataclass(frozen=True, slots=True)
class Traits:
    """The ``TRAITS`` of a detector.

    ``precedence``: of several patterns on one subject the one with the least names the incident and gives
    the rate, so the surest has the least; no two have the same. ``sees``: the windows that it is shown.
    ``always_told``: it fires whether or not anybody can say when memory runs out. ``under_load``: it looks
    where something is asked, so that load may explain what it found; ``at_rest``: only where nothing is
    asked, so that load cannot. ``in_pool``: it is a preallocated pool that will be exhausted. ``by_days``:
    its rate is the surest, though others name the incident. ``sees_curve``: it has seen every minute of the
    growth, so that nobody need wait for a curve to show. ``is_accident``: memory has run out; a Gpu's window
    is looked at also where something more specific holds its bytes.
    """

    precedence: int
    sees: frozenset[SubjectKind] = GROWING
    always_told: bool = False
    under_load: bool = False
    at_rest: bool = False
    in_pool: bool = False
    by_days: bool = False
    sees_curve: bool = False
    is_accident: bool = False
