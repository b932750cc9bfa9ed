"""What the probe found, for a terminal."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from vramwatch.cli.views.kv import layer_lines
from vramwatch.cli.views.text import Glyphs, Line, Tone, left, line, right, wrap
from vramwatch.core.units import show_bytes
from vramwatch.probe.experiment import Experiment
from vramwatch.probe.families import TINY, is_built_in
from vramwatch.probe.findings import findings, named, rise_of
from vramwatch.probe.recipe import Verdict
from vramwatch.probe.results import Reading, Result
from vramwatch.probe.sweeps import Tried, is_proven, largest
from vramwatch.probe.variants import Variant, changes

NARROW, WIDE = 9, 11

COLUMNS: tuple[tuple[str, Callable[[Reading], int | None]], ...] = (
    ("driver", lambda each: each.driver),
    ("reserved", lambda each: each.reserved),
    ("live", lambda each: each.live),
    ("peak", lambda each: each.peak),
    ("split", lambda each: each.inactive_split),
    ("non-torch", lambda each: each.rest),
    ("KV", lambda each: each.kv_logical),
    ("KV held", lambda each: each.kv_resident),
    ("RSS", lambda each: each.rss),
)
"""Title -> bytes of a reading. A column of which nothing is known is left out."""


def result_lines(result: Result, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Yield the stages of one run as a table, then what is found in it."""
    yield line(about(result), Tone.STRONG)
    yield Line()
    yield from stage_lines(result.readings)
    if result.tokens_per_second:
        yield line(f"{result.tokens_per_second:.1f} tokens/s", Tone.FAINT)
    yield Line()
    if result.samples:
        yield from layer_lines(result, width, glyphs)
        yield Line()
    for each in findings(result):
        mark, tone = ("! ", Tone.WARNING) if each.is_fault else ("- ", Tone.PLAIN)
        yield from wrap(f"{mark}{named(each)}", width, 0, tone)


def about(result: Result) -> str:
    """Return one sentence: what ran, where, and with which libraries."""
    each, where = result.experiment, result.environment
    scaled = " scaled down" if is_built_in(each.model) and not _is_whole(each) else ""
    return (
        f"{each.model}{scaled}, {shape(each)}, on {where.get('device', 'an unknown device')}; "
        f"torch {where.get('torch', '?')}, transformers {where.get('transformers', '?')}"
    )


def _is_whole(experiment: Experiment) -> bool:
    return experiment.is_full_size or experiment.model in TINY


def shape(experiment: Experiment) -> str:
    each = experiment
    return (
        f"{each.requests} request{'s' if each.requests > 1 else ''} of batch {each.batch}, "
        f"{each.prompt} tokens and {each.tokens} new"
    )


def stage_lines(readings: Sequence[Reading]) -> Iterator[Line]:
    shown = [(title, value) for title, value in COLUMNS if any(value(each) is not None for each in readings)]
    yield line(left("stage", NARROW, "") + "".join(right(title, WIDE) for title, _ in shown), Tone.FAINT)
    for each in readings:
        yield line(
            left(each.stage, NARROW, "") + "".join(right(show_bytes(value(each)), WIDE) for _, value in shown)
        )


NAME = 20


def comparison_lines(rows: Sequence[tuple[Variant, Result]], width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Yield the variants side by side, then each against the one it is compared to, in words."""
    titles = ("peak", "after release", "KV held", "tokens/s")
    yield line(left("variant", NAME, "") + "".join(right(each, 15) for each in titles), Tone.FAINT)
    for variant, result in rows:
        cells = cells_of(result)
        if cells is None:
            yield from wrap(
                f"{left(variant.name, NAME, glyphs.ellipsis)} {result.ended}: {result.why}",
                width,
                0,
                Tone.FAINT,
            )
        else:
            yield line(left(variant.name, NAME, glyphs.ellipsis) + "".join(right(each, 15) for each in cells))
    yield Line()
    for words in changes(rows):
        yield from wrap(f"- {words}", width, 0)


def cells_of(result: Result) -> tuple[str, ...] | None:
    """Return peak, live after the release, KV cache and speed; None: the run did not come so far."""
    generate, release = result.at("generate"), result.at("release")
    if generate is None or release is None:
        return None
    speed = result.tokens_per_second
    return (
        show_bytes(generate.peak),
        show_bytes(release.live),
        show_bytes(generate.kv_resident),
        f"{speed:.1f}" if speed else "n/a",
    )


KINDS = {"cause": "causes", "remedy": "remedies", "comment": "comments"}


def verdict_lines(verdicts: Sequence[Verdict], first: Result, width: int) -> Iterator[Line]:
    """Yield a line for each claim of a recipe, by causes, remedies and comments."""
    yield line(about(first), Tone.STRONG)
    for kind, judged in groupby(verdicts, key=lambda each: each.kind):
        yield Line()
        yield line(KINDS[kind], Tone.STRONG)
        for each in judged:
            yield from wrap(f"- {each.claim}: {each.word.upper()}. {each.sentence}", width, 0)


LARGEST = {"batch": "largest batch", "prompt": "longest prompt", "tokens": "longest answer"}
"""What is looked for, by what is swept."""


def tried_lines(what: str, tried: Sequence[Tried], budget: int) -> Iterator[Line]:
    """Yield what a sweep tried, in its order, and what it found."""
    yield line(right(what, NARROW) + right("peak", WIDE + 2), Tone.FAINT)
    for each in tried:
        peak = "over budget" if each.peak is None else show_bytes(each.peak)
        yield line(right(str(each.value), NARROW) + right(peak, WIDE + 2))
    found = largest(tried)
    if found is None:
        yield line(f"none fits {show_bytes(budget)}", Tone.WARNING)
    else:
        unit = "" if what == "batch" else " tokens"
        bound = "" if is_proven(tried) else "at least "
        told = f"the {LARGEST[what]} within {show_bytes(budget)} is {bound}{found.value:,}{unit}"
        yield line(told, Tone.STRONG)


def floor_lines(result: Result) -> Iterator[Line]:
    """Yield what lived after each request in a row, equal ones together, and whether it rises."""
    yield line(about(result), Tone.STRONG)
    yield Line()
    yield line(right("request", NARROW) + right("live after it", 2 * WIDE), Tone.FAINT)
    place = 1
    for floor, run in groupby(result.floors):
        last = place + len(list(run)) - 1
        name = f"{place}" if place == last else f"{place}-{last}"
        yield line(right(name, NARROW) + right(show_bytes(floor), 2 * WIDE))
        place = last + 1
    yield Line()
    rise, count = rise_of(result.floors), len(result.floors)
    if rise:
        yield line(f"! the floor rises by {show_bytes(rise)} with each request", Tone.WARNING)
    elif count:
        yield line(f"the floor does not rise over {count} requests", Tone.STRONG)
