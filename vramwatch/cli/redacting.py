"""Takes names out of a report: who and where, for readers outside."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

from vramwatch.cli.gathering import Case
from vramwatch.core.model import Holding
from vramwatch.core.policy import Withheld, Withholding
from vramwatch.core.poll import Poll
from vramwatch.store import StepRow

_PATH = re.compile(r"(?<![\w/])/(?:[\w.@+:-]+/)*[\w.@+:-]+")
"""An absolute path; what stands before it is no part of a word or of another path."""

_KINDS = ("owner", "team", "user", "unit", "container", "pod", "namespace", "job", "model", "program")

LEFT_OUT = "(left out)"

_BY_PEOPLE = frozenset({Withholding.SILENCED, Withholding.ACKNOWLEDGED})
"""Why a message was withheld by a person, who gave a reason or a name."""

SHORTEST = 3
"""Characters of a name that is looked for inside of sentences: shorter ones stand in many words."""


def redacted(case: Case, host: str) -> tuple[Case, Mapping[str, str]]:
    """Return ``case`` with names, paths and users replaced, and what each was replaced by.

    One name is replaced alike everywhere. Bytes, times, patterns, GPUs' models and engines stay. What people
    wrote, and what receivers answered, is left out whole: nobody knows what names stand there.
    """
    aliases = _aliases(_names(case), host)
    return _changed(_without_free_text(case), _Replacing(aliases)), aliases


def redactor(polls: Iterable[Poll], host: str) -> Callable[[str], str]:
    """Return what takes the host's name, all that ``polls`` name, and paths out of a text."""
    holdings = (holding for poll in polls for holding in _holdings(poll))
    return _Replacing(_aliases((name for each in holdings for name in _of_holding(each)), host))


def _without_free_text(case: Case) -> Case:
    chain = case.chain
    remarks = tuple(replace(each, note=each.note and LEFT_OUT) for each in chain.entry.remarks)
    known = chain.entry.case
    if known.acknowledged:
        told = replace(known.acknowledged, note=known.acknowledged.note and LEFT_OUT)
        known = replace(known, acknowledged=told)
    steps = [_without_words(each) for each in chain.steps]
    entry = replace(chain.entry, case=known, remarks=remarks)
    return replace(case, chain=replace(chain, entry=entry, steps=type(chain.steps)(steps)))


def _without_words(row: StepRow) -> StepRow:
    """Return ``row`` without the reason that a person gave for a silence, and a receiver's answer."""
    step, delivery = row.step, row.delivery
    if isinstance(step, Withheld) and step.reason in _BY_PEOPLE:
        step = replace(step, detail=LEFT_OUT)
    if delivery is not None and delivery.detail:
        delivery = replace(delivery, detail=LEFT_OUT)
    return replace(row, step=step, delivery=delivery)


def _names(case: Case) -> Iterable[tuple[str, str]]:
    """Yield kind and name of all that a report may tell of people and their services."""
    for each in case.chain.transitions:
        if each.incident.subject.owner:
            yield "owner", each.incident.subject.owner
        for kind in _KINDS:
            if each.scene and (name := getattr(each.scene, kind)):
                yield kind, name
        if each.incident.subject.gpu:
            yield "gpu", each.incident.subject.gpu
    for poll in (case.before, case.after):
        for holding in _holdings(poll):
            yield from _of_holding(holding)
    for remark in case.chain.entry.remarks:
        yield "person", remark.author
    for step in case.chain.steps:
        yield "channel", step.step.channel


def _holdings(poll: Poll | None) -> Iterable[Holding]:
    return (holding for ledger in poll.ledgers for holding in ledger.holdings) if poll else ()


def _of_holding(holding: Holding) -> Iterable[tuple[str, str]]:
    facts, owner = holding.tenant.facts, holding.tenant.owner
    container, pod = facts.container, facts.pod
    found = (
        ("owner", owner.key),
        ("owner", owner.name),
        ("team", owner.team),
        ("command", facts.title),
        ("program", facts.name),
        ("user", facts.user),
        ("unit", facts.unit),
        ("container", container and container.name),
        ("image", container and container.image),
        ("pod", pod and pod.name),
        ("namespace", pod and pod.namespace),
    )
    for kind, name in found:
        if name:
            yield kind, str(name)


def _aliases(names: Iterable[tuple[str, str]], host: str) -> dict[str, str]:
    counts: dict[str, int] = {}
    aliases = {host: "host"}
    for kind, name in names:
        if name not in aliases and len(name) >= SHORTEST:
            counts[kind] = counts.get(kind, 0) + 1
            aliases[name] = f"{kind}-{counts[kind]}"
    return aliases


class _Replacing:
    """Replaces every known name in a text, the longest first, and then what looks like a path."""

    def __init__(self, aliases: Mapping[str, str]) -> None:
        longest_first = sorted(aliases, key=len, reverse=True)
        self._aliases = aliases
        self._known = re.compile("|".join(map(re.escape, longest_first)))

    def __call__(self, text: str) -> str:
        if len(text) < SHORTEST:
            return text
        return _PATH.sub("(path)", self._known.sub(lambda match: self._aliases[match[0]], text))


def _changed(value: Any, replace_in: _Replacing) -> Any:
    """Return ``value`` with every text in it replaced; words of our own vocabulary stay as they are."""
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return replace_in(value)
    if isinstance(value, tuple):
        return tuple(_changed(each, replace_in) for each in value)
    if isinstance(value, Mapping):
        return {name: _changed(each, replace_in) for name, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{each.name: _changed(getattr(value, each.name), replace_in) for each in fields(value)}
        )
    return value
