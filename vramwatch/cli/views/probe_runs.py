"""Runs of the probe that were kept, and what changed between two of them."""

from collections.abc import Iterator, Sequence

from vramwatch.cli.views.probe import about
from vramwatch.cli.views.text import Line, Tone, line
from vramwatch.core.units import show_bytes
from vramwatch.probe.findings import findings
from vramwatch.probe.keeping import Change, Kept


def list_lines(kept: Sequence[Kept]) -> Iterator[Line]:
    """Yield two lines for each run, oldest first."""
    if not kept:
        yield line("no run is kept yet; vramwatch probe makes one")
    for each in kept:
        count = len(each.results)
        variants = f", {count} variants" if count > 1 else ""
        faults = [found.name for found in findings(each.first) if found.is_fault]
        yield line(f"{each.id}  {about(each.first)}{variants}")
        yield line(
            f"{' ' * len(each.id)}  peak {show_bytes(each.first.peak)}; {', '.join(faults) or 'no fault'}",
            Tone.FAINT,
        )


def change_lines(before: Kept, after: Kept, changes: Sequence[Change]) -> Iterator[Line]:
    yield line(f"{before.id} -> {after.id}", Tone.STRONG)
    if not changes:
        yield line("the same libraries, and the same figures within 1 % (speeds: within half)")
    for each in changes:
        name = f"{each.variant}: " if each.variant else ""
        yield line(f"{name}{each.what} {_shown(each.what, each.before)} -> {_shown(each.what, each.after)}")


def _shown(what: str, value: str | float | None) -> str:
    if value is None or isinstance(value, str):
        return value or "none"
    return f"{value:.1f}" if what == "tokens/s" else show_bytes(round(value))
