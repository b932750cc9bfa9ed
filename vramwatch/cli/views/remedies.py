"""What may be done about memory, as a table of causes; and what was done last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vramwatch.cli.views.text import Line, Tone, line, wrap
from vramwatch.cli.views.workers import worker_lines
from vramwatch.core.attempts import Attempt
from vramwatch.core.ladder import NEVER, ONLY_RETAINED, TABLE
from vramwatch.core.owners import told_owner
from vramwatch.core.records import Json
from vramwatch.core.texts import clean
from vramwatch.core.verdicts import Cause
from vramwatch.core.wording import CAUSES, attempt_words, clock

CAUSE_WIDTH = 14


@dataclass(frozen=True, slots=True)
class Present:
    """A remedy as the daemon goes by it now."""

    remedy: str
    mode: str

    @property
    def is_dry(self) -> bool:
        return self.mode == "dry_run"


class Moded(Protocol):
    """A remedy with its mode, as far as a table shows it."""

    @property
    def remedy(self) -> str: ...
    @property
    def is_dry(self) -> bool: ...


def table_rows(remedies: Sequence[Moded]) -> Iterator[tuple[Cause, str]]:
    """Yield each cause with what is done about it, in words: "ask, then signal (dry run), then a person"."""
    on = {each.remedy: " (dry run)" if each.is_dry else "" for each in remedies}
    for cause, ladder in TABLE.items():
        rungs = [f"{name}{on[name]}" for name in ladder if name in on]
        off = [name.value for name in ladder if name not in on]
        condition = "only what is kept while no request runs: " if cause in ONLY_RETAINED and rungs else ""
        unused = f" (off: {', '.join(off)})" if off else ""
        yield cause, condition + ", then ".join([*rungs, "a person"]) + unused
    for cause, why in NEVER.items():
        yield cause, f"never: {why}"


def table_lines(remedies: Sequence[Moded], width: int) -> list[Line]:
    """Return which remedy is tried for which cause, a line or more for each."""
    lines = []
    for cause, words in table_rows(remedies):
        lines += wrap(f"{cause.value:<{CAUSE_WIDTH}} {words}", width, 2)
    return lines


def table_record(remedies: Sequence[Moded]) -> Mapping[str, Json]:
    """Return cause -> what is tried, in order, and with it each remedy's mode; null: it is off."""
    on = {each.remedy: "dry_run" if each.is_dry else "apply" for each in remedies}
    return {cause.value: {name.value: on.get(name) for name in TABLE.get(cause, ())} for cause in CAUSES}


def remedies_lines(
    remedies: Sequence[Moded],
    state: str,
    workers: Sequence[Json] | None,
    attempts: Sequence[Attempt],
    width: int,
) -> list[Line]:
    """Return all of it; ``state``: sentences on whether they are on, and by whose word."""
    said = state if remedies else f"No remedy is configured: nothing is done to any process. {state}"
    lines = [*wrap(said, width, 0, Tone.STRONG), Line(), line("What is tried for which cause", Tone.STRONG)]
    lines += table_lines(remedies, width)
    if workers:
        lines += [Line(), *worker_lines(workers, width)]
    if attempts:
        lines += [Line(), *attempt_lines(attempts, width)]
    return lines


def attempt_lines(attempts: Sequence[Attempt], width: int) -> list[Line]:
    """Return the newest attempt at each owner, under a heading."""
    lines = [line("What was done last, or would have been", Tone.STRONG)]
    for each in attempts:
        owner = told_owner(each.apply.owner)
        name = clean(owner.name if owner else each.apply.owner)
        lines += wrap(f"{clock(each.at, None)} {name}: {attempt_words(each)}", width, 2)
    return lines
