"""Runs of the probe as history keeps them: the experiment, the library versions and the figures. Pure."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vramwatch.core.texts import clean

COMPLETE = "complete"
"""How a run ended that has all its figures; see ``probe.results.Ended``."""

VERSIONS = ("driver", "torch", "transformers")
"""What of an environment figures hang on: whoever gives memory to tensors, and whoever makes them."""

MOST_VARIANTS = 64
MOST_NAMES = 64
LONGEST_TEXT = 200
LARGEST = 1 << 62  # as the store has it: 4 EiB, more than any GPU has

_ID = re.compile(r"\d{8}T\d{6}Z\+{0,8}")
_DIGEST = re.compile(r"[0-9a-f]{12}")
_NAME = re.compile(r"[a-z0-9_]{1,64}")

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What one variant came to. Bytes and tokens a second; None: nobody here could tell."""

    ended: str
    peak: int | None = None  # of the generate stage
    weights: int | None = None
    kv: int | None = None  # what the storages behind keys and values held
    held: int | None = None  # what lived after the release
    speed: float | None = None


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """One call of ``vramwatch probe``.

    ``digest``: of the experiment with all that was asked, so that the same ones can be told. ``figures``:
    by variant, the experiment itself first. ``faults``: those that its own run has. ``author``: who handed it
    in, as the kernel says; empty where it is a file. ``is_accepted``: a person made it the new measure.
    """

    id: str  # when it was made, in UTC: "20261125T172522Z"
    made: float  # unix seconds
    digest: str
    asked: Mapping[str, Scalar]
    environment: Mapping[str, str]
    figures: Mapping[str, Figures]
    faults: tuple[str, ...] = ()
    is_scheduled: bool = False
    author: str = ""
    is_accepted: bool = False

    @property
    def first(self) -> Figures:
        return next(iter(self.figures.values()))

    @property
    def model(self) -> str:
        return str(self.asked.get("model") or "a model without a name")

    @property
    def device(self) -> str:
        """Return what it ran on: "cpu", or the GPU as its driver calls it."""
        return self.environment.get("device", "an unknown device")

    def is_like(self, other: "ProbeRun") -> bool:
        """Whether the same was asked on the same kind of device, so that figures can be compared."""
        return (self.digest, self.device) == (other.digest, other.device)


def to_json(run: ProbeRun) -> dict[str, Any]:
    """Return what ``read`` reads; who handed it in is not in it."""
    told = asdict(run)
    del told["author"], told["is_accepted"]
    return told


def read(given: Any) -> ProbeRun:
    """Return the run that ``to_json`` wrote, bounded: others may have written it.

    Errors: ValueError, with what is wrong.
    """
    try:
        figures = {_name(name): _figures(each) for name, each in _bounded(given["figures"], MOST_VARIANTS)}
        run = ProbeRun(
            id=_matching(_ID, given["id"], "id"),
            made=_number(given["made"], "made"),
            digest=_matching(_DIGEST, given["digest"], "digest"),
            asked={_name(name): _scalar(each) for name, each in _bounded(given["asked"], MOST_NAMES)},
            environment={
                _name(name): _text(each) for name, each in _bounded(given["environment"], MOST_NAMES)
            },
            figures=figures,
            faults=tuple(_text(each) for each in list(given.get("faults", ()))[:MOST_NAMES]),
            is_scheduled=given.get("is_scheduled") is True,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a run of the probe: {error!r}") from None
    if not figures:
        raise ValueError("a run of the probe without figures")
    return run


def named_apart(run: ProbeRun, taken: Sequence[str]) -> ProbeRun:
    """Return ``run`` under an id that is none of ``taken``: two may be made in one second."""
    while run.id in taken:
        run = replace(run, id=f"{run.id}+")
    return run


def _bounded(given: Any, most: int) -> list[tuple[Any, Any]]:
    pairs = list(given.items())
    if len(pairs) > most:
        raise ValueError(f"a run of the probe with more than {most} entries in one place")
    return pairs


def _matching(form: re.Pattern[str], given: Any, what: str) -> str:
    if not isinstance(given, str) or not form.fullmatch(given):
        raise ValueError(f"a run of the probe whose {what} is none")
    return given


def _name(given: Any) -> str:
    return _matching(_NAME, given, "field's name")


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError("something else where a text belongs")
    return clean(given)[:LONGEST_TEXT]


def _scalar(given: Any) -> Scalar:
    if given is None or isinstance(given, bool):
        return given
    if isinstance(given, str):
        return _text(given)
    number = _number(given, "options")
    return int(number) if isinstance(given, int) else number


def _number(given: Any, what: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= LARGEST:
        raise ValueError(f"a run of the probe with something else than a number in its {what}")
    return float(given)


def _figures(given: Mapping[str, Any]) -> Figures:
    sizes = {name: _size(given.get(name)) for name in ("peak", "weights", "kv", "held")}
    speed = given.get("speed")
    if speed is not None and not math.isfinite(_number(speed, "speed")):
        raise ValueError("a run of the probe whose speed is no number")
    return Figures(_text(given["ended"]), **sizes, speed=None if speed is None else float(speed))


def _size(given: Any) -> int | None:
    return None if given is None else int(_number(given, "figures"))
