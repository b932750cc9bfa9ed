"""ntfy: push messages to phones, from ntfy.sh or a server of your own."""

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from vramwatch.core.couriers import Courier, Place, place_of
from vramwatch.core.incidents import Severity
from vramwatch.core.messages import Message, MessageKind, headline, plain
from vramwatch.core.outgoing import Outcome
from vramwatch.core.texts import clean
from vramwatch.notifying import Address, HttpReach, Notifier, SecretInFile, WrittenSecret
from vramwatch.options import Text

TEXT_MOST = 3900
"""Bytes of a text: what is longer than 4096 bytes ntfy makes a file of (its documentation, Limitations)."""

TITLE_MOST = 250
"""Characters of a title; phones show fewer."""

_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")  # ntfy's server/server.go: topicRegex


class Ntfy(Notifier):
    """Pushes messages through ntfy (https://ntfy.sh, or your own server) to phones and browsers."""

    SECRETS: ClassVar[tuple[str, ...]] = ("topic", "token")
    NEEDED: ClassVar[tuple[str, ...]] = ("topic",)

    url: Address = Field("https://ntfy.sh", description="The server.")
    topic: WrittenSecret = Field(
        None, description="The topic; a secret, because anyone who knows it can read and write there."
    )
    topic_file: SecretInFile = Field(None, description="A file with the topic.")
    token: WrittenSecret = Field(None, description="Access token, if the server requires one.")
    token_file: SecretInFile = Field(None, description="A file that holds it.")
    click: Address | None = Field(None, description="What a tap on the message opens, such as a dashboard.")
    tags: tuple[Annotated[Text, Field(pattern=r"^[^,\s]+$")], ...] = Field(
        (), description="Additional tags; names of emojis are shown as emojis."
    )
    http: HttpReach = Field(HttpReach(), description="How the server is reached.")

    @model_validator(mode="after")
    def _is_topic(self) -> Self:
        if not _TOPIC.fullmatch(self.secret("topic") or ""):
            raise ValueError("the topic is none; write 1 to 64 letters, digits, - or _")
        return self

    def places(self) -> tuple[Place, ...]:
        place = place_of(self.url)
        return (place,) if place else ()

    def send(self, message: Message, courier: Courier) -> Outcome:
        token = self.secret("token")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return courier.outcome(courier.post(self.url, self._content(message), headers))

    def _content(self, message: Message) -> dict[str, Any]:
        """Return the message in ntfy's JSON form (docs.ntfy.sh/publish, Publish as JSON)."""
        title, text = headline(message), plain(message)
        content: dict[str, Any] = {
            "topic": self.secret("topic"),
            "title": title[:TITLE_MOST],
            "message": _shortened(text.removeprefix(title).strip()) or title,
            "priority": _priority(message),
            "tags": [*_tags(message), clean(message.host.name), *self.tags],
        }
        return content | ({"click": self.click} if self.click else {})


def _priority(message: Message) -> int:
    """Return ntfy's priority: 5 breaks through what a phone mutes, 3 is usual, 2 makes no sound."""
    if message.kind is not MessageKind.INCIDENTS:
        return 2 if message.kind is MessageKind.DIGEST else 3
    if message.is_over:
        return 3
    return 5 if message.severity is Severity.CRITICAL else 4


def _tags(message: Message) -> tuple[str, ...]:
    """Return the names of emojis (docs.ntfy.sh/emojis)."""
    if message.kind is not MessageKind.INCIDENTS:
        return ("information_source",)
    if message.is_over:
        return ("white_check_mark",)
    return ("rotating_light",) if message.severity is Severity.CRITICAL else ("warning",)


def _shortened(text: str) -> str:
    """Return ``text`` within its bound, with its last line: the command to run."""
    if len(text.encode()) <= TEXT_MOST:
        return text
    body, _, last = text.rpartition("\n")
    last = f"\n…\n{last}"
    room = max(0, TEXT_MOST - len(last.encode()))
    return body.encode()[:room].decode(errors="ignore") + last.encode()[:TEXT_MOST].decode(errors="ignore")
