"""What every notifier is: its options, its secrets, and whether its receiver takes a key or an edit."""

from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator

from vramwatch.core.couriers import Courier, Place, Reach
from vramwatch.core.messages import Message
from vramwatch.core.outgoing import Outcome
from vramwatch.core.units import Seconds
from vramwatch.credentials import Secret, SecretFile, SecretText
from vramwatch.options import AbsolutePath, Section, Text
from vramwatch.quantities import Duration

WrittenSecret = Annotated[Secret | None, SecretText()]
SecretInFile = Annotated[Secret | None, SecretFile()]


class HttpReach(Section):
    """How an HTTP receiver is reached."""

    timeout: Annotated[Seconds, Duration("1s", "2m")] = Field(
        Seconds(10.0), description="How long to wait for a connection, and for each part of an answer."
    )
    proxy: Text | None = Field(
        None, description="Proxy for this channel; null: as the environment says (HTTPS_PROXY, NO_PROXY)."
    )
    ca_file: AbsolutePath | None = Field(
        None, description="Certificates to trust instead of the system's, PEM."
    )
    verify_tls: bool = Field(
        True, description="false: anybody in between may read and change what is told. Only for a test."
    )

    def reach(self) -> Reach:
        """Return how the courier is to go; the whole exchange may take twice the time-out."""
        return Reach(
            connect=self.timeout,
            read=self.timeout,
            total=2 * self.timeout,
            proxy=self.proxy,
            ca_file=str(self.ca_file) if self.ca_file else None,
            verify_tls=self.verify_tls,
        )


class Notifier(Section):
    """One way to tell people. A subclass in ``vramwatch.notifiers`` is found by its file's name.

    A secret ``x`` has the option ``x`` beside ``x_file``; exactly one of the two is written.
    """

    SECRETS: ClassVar[tuple[str, ...]] = ()
    """Options that hold a secret, without ``_file``."""

    NEEDED: ClassVar[tuple[str, ...]] = ()
    """Those of them without which it cannot work."""

    KEYED: ClassVar[bool] = False
    """Whether the receiver drops a message whose key it has had."""

    EDITS: ClassVar[bool] = False
    """Whether what was told can be changed in its place, so that updates call nobody."""

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
        return self

    @property
    def beat_every(self) -> float | None:
        """Seconds between two beats, messages that are sent after polls and never kept; None: it has none."""
        return None

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
