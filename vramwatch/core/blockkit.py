"""A message as blocks of Slack's Block Kit, within Slack's limits; foreign text in it can call nobody. Pure.

Sources: docs.slack.dev, reference/block-kit/blocks (50 blocks a message, 150 characters a header, 3000 a
section's text), messaging/formatting-message-text (``&``, ``<`` and ``>`` are control characters, and
``verbatim`` keeps Slack from making names and addresses of plain text).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import tzinfo

from vramwatch.core.messages import (
    DETAILED,
    LISTED,
    Item,
    Message,
    MessageKind,
    command_lines,
    full_id,
    headline,
    plain,
    sentences,
    sparkline,
    title,
)
from vramwatch.core.policy import Notice
from vramwatch.core.records import Json
from vramwatch.core.texts import clean
from vramwatch.core.wording import clock

BLOCKS_MOST, TEXT_MOST, HEADER_MOST = 50, 3000, 150

SIZE_MOST = 12_000
"""Characters of all blocks as JSON. Slack refuses somewhat more (msg_blocks_too_long) without a documented
limit; github.com/slackapi/bolt-js/issues/2509 found it at 13,172."""

PLAIN_MOST = 3500
"""Characters of a text without blocks: Slack advises at most 4000."""

LINE_MOST = 250

_KEPT_FREE = 700
"""Characters that the last lines need: how many more there are, and the command that lists them."""


def escape(text: str) -> str:
    """Return ``text`` so that Slack shows it as it is: no mention, no link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def bounded(text: str, most: int) -> str:
    """Return ``text`` escaped, cut to ``most`` characters where it is longer, never within an entity."""
    escaped = escape(text)
    if len(escaped) <= most:
        return escaped
    kept, size = [], 1
    for each in map(escape, text):
        size += len(each)
        if size > most:
            break
        kept.append(each)
    return "".join(kept).rstrip() + "…"


def notification(message: Message, zone: tzinfo | None = None) -> str:
    """Return what a phone shows before anybody looks at the blocks."""
    return bounded(headline(message), TEXT_MOST)


def without_blocks(message: Message, zone: tzinfo | None = None) -> str:
    """Return the message as one text, for a receiver that refuses its blocks."""
    return bounded(plain(message, zone), PLAIN_MOST)


def as_it_stands(message: Message) -> Message:
    """Return what the receiver's message reads once it is edited: every incident in it, as it is now."""
    now = [replace(item, notice=Notice.UPDATED) for item in message.items]
    beside = [Item(Notice.UPDATED, each) for each in message.beside]
    items = sorted((*now, *beside), key=lambda item: (item.incident.opened, item.incident.id))
    return replace(message, items=tuple(items), may_be_repeat=False)


def blocks(
    message: Message, zone: tzinfo | None = None, mention: str | None = None, is_edit: bool = False
) -> list[Json]:
    """Return ``message`` as blocks. ``mention``: whom to call, in Slack's own form, as it was configured.

    ``is_edit``: says as of when it is true.
    """
    page = _Page()
    page.add(_header(headline(message)))
    if mention:
        page.add(_section(mention))
    if message.may_be_repeat:
        page.add(_context("May be a repetition: vramwatch was cut off while sending"))
    if is_edit:
        page.add(_context(f"As of {clock(message.made, zone)}"))
    if message.kind is not MessageKind.INCIDENTS:
        lines = message.text.splitlines()
        if left := len(lines) - _add_lines(page, lines):
            page.end(_context(f"and {left} more lines"))
        return page.blocks
    told = 0
    for item in message.items[:DETAILED]:
        if not page.add(*_item(item, message, zone)):
            break
        told += 1
    if rest := message.items[told:]:
        _add_rest(page, rest, message, zone)
    return page.blocks


class _Page:
    """The blocks of one message, as many as fit."""

    def __init__(self) -> None:
        self.blocks: list[Json] = []
        self._left = SIZE_MOST - _KEPT_FREE

    def add(self, *more: Json) -> bool:
        """Add all of ``more``, or nothing and return False."""
        size = sum(len(json.dumps(each)) + 2 for each in more)
        if size > self._left or len(self.blocks) + len(more) > BLOCKS_MOST - 1:
            return False
        self.blocks += more
        self._left -= size
        return True

    def end(self, last: Json) -> None:
        """Add what was kept free for."""
        self.blocks.append(last)


def _item(item: Item, message: Message, zone: tzinfo | None) -> list[Json]:
    """Return one incident in full; its title is the header already where it is the only one."""
    is_single = len(message.items) == 1
    told = "\n".join(f"{each}." for each in sentences(item, message.host, zone))
    name = "" if is_single else f"*{bounded(title(item), LINE_MOST)}*\n"
    host = bounded(clean(message.host.name), HEADER_MOST)
    run = _code("\n".join(command_lines(item, message.host)))
    found = [] if is_single else [{"type": "divider"}]
    found.append(_section(name + bounded(told, TEXT_MOST - len(name))))
    if drawn := sparkline(item.course):
        found.append(_section(_code(f"{drawn}, last 6 h")))
    found.append(_section(f"On *{host}* run:\n{run}"))
    found.append(_context(f"Incident {full_id(item.incident, message.host)}"))
    return found


def _add_rest(page: _Page, rest: Sequence[Item], message: Message, zone: tzinfo | None) -> None:
    """Add a line for each of ``rest``, as far as they fit, and count the others."""
    room = LISTED - (len(message.items) - len(rest))
    lines = [f"{title(item)}  [{item.incident.id}]" for item in rest[:room]]
    left = len(rest) - _add_lines(page, lines)
    more = f"and {left} more\n" if left else ""
    host = bounded(clean(message.host.name), HEADER_MOST)
    page.end(
        _section(f"{more}On *{host}* run:\n{_code(message.host.whereabouts.reading('incidents --open'))}")
    )


def _add_lines(page: _Page, lines: Iterable[str]) -> int:
    """Add ``lines``, ten to a block; return how many fitted."""
    shown = [bounded(line, LINE_MOST) or " " for line in lines]
    for at in range(0, len(shown), 10):
        if not page.add(_section("\n".join(shown[at : at + 10]))):
            return at
    return len(shown)


def _code(text: str) -> str:
    """Return ``text`` as preformatted; a backtick of its own would end that early."""
    shown = bounded(text, TEXT_MOST // 2)
    return shown if "`" in shown else f"```{shown}```"


def _header(text: str) -> Json:
    plain_text = {"type": "plain_text", "text": bounded(text, HEADER_MOST), "emoji": False}
    return {"type": "header", "text": plain_text}


def _section(markup: str) -> Json:
    return {"type": "section", "text": _mrkdwn(markup)}


def _context(text: str) -> Json:
    return {"type": "context", "elements": [_mrkdwn(bounded(text, TEXT_MOST))]}


def _mrkdwn(markup: str) -> Json:
    return {"type": "mrkdwn", "text": markup, "verbatim": True}
