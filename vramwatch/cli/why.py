"""``vramwatch why``: all that is known of one incident, in the order in which a person asks."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vramwatch.cli.asking import host_of, open_history, pick_incident, tell_age
from vramwatch.cli.options import config_option, format_of, store_option

if TYPE_CHECKING:
    from vramwatch.cli.views.why import Course
    from vramwatch.core.incidents import Subject
    from vramwatch.store import Chain, History


@click.command()
@click.argument("incident", metavar="ID")
@config_option
@store_option
@format_of("text", "json")
def command(incident: str, config_path: Path | None, store_path: Path | None, output_format: str) -> None:
    """Show everything known about an incident.

    What it is and the evidence with its numbers, what was ruled out, when memory runs out and how that
    forecast moved, the timeline, who was told and what they answered, what was held back and why, what
    people noted, what memory has done since, and what to do next. Read from the store; no daemon is needed.

    \b
    vramwatch why 3f2a
    vramwatch why 3f2a@gpu7 --format json
    """
    from vramwatch.cli.printing import print_json
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.cli.views.why import why_lines, why_record

    history = open_history(config_path, store_path)
    chain = history.casebook.chain(pick_incident(history.casebook, incident, config_path, store_path))
    course, host = _course(history, chain), host_of(history.casebook, config_path, store_path)
    if output_format == "json":
        print_json(why_record(chain, course, host))
        return
    target = terminal(sys.stdout)
    tell_age(history, time.time())
    target.show(why_lines(chain, course, host, target.width, None))


def _course(history: "History", chain: "Chain") -> "Course | None":
    """Return what memory did since the incident was last told, else since it opened; None: nobody knows."""
    from vramwatch.cli.views.why import Course, last_told
    from vramwatch.core.model import SubjectKind

    span, incident = history.span(), chain.entry.case.incident
    if incident.subject.kind is SubjectKind.VRAMWATCH:
        return None  # it holds no memory of a GPU
    since = last_told(chain) or incident.opened
    if span is None or not span[0] <= since <= span[1]:
        return None
    then, now = (_held(history, incident.subject, wall) for wall in (since, span[1]))
    return Course(since, then, span[1], now)


def _held(history: "History", subject: "Subject", wall: float) -> int | None:
    """Return the bytes that ``subject`` held at ``wall``; ghosts count for what nobody holds."""
    from vramwatch.core.model import SubjectKind
    from vramwatch.core.series import USED_BYTES

    is_nobodys = subject.kind is SubjectKind.UNATTRIBUTED
    kinds = (SubjectKind.UNATTRIBUTED, SubjectKind.GHOST) if is_nobodys else (subject.kind,)
    rows = [
        row
        for kind in kinds
        for row in history.series(gpu=subject.gpu, kind=kind, owner=subject.owner, quantity=USED_BYTES)
    ]
    known = [value for row in rows if (value := history.value_at(row, wall)) is not None]
    return round(sum(known)) if known else None
