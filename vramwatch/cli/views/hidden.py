"""What the profile "observe" keeps hidden of those who are on the GPUs, line by line."""

from collections.abc import Iterator

from vramwatch.cli.views.text import Line, Tone, wrap
from vramwatch.cli.views.words import pids
from vramwatch.core.model import Holding, Ledger
from vramwatch.core.poll import Poll
from vramwatch.core.texts import clean

ID_SHOWN = 12
"""Digits of a container's id, as Docker shows it."""


def hidden_lines(poll: Poll, revealing: str, width: int) -> list[Line]:
    """Return a heading that names the command ``revealing`` it, and a line for each thing; empty: none."""
    told = dict.fromkeys(each for ledger in poll.ledgers for each in _hidden(ledger))
    if not told:
        return []
    lines = wrap(f"Hidden in the profile observe; {revealing} tells it:", width, 0, Tone.STRONG)
    for each in told:
        lines += wrap(each, width, 2, Tone.FAINT)
    return lines


def _hidden(ledger: Ledger) -> Iterator[str]:
    figured = {gauge.pid for gauge in ledger.reading.gauges}
    owners = {h.tenant.owner.key for h in ledger.holdings if h.pid in figured}
    for holding in ledger.holdings:
        if holding.ghost is not None:
            yield f"who keeps the memory of the ghost pid {holding.pid}"
        else:
            yield from _of_living(holding, is_figured=holding.tenant.owner.key in owners)
    closed = [
        h.pid
        for h in ledger.holdings
        if h.ghost is None and h.tenant.facts.uid and not h.tenant.facts.environment
    ]
    if closed:
        yield f"the environment of {pids(closed)}: the name of a Slurm job, the rank"


def _of_living(holding: Holding, *, is_figured: bool) -> Iterator[str]:
    facts, engine = holding.tenant.facts, holding.tenant.engine
    if (container := facts.container) and not container.name and facts.pod is None:
        yield f"the name of container {clean(container.id)[:ID_SHOWN]}, pid {holding.pid}"
    if engine and not is_figured:
        yield (
            f"the address at which {engine.engine} tells its figures, pid {holding.pid}, "
            "unless its command names the port"
        )
