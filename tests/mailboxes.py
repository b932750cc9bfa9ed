"""A mail server on loopback that keeps what it is sent, or answers as a test wants."""

import base64
import contextlib
import email
import email.policy
import ssl
from dataclasses import dataclass, field

from tests.receivers import Exchange, receiving


@dataclass
class Mail:
    sender: str
    to: list[str]
    raw: bytes
    is_encrypted: bool

    @property
    def parsed(self):
        return email.message_from_bytes(self.raw, policy=email.policy.default)


@dataclass
class MailServer:
    """``replies``: command -> what it is answered with instead; with several, one after the other."""

    port: int = 0
    starttls: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    replies: dict[str, str | list[str]] = field(default_factory=dict)
    mails: list[Mail] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)

    def serve(self, exchange: Exchange) -> None:
        talk = _Talk(self, exchange)
        with contextlib.closing(talk):
            talk.run()


class _Talk:
    def __init__(self, server: MailServer, exchange: Exchange) -> None:
        self.server, self.exchange = server, exchange
        self.connection = exchange.connection
        self.file = self.connection.makefile("rb")
        self.sender, self.to = "", []

    def close(self) -> None:
        self.file.close()
        self.connection.close()

    def say(self, text: str) -> None:
        self.connection.sendall(text.replace("\n", "\r\n").encode() + b"\r\n")

    def run(self) -> None:
        self.say(self._reply("GREETING", "220 mail.example ESMTP"))
        while line := self.file.readline().decode().strip():
            command = line.split(" ")[0].split(":")[0].upper()
            self.server.commands.append(line)
            reply = self._reply(command, "")
            if reply == "close":
                return
            if reply == "hang":
                self.exchange.hang()
                return
            if reply:
                self.say(reply)
                continue
            getattr(self, f"do_{command.lower()}")(line)
            if command == "QUIT":
                return

    def _reply(self, command: str, usual: str) -> str:
        given = self.server.replies.get(command, usual)
        return (given.pop(0) if given else usual) if isinstance(given, list) else given

    def do_ehlo(self, line: str) -> None:
        offers = ["mail.example", "8BITMIME"]
        offers += ["STARTTLS"] if self.server.starttls and not self._is_encrypted else []
        offers += ["AUTH PLAIN"] if self.server.login else []
        self.say("\n".join([*(f"250-{each}" for each in offers), "250 SIZE 1000000"]))

    def do_starttls(self, line: str) -> None:
        self.say("220 go ahead")
        self.connection = self.server.starttls.wrap_socket(self.connection, server_side=True)
        self.file.close()
        self.file = self.connection.makefile("rb")

    def do_auth(self, line: str) -> None:
        _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
        self.server.credentials.append(password)
        welcome = (user, password) == self.server.login
        self.say("235 welcome" if welcome else f"535 5.7.8 {password} is wrong: {line.split(' ')[2]}")

    def do_mail(self, line: str) -> None:
        self.sender, self.to = line.partition("<")[2].partition(">")[0], []
        self.say("250 ok")

    def do_rcpt(self, line: str) -> None:
        self.to.append(line.partition("<")[2].partition(">")[0])
        self.say("250 ok")

    def do_data(self, line: str) -> None:
        self.say("354 go on")
        lines = []
        while (read := self.file.readline()) not in (b".\r\n", b""):
            lines.append(read[1:] if read.startswith(b".") else read)
        reply = self._reply("END", "250 queued as 12AB")
        if reply == "close":
            return
        if reply.startswith("250"):
            self.server.mails.append(Mail(self.sender, self.to, b"".join(lines), self._is_encrypted))
        self.say(reply)

    def do_quit(self, line: str) -> None:
        self.say("221 bye")

    @property
    def _is_encrypted(self) -> bool:
        return isinstance(self.connection, ssl.SSLSocket)


@contextlib.contextmanager
def mail_server(tls: ssl.SSLContext | None = None, **options):
    """``tls``: from the first byte on, as on port 465."""
    server = MailServer(**options)
    with receiving(server.serve, tls, reads=False) as receiver:
        server.port = receiver.port
        yield server
