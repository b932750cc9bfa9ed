"""What changed between runs of the probe, and which changes open an incident. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from vramwatch.core.probe_runs import COMPLETE, VERSIONS, Figures, ProbeRun
from vramwatch.core.units import show_bytes

NOISE = 0.01
"""Of bytes: less is called the same, as allocators round."""

SLOWER = 1.5
"""Times as fast, or as slow, from which on two speeds differ."""

DRIFT = 2 * NOISE
"""Of bytes: how far above the measure a run must be, for the measure itself may be off by NOISE."""

MEASURED_BY = 5
"""Runs that are the measure: the first ones, so that a slow creep does not move it."""

SPEEDS_LEAST = 3
"""Runs before a speed can drift: bytes repeat, a speed hangs on what else the machine does."""

SPEED = "tokens/s"

FIGURES: Mapping[str, Callable[[Figures], float | None]] = {
    "peak": lambda each: each.peak,
    "weights": lambda each: each.weights,
    "KV": lambda each: each.kv,
    "after release": lambda each: each.held,
    SPEED: lambda each: each.speed,
}
"""What is compared, by what it is called."""

_KEYS = {
    "peak": "peak_bytes",
    "weights": "weights_bytes",
    "KV": "kv_bytes",
    "after release": "held_bytes",
    SPEED: "tokens_per_second",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One figure that two runs do not share. ``variant``: empty for the environment and what was asked."""

    variant: str
    what: str
    before: str | float | None
    after: str | float | None


def changes(before: ProbeRun, after: ProbeRun) -> list[Change]:
    """Return what changed between two runs: libraries, what was asked, then each variant's figures."""
    found = [
        *_differing(before.environment, after.environment),
        *_differing(before.asked, after.asked),
    ]
    for variant in (each for each in before.figures if each in after.figures):
        found += figure_changes(variant, before.figures[variant], after.figures[variant])
    return found


def figure_changes(variant: str, old: Figures, new: Figures) -> list[Change]:
    """Return the figures of one variant that differ by more than they do from run to run."""
    if old.ended != new.ended:
        return [Change(variant, "ended", old.ended, new.ended)]
    pairs = ((what, figure(old), figure(new)) for what, figure in FIGURES.items())
    return [
        Change(variant, what, was, now)
        for what, was, now in pairs
        if was is not None
        and now is not None
        and max(was, now) > (SLOWER if what == SPEED else 1 + NOISE) * min(was, now)
    ]


def since_versions(runs: Sequence[ProbeRun]) -> Mapping[str, list[Change]]:
    """Return what changed with the driver, torch or transformers, by the id of the first run with it.

    ``runs``: oldest first. A run is compared with the one before it that asked the same on the same device.
    """
    found: dict[str, list[Change]] = {}
    last: dict[tuple[str, str], ProbeRun] = {}
    for run in runs:
        before = last.get((run.digest, run.device))
        if before is not None and (versions := version_changes(before, run)):
            figures = [each for each in changes(before, run) if each.variant]
            found[run.id] = [*versions, *figures]
        last[run.digest, run.device] = run
    return found


def version_changes(before: ProbeRun, after: ProbeRun) -> list[Change]:
    """Return which of driver, torch and transformers differ."""
    old, new = before.environment, after.environment
    return _differing({name: old.get(name) for name in VERSIONS}, {name: new.get(name) for name in VERSIONS})


def _differing(old: Mapping[str, object], new: Mapping[str, object]) -> list[Change]:
    return [
        Change("", name, _word(old.get(name)), _word(new.get(name)))
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]


def _word(value: object) -> str | None:
    return None if value is None else str(value)


# --- drifts ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drift:
    """A run whose figures have left the measure. ``numbers``: each beside what it was; keys have units."""

    run: ProbeRun
    sentence: str
    numbers: Mapping[str, float]
    since: float  # unix seconds, of the first run of the measure
    count: int  # runs of the measure


def drift(run: ProbeRun, earlier: Sequence[ProbeRun]) -> Drift | None:
    """Return how ``run`` differs from ``earlier`` ones, oldest first; None: it does not, or nobody can say.

    The measure is the median of the first MEASURED_BY runs of the same experiment on the same kind of device
    that ended well, from the last one on that a person accepted. What counts: another end, a fault that none
    of them has, more bytes by DRIFT, a speed below one SLOWER-th. Less memory is good news and is none.
    """
    if run.is_accepted:
        return None
    alike = [each for each in earlier if each.is_like(run)]
    accepted = [place for place, each in enumerate(alike) if each.is_accepted]
    alike = alike[accepted[-1] :] if accepted else alike
    measure = [each for each in alike if each.first.ended == COMPLETE][:MEASURED_BY]
    if not measure:
        return None
    numbers: dict[str, float] = {}
    said = list(_departures(run, measure, numbers))
    if not said:
        return None
    because = _because(run, measure[-1])
    sentence = f"probe of {run.model} on {run.device}: {'; '.join(said)}{because}"
    return Drift(run, sentence, numbers, measure[0].made, len(measure))


def _departures(run: ProbeRun, measure: Sequence[ProbeRun], numbers: dict[str, float]) -> Iterator[str]:
    """Yield how ``run`` departs from ``measure``, a clause each, and enter the ``numbers``."""
    faults = [each for each in run.faults if all(each not in known.faults for known in measure)]
    if faults:
        yield f"{', '.join(faults)}, which no run had before"
    for variant, figures in run.figures.items():
        name = "" if variant == next(iter(run.figures)) else f"{variant}: "
        known = [
            each.figures[variant]
            for each in measure
            if variant in each.figures and each.figures[variant].ended == COMPLETE
        ]
        if known and figures.ended != COMPLETE:
            yield f"{name}{figures.ended} where {_runs(known)} ended well"
            continue
        for what, figure in FIGURES.items():
            now, then = figure(figures), [value for each in known if (value := figure(each)) is not None]
            usual = median(then) if then else 0.0
            if now is None or not _has_drifted(what, now, usual, len(then)):
                continue
            numbers[_key(name, variant, _KEYS[what])] = now
            numbers[_key(name, variant, f"before_{_KEYS[what]}")] = usual
            usually = f"{_figure(what, usual)} ({now / usual - 1:+.0%}, measured by {_runs(then)})"
            yield f"{name}{what} {_figure(what, now)} instead of {usually}"


def _key(name: str, variant: str, key: str) -> str:
    return f"{variant}_{key}" if name else key


def _has_drifted(what: str, now: float, usual: float, count: int) -> bool:
    if what == SPEED:
        return count >= SPEEDS_LEAST and now * SLOWER < usual
    return count > 0 and now > (1 + DRIFT) * usual > 0


def _because(run: ProbeRun, last: ProbeRun) -> str:
    moved = [
        f"{each.what} {each.before or 'none'} -> {each.after or 'none'}"
        for each in version_changes(last, run)
    ]
    return (
        f"; changed since: {', '.join(moved)}" if moved else "; driver, torch and transformers are the same"
    )


def _figure(what: str, value: float) -> str:
    return f"{value:.1f}" if what == SPEED else show_bytes(round(value))


def _runs(measure: Sequence[object]) -> str:
    return f"{len(measure)} run{'s' * (len(measure) != 1)}"


# --- the newest of each ---------------------------------------------------------------------------


def standing(runs: Sequence[ProbeRun]) -> list[Drift]:
    """Return the drifts that stand: of the newest run of each experiment on each kind of device."""
    newest = {(each.digest, each.device): place for place, each in enumerate(runs)}
    found = (drift(runs[place], runs[:place]) for place in newest.values())
    return [each for each in found if each is not None]
