"""A dead man's switch: a URL that is called while vramwatch completes polls; its owner tells when it is not.

A beat says that a poll was completed and is in the store, so that what it shows can be told. No beat leaves
while the daemon is stuck, has ended, or cannot write its store. That the driver cannot be read stops none:
of that vramwatch tells itself, as an incident.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vramwatch.core.couriers import Courier, Place, place_of
from vramwatch.core.messages import Message, MessageKind, plain
from vramwatch.core.outgoing import Outcome, Rejected
from vramwatch.core.texts import clean
from vramwatch.core.units import Seconds
from vramwatch.notifying import HttpReach, Notifier, SecretInFile, WrittenSecret
from vramwatch.quantities import Duration


class Heartbeat(Notifier):
    """Calls a URL while vramwatch completes polls, so that a service elsewhere notices when it does not.

    It is told of no incidents.
    """

    SECRETS: ClassVar[tuple[str, ...]] = ("url",)
    NEEDED: ClassVar[tuple[str, ...]] = ("url",)
    BEATS: ClassVar[bool] = True

    url: WrittenSecret = Field(None, description="The URL to call; a secret.")
    url_file: SecretInFile = Field(None, description="A file with the URL.")
    method: Literal["GET", "POST", "HEAD"] = Field(
        "GET",
        description="The HTTP method. POST sends a line with the host's name, which some services show.",
    )
    every: Annotated[Seconds, Duration("1s", "1d")] = Field(
        Seconds(60.0),
        description="How often, at most once per poll. A failed call is not made up for.",
    )
    http: HttpReach = Field(HttpReach(), description="How the URL is reached.")

    @property
    def beat_every(self) -> float | None:
        return self.every

    def places(self) -> tuple[Place, ...]:
        place = place_of(self.secret("url") or "")
        return (place,) if place else ()

    def send(self, message: Message, courier: Courier) -> Outcome:
        if message.kind in (MessageKind.INCIDENTS, MessageKind.DIGEST):
            return Rejected(f"a heartbeat takes no {message.kind}")
        said = f"{clean(message.host.name)}: vramwatch completes polls"
        if message.kind is MessageKind.TEST:
            said = plain(message)
        body = said if self.method == "POST" else ""
        return courier.outcome(courier.post(self.secret("url") or "", body, method=self.method))
