"""Mail: a message as MIME, and its way to a server, with what came of it for each recipient."""

import base64
import contextlib
import smtplib
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from vramwatch.core.messages import Message, MessageKind, headline, plain
from vramwatch.core.outgoing import Delivered, Outcome, Rejected, Retry
from vramwatch.core.texts import clean
from vramwatch.couriers.smtp import Conversation, is_taken
from vramwatch.couriers.wire import Leash
from vramwatch.credentials import Mask

SUBJECT_MOST = 250
REFERENCES_MOST = 20
DETAIL_MOST = 300


def compose(message: Message, sender: str, to: Sequence[str]) -> EmailMessage:
    """Return the mail for ``message``; foreign text in it is on one line, or in the body.

    Its Message-ID is made of the message's key; it answers the mails that its incidents were told in.
    """
    mail = EmailMessage(policy=SMTP)
    mail["From"] = Mailbox(f"vramwatch on {clean(message.host.name)}", addr_spec=sender)
    mail["To"] = [Mailbox(addr_spec=one) for one in to]
    mail["Subject"] = " ".join(headline(message)[:SUBJECT_MOST].split())
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.made, UTC))
    mail["Message-ID"] = f"<{message.key}@{sender.rpartition('@')[2]}>"
    before = list(dict.fromkeys(each.reference for each in message.items if each.reference))
    if before:
        mail["In-Reply-To"] = before[0]
        mail["References"] = " ".join(before[:REFERENCES_MOST])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence is answered
    if message.kind is MessageKind.INCIDENTS:
        mail["X-Vramwatch-Severity"] = "resolved" if message.is_over else str(message.severity)
    mail.set_content(f"{plain(message)}\n", cte="quoted-printable")
    return mail


def thread_of(message: Message, mail: EmailMessage) -> str:
    """Return the mail that began the thread of all incidents of ``message``; there is none: its own."""
    references = {each.reference for each in message.items}
    root = references.pop() if len(references) == 1 else None
    return root or str(mail["Message-ID"])


@dataclass(frozen=True)
class Relay:
    """A mail server and how it is spoken to. ``tls``: starttls, implicit or none; ``timeout``: seconds.

    Without ``password`` nobody logs in.
    """

    host: str
    port: int
    tls: str
    ca_file: str | None
    verify_tls: bool
    username: str | None
    password: str | None
    timeout: float

    def take(self, mail: EmailMessage, sender: str, to: Sequence[str], settled: set[str]) -> Outcome:
        """Send ``mail`` to whoever of ``to`` is not ``settled`` yet; return what came of it for all of them.

        Takes at most three times the time-out. Who is taken, or refused for good, is added to ``settled``.
        """
        try:
            context = self._context()
        except OSError:
            return Retry(f"{self.ca_file} cannot be read as certificates")
        leash = Leash()
        with contextlib.closing(leash), leash.within(3 * self.timeout):
            smtp = Conversation(leash, self.timeout, context if self.tls == "implicit" else None)
            try:
                self._greet(smtp, context)
                outstanding = [one for one in to if one not in settled]
                replies = smtp.deliver(mail.as_bytes(), sender, outstanding)
                smtp.leave()
            except (smtplib.SMTPException, OSError, ValueError) as error:
                return self._failure(error, smtp, leash)
            finally:
                smtp.close()
        return self._settle(replies, to, settled)

    def _greet(self, smtp: Conversation, context: ssl.SSLContext) -> None:
        smtp.open(self.host, self.port)
        if self.tls == "starttls":
            smtp.starttls(context=context)
            smtp.ehlo_or_helo_if_needed()
        smtp.is_safe = True
        if self.username is not None and self.password is not None:
            smtp.login(self.username, self.password)

    def _failure(self, error: Exception, smtp: Conversation, leash: Leash) -> Outcome:
        """Return what an error comes to; once the mail was on its way it may have arrived."""
        match error:
            case smtplib.SMTPResponseException():
                reason = f"{self.host}: {error.smtp_code} {self._quoted(error.smtp_error)}"
                if 500 <= error.smtp_code < 600:
                    return Rejected(reason)
                return Retry(reason)
            case smtplib.SMTPNotSupportedError():
                offers = "login by password" if smtp.is_safe else "STARTTLS, and without it nothing is sent"
                return Rejected(f"{self.host} offers no {offers}; see tls, port and username")
            case ssl.SSLError():
                said = getattr(error, "verify_message", "") or error.reason or "the handshake failed"
                reason = f"TLS with {self.host} fails: {self._quoted(said)}"
            case _:
                reason = f"{self.host}:{self.port}{self._why(error, leash)}"
        return Retry(reason, is_uncertain=smtp.is_sending)

    def _settle(self, replies: dict[str, tuple[int, bytes]], to: Sequence[str], settled: set[str]) -> Outcome:
        """Return what came of it for all recipients; who was taken or refused for good is settled."""
        words = {one: f"{one}: {code} {self._quoted(said)}" for one, (code, said) in replies.items()}
        for one, (code, _) in replies.items():
            if is_taken(code):
                settled.add(one)
            elif code >= 500:
                settled |= {one, f"refused {words[one]}"}
        later = [words[one] for one in replies if one not in settled]
        if later:
            return Retry(f"not taken yet: {'; '.join(later)}"[: 2 * DETAIL_MOST])
        refused = sorted(each for each in settled if each.startswith("refused "))
        if len(refused) == len(to):
            return Rejected("; ".join(refused)[: 2 * DETAIL_MOST])
        taken = f"{self.host} took it for {len(to) - len(refused)} of {len(to)}"
        return Delivered("; ".join([taken, *refused])[: 2 * DETAIL_MOST])

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
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
        if self.password is None:
            return ()
        sent = (self.password, f"\0{self.username}\0{self.password}")
        return (self.password, *(base64.b64encode(each.encode()).decode() for each in sent))
