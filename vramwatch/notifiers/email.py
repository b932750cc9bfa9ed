"""E-mail over SMTP (RFC 5321, 3207, 4954): plain text, a thread for each incident, TLS."""

import base64
import contextlib
import ipaddress
import re
import smtplib
import ssl
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from vramwatch.core.couriers import Courier
from vramwatch.core.messages import Message, MessageKind, headline, plain
from vramwatch.core.outgoing import Delivered, Outcome, Rejected, Retry
from vramwatch.core.texts import clean
from vramwatch.core.units import Seconds
from vramwatch.credentials import Mask
from vramwatch.notifying import Notifier, Progress, SecretInFile, WrittenSecret
from vramwatch.options import AbsolutePath, Text
from vramwatch.quantities import Duration
from vramwatch.smtp import Conversation
from vramwatch.wire import Leash

PORTS = {"starttls": 587, "implicit": 465, "none": 25}
"""RFC 6409, 8314 and 5321."""

SUBJECT_MOST = 250
REFERENCES_MOST = 20
DETAIL_MOST = 300

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
    """Sends plain-text mail over SMTP; what follows on an incident answers the mail that opened it."""

    SECRETS: ClassVar[tuple[str, ...]] = ("password",)

    host: Annotated[Text, AfterValidator(_host)] = Field(
        description="The server that takes mail from this machine.", examples=["smtp.example.com"]
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="null: 587 for starttls, 465 for implicit, 25 for none."
    )
    tls: Literal["starttls", "implicit", "none"] = Field(
        "starttls",
        description="none: anybody in between may read and change what is told; no login is possible.",
    )
    ca_file: AbsolutePath | None = Field(
        None, description="Certificates to trust instead of the system's, PEM."
    )
    verify_tls: bool = Field(
        True, description="false: whoever is in between may be the server. Only for a test."
    )
    username: Text | None = Field(None, description="Who logs in; null: nobody.")
    password: WrittenSecret = Field(None, description="The password for it.")
    password_file: SecretInFile = Field(None, description="A file that holds it.")
    sender: MailboxName = Field(description="From whom mail comes.", examples=["vramwatch@example.com"])
    to: tuple[MailboxName, ...] = Field(
        min_length=1, max_length=50, description="Who gets it.", examples=[["gpu-oncall@example.com"]]
    )
    timeout: Annotated[Seconds, Duration("1s", "2m")] = Field(
        Seconds(10.0),
        description="How long to wait for each answer of the server; for all of them, three times this.",
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

    def send(self, message: Message, courier: Courier) -> Outcome:
        root = _root(message)
        own = f"<{message.key}@{self.sender.rpartition('@')[2]}>"
        settled = self._progress.of(message.key)
        leash = Leash()
        with contextlib.closing(leash), leash.within(3 * self.timeout):
            outcome = self._send(self._mail(message, own, root), settled, leash)
        if isinstance(outcome, Delivered):
            return Delivered(outcome.detail, root or own)
        return outcome

    def _send(self, mail: EmailMessage, settled: set[str], leash: Leash) -> Outcome:
        """Send ``mail`` to whoever is not settled, and say what came of it."""
        try:
            context = self._context()
        except OSError:
            return Retry(f"{self.ca_file} cannot be read as certificates")
        smtp = Conversation(leash, self.timeout, context if self.tls == "implicit" else None)
        try:
            self._greet(smtp, context)
            outstanding = [one for one in self.to if one not in settled]
            replies = smtp.deliver(mail.as_bytes(), self.sender, outstanding)
            smtp.leave()
            return self._settle(replies, settled)
        except smtplib.SMTPResponseException as error:
            code, said = error.smtp_code, self._quoted(error.smtp_error)
            reason = f"{self.host}: {code} {said}"
            return Rejected(reason) if 500 <= code < 600 else Retry(reason)
        except smtplib.SMTPNotSupportedError:
            offers = "STARTTLS, and without it nothing is sent" if not smtp.is_safe else "login by password"
            return Rejected(f"{self.host} offers no {offers}; see tls, port and username")
        except ssl.SSLError as error:
            said = getattr(error, "verify_message", "") or error.reason or "the handshake failed"
            return Retry(f"TLS with {self.host} fails: {self._quoted(said)}", is_uncertain=smtp.is_sending)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            return Retry(f"{self.host}{self._why(error, leash)}", is_uncertain=smtp.is_sending)
        finally:
            smtp.close()

    def _greet(self, smtp: Conversation, context: ssl.SSLContext) -> None:
        smtp.open(self.host, self.port or PORTS[self.tls])
        if self.tls == "starttls":
            smtp.starttls(context=context)
            smtp.ehlo_or_helo_if_needed()
        smtp.is_safe = True
        password = self.secret("password")
        if self.username is not None and password is not None:
            smtp.login(self.username, password)

    def _settle(self, replies: dict[str, tuple[int, bytes]], settled: set[str]) -> Outcome:
        """Return what came of it for all recipients; who was taken or refused for good is settled."""
        words = {one: f"{one}: {code} {self._quoted(said)}" for one, (code, said) in replies.items()}
        for one, (code, _) in replies.items():
            if code < 400:
                settled.add(one)
            elif code >= 500:
                settled |= {one, f"refused {words[one]}"}
        later = [words[one] for one, (code, _) in replies.items() if 400 <= code < 500]
        if later:
            return Retry(f"not taken yet: {'; '.join(later)}"[: 2 * DETAIL_MOST])
        refused = sorted(each for each in settled if each.startswith("refused "))
        if len(refused) == len(self.to):
            return Rejected("; ".join(refused)[: 2 * DETAIL_MOST])
        taken = f"{self.host} took it for {len(self.to) - len(refused)} of {len(self.to)}"
        return Delivered("; ".join([taken, *refused])[: 2 * DETAIL_MOST])

    def _mail(self, message: Message, own: str, root: str | None) -> EmailMessage:
        """Return the mail; foreign text in it is on one line, or in the body."""
        mail = EmailMessage(policy=SMTP)
        mail["From"] = Mailbox(f"vramwatch on {clean(message.host.name)}", addr_spec=self.sender)
        mail["To"] = [Mailbox(addr_spec=one) for one in self.to]
        mail["Subject"] = " ".join(headline(message)[:SUBJECT_MOST].split())
        mail["Date"] = format_datetime(datetime.fromtimestamp(message.made, UTC))
        mail["Message-ID"] = own
        before = list(dict.fromkeys(each.reference for each in message.items if each.reference))
        if before:
            mail["In-Reply-To"] = root or before[0]
            mail["References"] = " ".join(before[:REFERENCES_MOST])
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence is answered
        if message.kind is MessageKind.INCIDENTS:
            mail["X-Vramwatch-Severity"] = "resolved" if message.is_over else str(message.severity)
        mail.set_content(f"{plain(message)}\n", cte="quoted-printable")
        return mail

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        if not self.verify_tls:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _why(self, error: Exception, leash: Leash) -> str:
        match error:
            case _ if leash.is_over:
                return f" has not taken it within {3 * self.timeout:g} s"
            case _ if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
                return f" does not answer within {self.timeout:g} s"
            case smtplib.SMTPServerDisconnected():
                return ": the connection was closed before there was an answer"
            case OSError() if error.strerror:
                return f": {error.strerror}"
        if type(error) is smtplib.SMTPException:
            return f": {self._quoted(str(error))}"
        return f" answers wrongly ({type(error).__name__})"

    def _quoted(self, said: bytes | str) -> str:
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        return clean(Mask(self._forms())(text))[:DETAIL_MOST]

    def _forms(self) -> Iterable[str]:
        """Return the password as it stands and as a login sends it (RFC 4616, and AUTH LOGIN)."""
        password = self.secret("password")
        if password is None:
            return ()
        sent = (password, f"\0{self.username}\0{password}")
        return (password, *(base64.b64encode(each.encode()).decode() for each in sent))


def _root(message: Message) -> str | None:
    """Return the mail that began the thread that all of a message's incidents are in; None: there is none."""
    references: Sequence[str | None] = [each.reference for each in message.items]
    return references[0] if references and len(set(references)) == 1 else None
