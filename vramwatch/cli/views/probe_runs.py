"""Runs of the probe that were kept, and what changed between two of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from vramwatch.cli.views.probe import about
from vramwatch.cli.views.text import Line, Tone, line
from vramwatch.core.drifts import SPEED, Change
from vramwatch.core.errors import UsageError
from vramwatch.core.probe_runs import COMPLETE, ProbeRun
from vramwatch.core.units import show_bytes
from vramwatch.probe.experiment import from_json
from vramwatch.probe.results import Ended, Result


def list_lines(
    runs: Sequence[ProbeRun], stored: Collection[str], since: Mapping[str, Sequence[Change]]
) -> Iterator[Line]:
    """Yield two lines or three for each run, oldest first.

    ``stored``: ids of those in history, the others are files. ``since``: what came with new versions, by id.
    """
    if not runs:
        yield line("no run is kept yet; vramwatch probe makes one")
    for each in runs:
        count = len(each.figures)
        variants = f", {count} variants" if count > 1 else ""
        indent = " " * len(each.id)
        is_told = each.first.ended == COMPLETE or each.first.ended in each.faults
        ended = "" if is_told else f"{each.first.ended}; "
        yield line(f"{each.id}  {_about(each)}{variants}")
        yield line(
            f"{indent}  {ended}peak {show_bytes(each.first.peak)}; {', '.join(each.faults) or 'no fault'}; "
            f"{_where(each, stored)}",
            Tone.FAINT,
        )
        if changed := since.get(each.id):
            yield line(f"{indent}  since the run before: {'; '.join(map(_words, changed))}", Tone.WARNING)


def _where(run: ProbeRun, stored: Collection[str]) -> str:
    if run.id not in stored:
        return "a file of yours"
    kind = "scheduled" if run.is_scheduled else "by hand"
    return f"in history, {kind}, by {run.author}"


def change_lines(before: ProbeRun, after: ProbeRun, changes: Sequence[Change]) -> Iterator[Line]:
    yield line(f"{before.id} -> {after.id}", Tone.STRONG)
    if not changes:
        yield line("the same libraries, and the same figures within 1 % (speeds: within half)")
    for each in changes:
        yield line(_words(each))


def _about(run: ProbeRun) -> str:
    try:
        return about(Result(from_json(run.asked), Ended(run.first.ended), environment=run.environment))
    except (UsageError, TypeError, ValueError):  # of another version's experiments
        return f"{run.model} on {run.device}"


def _words(change: Change) -> str:
    name = f"{change.variant}: " if change.variant else ""
    before, after = (_shown(change.what, each) for each in (change.before, change.after))
    return f"{name}{change.what} {before} -> {after}"


def _shown(what: str, value: str | float | None) -> str:
    if value is None or isinstance(value, str):
        return value or "none"
    return f"{value:.1f}" if what == SPEED else show_bytes(round(value))
