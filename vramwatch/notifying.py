"""What every notifier is: its options, its secrets, and whether its receiver takes a key or an edit."""

from typing import Annotated, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from vramwatch.core.couriers import Courier, Place, Reach
from vramwatch.core.messages import Message
from vramwatch.core.outgoing import Delivered, Outcome
from vramwatch.core.units import Seconds
from vramwatch.credentials import Secret, SecretFile, SecretText
from vramwatch.options import AbsolutePath, Section, Text
from vramwatch.quantities import Duration


def check_address(url: str) -> str:
    """Return ``url`` if HTTP can go there. Errors: ValueError, without the address: it may be a secret."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port out of range, half an IPv6 address
        is_address = False
    if not is_address or not url.isprintable() or " " in url:
        raise ValueError("not an address; write https://host/path")
    return url


Address = Annotated[Text, AfterValidator(check_address)]
"""An address that is no secret."""

WrittenSecret = Annotated[Secret | None, SecretText()]
SecretInFile = Annotated[Secret | None, SecretFile()]


def _check_secret_address(name: str, address: str) -> None:
    try:
        check_address(address)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class HttpReach(Section):
    """How an HTTP receiver is reached."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    timeout: Annotated[Seconds, Duration("1s", "2m")] = Field(
        Seconds(10.0), description="How long to wait for the connection, and for each part of the answer."
    )
    proxy: WrittenSecret = Field(
        None, description="Proxy for this channel; null: from the environment (HTTPS_PROXY, NO_PROXY)."
    )
    ca_file: AbsolutePath | None = Field(
        None, description="Certificates to trust instead of the system's (PEM)."
    )
    verify_tls: bool = Field(
        True, description="false: anyone in between can read and change messages. Only for tests."
    )

    def reach(self) -> Reach:
        """Return how the courier is to go; the whole exchange may take twice the time-out."""
        return Reach(
            connect=self.timeout,
            read=self.timeout,
            total=2 * self.timeout,
            proxy=self.proxy.reveal() if self.proxy else None,
            ca_file=str(self.ca_file) if self.ca_file else None,
            verify_tls=self.verify_tls,
        )


class Progress:
    """What a receiver has taken of the newest message, so that a retry sends it the rest alone.

    For one thread. It lasts as long as the process: afterwards all of a message may be sent again.
    """

    def __init__(self) -> None:
        self._key = ""
        self._taken: set[str] = set()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Progress)  # two configurations are the same whatever was sent

    __hash__ = None  # type: ignore[assignment]

    def of(self, key: str) -> set[str]:
        """Return names of the parts that were taken of the message ``key``; add to it what is taken."""
        if key != self._key:
            self._key, self._taken = key, set()
        return self._taken


class Notifier(Section):
    """One way to tell people. A subclass in ``vramwatch.notifiers`` is found by its file's name.

    A secret ``x`` has the option ``x`` beside ``x_file``; exactly one of the two is written.
    """

    SECRETS: ClassVar[tuple[str, ...]] = ()
    """Options that hold a secret, without ``_file``."""

    NEEDED: ClassVar[tuple[str, ...]] = ()
    """Those of them without which it cannot work."""

    ADDRESSES: ClassVar[tuple[str, ...]] = ()
    """Those of its secrets that are addresses."""

    KEYED: ClassVar[bool] = False
    """Whether the receiver drops a message whose key it has had."""

    GROUPS: ClassVar[bool] = False
    """Whether its receiver has messages wait for each other, so that none has to wait here."""

    BEATS: ClassVar[bool] = False
    """Whether it is told that vramwatch lives, instead of incidents."""

    LAPSES: ClassVar[bool] = False
    """Whether what it was told lapses at its receiver unless it is said again: beats carry what stands."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for name in self.SECRETS:
            written, in_file = getattr(self, name), getattr(self, f"{name}_file")
            if written is not None and in_file is not None:
                raise ValueError(f"{name} and {name}_file are both written; leave one out")
            if name in self.NEEDED and written is None and in_file is None:
                raise ValueError(f"without {name}; write {name}_file, or {name}: env:NAME")
            if name in self.ADDRESSES and (address := self.secret(name)) is not None:
                _check_secret_address(name, address)
        return self

    @property
    def beat_every(self) -> float | None:
        """Seconds between two beats, messages that are sent after polls and never kept; None: it has none."""
        return None

    @property
    def edits(self) -> bool:
        """Whether what was told can be changed in its place, so that updates call nobody."""
        return False

    def secret(self, name: str) -> str | None:
        """Return the secret of an option, from wherever it was written; None: it was not."""
        found: Secret | None = getattr(self, name) or getattr(self, f"{name}_file")
        return found.reveal() if found else None

    def secrets(self) -> tuple[str, ...]:
        """Return every secret it holds; never to be shown."""
        return tuple(filter(None, map(self.secret, self.SECRETS)))

    def reach(self) -> Reach:
        """Return how its receiver is reached."""
        http = getattr(self, "http", None)
        return http.reach() if isinstance(http, HttpReach) else Reach()

    def places(self) -> tuple[Place, ...]:
        """Return where its receivers listen, to find out whether they can be reached; empty: not known."""
        return ()

    def send(self, message: Message, courier: Courier) -> Outcome:
        """Send ``message`` and return what came of it. May take as long as its ``reach`` says."""
        raise NotImplementedError

    def follow(self, message: Message, delivered: Delivered, courier: Courier) -> str:
        """Do what may follow a message that was sent, such as its chart; return what came of it, "": nothing.

        Called when nothing waits to be sent, and after it is known that the message was delivered: so it
        delays none, and is never a reason to send one again. What fails is lost.
        """
        return ""
