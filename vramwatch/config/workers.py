"""The section that says which processes may enrol as workers, and what that may cost."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from vramwatch.core.units import Seconds
from vramwatch.options import AbsolutePath, Name, Section
from vramwatch.quantities import Duration

ENROL_SOCKET = "enrol.sock"
MAX_USERS = 256


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


UserName = Annotated[Name, BeforeValidator(_as_text)]


class WorkersOptions(Section):
    """Processes that offer, through vramwatch-sdk, to report their memory and to give it back."""

    enabled: bool = Field(True, description="Whether workers may enrol.")
    socket: AbsolutePath | None = Field(
        None,
        description=(
            "The socket; null: enrol.sock next to the control socket. Only root and the daemon's "
            "own user may be able to write to its directory."
        ),
    )
    group: UserName | None = Field(
        None,
        description=(
            "The group whose members may enrol, by name or number; it owns the socket. null: only "
            "processes of root and of the daemon's own user."
        ),
        examples=["inference"],
    )
    users: Annotated[tuple[UserName, ...], Field(max_length=MAX_USERS)] | None = Field(
        None,
        description="Only these members of the group, by name or uid; null: every member.",
        examples=[["alice", "1000"]],
    )
    limit: int = Field(256, ge=1, le=1024, description="How many workers may be connected at a time.")
    limit_per_user: int = Field(64, ge=1, le=1024, description="The same for one user; not above limit.")
    report_interval: Annotated[Seconds, Duration("1s", "1m")] = Field(
        Seconds(5.0), description="How often a worker is asked to report."
    )

    def place(self, control: Path) -> Path:
        """Return where workers enrol; ``control``: the socket of verbs that change something."""
        return self.socket or control.with_name(ENROL_SOCKET)
