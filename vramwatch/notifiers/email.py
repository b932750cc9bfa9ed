"""E-mail over SMTP (RFC 5321, 3207, 4954): plain text, a thread for each incident, TLS."""

import ipaddress
import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from vramwatch.core.couriers import Courier, Place, Reach
from vramwatch.core.messages import Message
from vramwatch.core.outgoing import Delivered, Outcome
from vramwatch.core.units import Seconds
from vramwatch.notifying import Notifier, Progress, SecretInFile, WrittenSecret
from vramwatch.options import AbsolutePath, Text
from vramwatch.quantities import Duration

PORTS = {"starttls": 587, "implicit": 465, "none": 25}
"""RFC 6409, 8314 and 5321."""

_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")


def _mailbox(written: str) -> str:
    if len(written) > 254 or not _MAILBOX.fullmatch(written):
        raise ValueError(f"{written!r} is no mailbox; write one like gpu-alerts@example.com")
    return written


def _host(written: str) -> str:
    if not _HOST.fullmatch(written) and not _is_ip(written):
        raise ValueError(f"{written!r} is no host; write a name or an IP address, and the port apart")
    return written


def _is_ip(written: str) -> bool:
    try:
        ipaddress.ip_address(written)
    except ValueError:
        return False
    return True


MailboxName = Annotated[Text, AfterValidator(_mailbox)]


class Email(Notifier):
    """Sends plain-text mail over SMTP; all mails about an incident form one thread."""

    SECRETS: ClassVar[tuple[str, ...]] = ("password",)

    host: Annotated[Text, AfterValidator(_host)] = Field(
        description="The SMTP server.", examples=["smtp.example.com"]
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="The port; null: 587 for starttls, 465 for implicit, 25 for none."
    )
    tls: Literal["starttls", "implicit", "none"] = Field(
        "starttls",
        description="none: anyone in between can read and change messages, and login is not possible.",
    )
    ca_file: AbsolutePath | None = Field(
        None, description="Certificates to trust instead of the system's (PEM)."
    )
    verify_tls: bool = Field(
        True, description="false: anyone in between can pose as the server. Only for tests."
    )
    username: Text | None = Field(None, description="The user name for login; null: no login.")
    password: WrittenSecret = Field(None, description="The password.")
    password_file: SecretInFile = Field(None, description="A file that holds it.")
    sender: MailboxName = Field(description="The sender's address.", examples=["vramwatch@example.com"])
    to: tuple[MailboxName, ...] = Field(
        min_length=1, max_length=50, description="The recipients.", examples=[["gpu-oncall@example.com"]]
    )
    timeout: Annotated[Seconds, Duration("1s", "2m")] = Field(
        Seconds(10.0),
        description="How long to wait for each answer of the server; three times this for all of them.",
    )

    _progress: Progress = PrivateAttr(default_factory=Progress)

    @model_validator(mode="after")
    def _logs_in_with_tls_alone(self) -> Self:
        has_password = self.secret("password") is not None
        if has_password is (self.username is None):
            raise ValueError("username and password go together; write both, or none")
        if has_password and self.tls == "none":
            raise ValueError("tls: none would send the password for all to read; write starttls or implicit")
        return self

    def reach(self) -> Reach:
        return Reach(connect=self.timeout, read=self.timeout, total=3 * self.timeout)

    def places(self) -> tuple[Place, ...]:
        return (Place(self.host, self.port or PORTS[self.tls]),)

    def send(self, message: Message, courier: Courier) -> Outcome:
        # What MIME and SMTP import costs time and memory, for whoever has this channel alone.
        from vramwatch.couriers.mailing import Relay, compose, thread_of  # noqa: PLC0415

        relay = Relay(
            self.host,
            self.port or PORTS[self.tls],
            self.tls,
            str(self.ca_file) if self.ca_file else None,
            self.verify_tls,
            self.username,
            self.secret("password"),
            self.timeout,
        )
        mail = compose(message, self.sender, self.to)
        outcome = relay.take(mail, self.sender, self.to, self._progress.of(message.key))
        if isinstance(outcome, Delivered):
            return Delivered(outcome.detail, thread_of(message, mail))
        return outcome
