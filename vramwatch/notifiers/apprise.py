"""Apprise: a hundred other services by their apprise URLs, through the extra apprise in a child.

Source: appriseit.com, the URLs of each service; the library is github.com/caronc/apprise.
"""

import json
import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from vramwatch.core.couriers import Courier, Reach
from vramwatch.core.incidents import Severity
from vramwatch.core.messages import Message, MessageKind, headline, plain
from vramwatch.core.outgoing import Delivered, Outcome, Rejected, Retry
from vramwatch.core.texts import clean
from vramwatch.core.units import Seconds
from vramwatch.extras import ExtraError, ExtraTimeout, ask, how_to_install, is_installed
from vramwatch.notifying import Notifier, SecretInFile, WrittenSecret
from vramwatch.quantities import Duration

SAID_MOST = 200
"""Characters that are kept of what one service answered."""

SECRET_LEAST = 4
"""Characters: shorter parts of a URL give nothing away, and may stand in any sentence."""


class Apprise(Notifier):
    """Notifies about a hundred other services by their apprise URLs; needs the extra apprise."""

    SECRETS: ClassVar[tuple[str, ...]] = ("urls",)
    NEEDED: ClassVar[tuple[str, ...]] = ("urls",)

    urls: WrittenSecret = Field(None, description="Apprise URLs, separated by spaces; a secret.")
    urls_file: SecretInFile = Field(None, description="A file with the URLs, on one line.")
    deadline: Annotated[Seconds, Duration("5s", "5m")] = Field(
        Seconds(30.0), description="How long sending to all of them may take."
    )

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        if not is_installed("apprise"):
            raise ValueError(f"the extra apprise is not installed; {how_to_install('apprise')}")
        return self

    def reach(self) -> Reach:
        return Reach(total=self.deadline)

    def send(self, message: Message, courier: Courier) -> Outcome:
        """Send through a child; the courier has no part in it."""
        urls = (self.secret("urls") or "").split()
        first, _, rest = plain(message).partition("\n")
        told = {
            "urls": urls,
            "title": headline(message),
            "body": rest.strip() or first,
            "kind": _kind(message),
        }
        try:
            said: Any = json.loads(ask("apprising", json.dumps(told).encode(), self.deadline))
        except ExtraTimeout as error:
            return Retry(f"apprise: {error}", is_uncertain=True)
        except (ExtraError, ValueError) as error:
            return Retry(f"apprise: {error}")
        return outcome(said, urls)


def outcome(said: list[dict[str, Any]], urls: list[str]) -> Outcome:
    """Return what became of a message from what is ``said`` of each of ``urls``, in their order.

    Delivered as soon as one has it: sent again, it would come twice there. The others are named.
    """
    failed = [_words(at, each, urls[at - 1]) for at, each in enumerate(said, 1) if not each["is_sent"]]
    if len(failed) < len(said):
        sent = ", ".join(clean(each["service"]) for each in said if each["is_sent"])
        return Delivered("; ".join([f"sent to {sent}", *failed]))
    if all(each["service"] is None for each in said):
        return Rejected("; ".join(failed))
    return Retry("; ".join(failed))


def _words(at: int, said: dict[str, Any], url: str) -> str:
    if said["service"] is None:
        return f"URL {at} of apprise is none that it knows; see `apprise --details`"
    told = masked(" ".join(said["log"]), url)
    return (
        f"{clean(said['service'])} (URL {at}) failed: {clean(told)[:SAID_MOST] or 'apprise does not say why'}"
    )


def masked(text: str, url: str) -> str:
    """Return ``text`` without any part of ``url`` but its scheme: each may be a secret of its service."""
    _, _, rest = url.partition("://")
    for part in sorted({url, rest, *re.split(r"[/?&=@:,]", rest)}, key=len, reverse=True):
        if len(part) >= SECRET_LEAST:
            text = text.replace(part, "***")
    return text


def _kind(message: Message) -> str:
    """Return the word that apprise has for how grave it is."""
    if message.kind is not MessageKind.INCIDENTS:
        return "info"
    if message.is_over:
        return "success"
    return "failure" if message.severity is Severity.CRITICAL else "warning"
