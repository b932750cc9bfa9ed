"""The sections of the configuration that import nothing of what they configure.

Verbs that only find the daemon and its store (``basics``) start as fast as these do.
"""

import re
import stat
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic.functional_validators import AfterValidator

from vramwatch.core.units import GIB, Bytes, Seconds
from vramwatch.credentials import Secret, SecretFile
from vramwatch.options import AbsolutePath, Glob, Misfit, Name, Section, refuse_disorder
from vramwatch.quantities import Address, Duration, Fraction, Listening, Size, duration_text

if TYPE_CHECKING:
    from vramwatch.core.cadence import Rates
    from vramwatch.core.messages import Host

DEFAULT_SOURCE = "nvml"
CONTROL_SOCKET = "control.sock"
DAY = 86400.0
MAX_FOLLOWED = 64
"""Globs of each kind of log: each is compared with every line that may mean something."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")  # Prometheus' data model: label names


class PollOptions(Section):
    """How often the GPUs are read. The driver's cost bounds all of it."""

    _BASES: ClassVar = ("interval", "list_interval")
    _ORDERED: ClassVar = (
        ("fastest", "interval"),
        ("interval", "slowest"),
        ("list_min_interval", "list_interval"),
    )

    interval: Annotated[Seconds, Duration("100ms", "1m")] = Field(
        Seconds(1.0), description="How often the memory of every GPU is read."
    )
    fastest: Annotated[Seconds, Duration("50ms", "1m")] = Field(
        Seconds(0.2), description="The interval while a GPU is nearly full; not above interval."
    )
    slowest: Annotated[Seconds, Duration("100ms", "10m")] = Field(
        Seconds(5.0), description="The interval while nothing runs and nothing changes; not below interval."
    )
    list_interval: Annotated[Seconds, Duration("500ms", "10m")] = Field(
        Seconds(5.0),
        description=(
            "How often the list of processes is read. This costs the driver far more than reading memory."
        ),
    )
    list_min_interval: Annotated[Seconds, Duration("200ms", "10m")] = Field(
        Seconds(2.0),
        description="The same if memory has changed since the last list; not above list_interval.",
    )
    slow_interval: Annotated[Seconds, Duration("5s", "1h")] = Field(
        Seconds(30.0), description="How often temperature, power and the number of GPUs are read."
    )
    driver_share: Annotated[float, Fraction(0.0001, 0.1)] = Field(
        0.005,
        description=(
            "The share of time that may be spent in driver calls; intervals are lengthened to stay within it."
        ),
    )

    @model_validator(mode="after")
    def _ordered(self) -> "PollOptions":
        refuse_disorder(self, self._ORDERED, self._BASES)
        return self

    def rates(self) -> "Rates":
        from vramwatch.core.cadence import Rates

        return Rates(**{name: getattr(self, name) for name in type(self).model_fields})


class Commands(StrEnum):
    """How much of a command line is kept."""

    FULL = "full"
    REDACTED = "redacted"
    NAME = "name"


class StoreOptions(Section):
    """Where the history is kept."""

    path: AbsolutePath | None = Field(
        None,
        description=(
            "The database; null: vramwatch.db in the system's state directory "
            "(/var/lib/vramwatch) for a service or root, otherwise in the user's."
        ),
    )
    commands: Commands = Field(
        Commands.REDACTED,
        description=(
            "How much of a process's command line is kept: full (as it is, secrets included), "
            "redacted (what looks like a secret is masked), name (only the program's name)."
        ),
    )
    raw: Annotated[Seconds, Duration("1h", "3650d")] = Field(
        Seconds(7 * DAY),
        description="How long every sample is kept, counted back from the newest.",
    )
    minutes: Annotated[Seconds, Duration("1h", "3650d")] = Field(
        Seconds(90 * DAY),
        description="How long a summary of every minute is kept; not below raw.",
    )
    hours: Annotated[Seconds, Duration("1h", "3650d")] = Field(
        Seconds(730 * DAY),
        description="How long a summary of every hour is kept; not below minutes.",
    )
    max_size: Annotated[Bytes | None, Size("16MiB", "64TiB")] = Field(
        Bytes(2 * GIB),
        description="The largest size of the database; the oldest data is deleted first. null: no limit.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> "StoreOptions":
        for lesser, greater in (("raw", "minutes"), ("minutes", "hours")):
            low, high = getattr(self, lesser), getattr(self, greater)
            if low > high:
                bound = duration_text(low)
                raise Misfit({greater: f"{duration_text(high)} is below {lesser}; write at least {bound}"})
        return self


class OwnerMatch(Section):
    """What a process must be to fall under a rule; globs, all that are given must match."""

    user: Glob | None = Field(None, description="User name or uid.", examples=["alice"])
    unit: Glob | None = Field(
        None, description="systemd unit, including the instance.", examples=["llama@*.service"]
    )
    command: Glob | None = Field(
        None, description="Command line of the process or of one of its parents.", examples=["*serve.py*"]
    )
    container: Glob | None = Field(
        None, description="Container name, also that within its pod.", examples=["chat-*"]
    )
    image: Glob | None = Field(None, description="Container image.", examples=["*/vllm-openai:*"])
    pod: Glob | None = Field(None, description="Pod name.", examples=["chat-*"])
    namespace: Glob | None = Field(None, description="Kubernetes namespace.", examples=["prod"])
    engine: Glob | None = Field(None, description="Inference engine.", examples=["vllm"])
    model: Glob | None = Field(None, description="Model served by the engine.", examples=["Llama-3*"])
    slurm_job: Glob | None = Field(None, description="Slurm job name or number.", examples=["train-*"])

    @model_validator(mode="after")
    def _says_something(self) -> "OwnerMatch":
        if not self.conditions():
            raise ValueError(f"no condition, so it would match everything; write {_either(type(self))}")
        return self

    def conditions(self) -> dict[str, str]:
        """Return the globs that were given, by what they are compared with; never empty once read."""
        return self.model_dump(exclude_none=True)


class OwnerEntry(Section):
    """Names the workload of the processes that match; the first entry that matches counts."""

    match: OwnerMatch = Field(description="Case-sensitive globs; all that are given must match.")
    name: Name = Field(
        description="The name shown to people, under which history is kept.", examples=["chat"]
    )
    team: Name | None = Field(None, description="The team responsible for it.", examples=["assistants"])
    budget: Annotated[Bytes | None, Size("1MiB", "64TiB")] = Field(
        None,
        description=(
            "Memory that all of its processes together should stay within on each GPU. Growth is "
            "judged by what is left of the budget, if that is less than what is free on the GPU."
        ),
        examples=["40GiB"],
    )


class ControlOptions(Section):
    """The socket through which verbs that change something reach the daemon."""

    socket: AbsolutePath | None = Field(
        None,
        description=(
            "Its path; null: control.sock in the service's runtime directory, in /run/vramwatch "
            "for root, otherwise in $XDG_RUNTIME_DIR/vramwatch."
        ),
    )
    group: Name | None = Field(
        "vramwatch",
        description=(
            "The group whose members may use it, besides root and the daemon's own user; null: nobody else."
        ),
    )

    def runtime(self, environment: Mapping[str, str], uid: int) -> Path:
        """Return the runtime directory of a daemon of user ``uid``: that of its socket."""
        return self.place(environment, uid).parent

    def place(self, environment: Mapping[str, str], uid: int) -> Path:
        """Return where a daemon of user ``uid`` listens; absolute, its folder may not exist yet."""
        if self.socket:
            return self.socket
        runtime = environment.get("RUNTIME_DIRECTORY", "").split(":")[0]  # systemd.exec(5): a list
        if runtime:
            return Path(runtime) / CONTROL_SOCKET
        if uid == 0:
            return Path("/run/vramwatch") / CONTROL_SOCKET
        return Path(environment.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}") / "vramwatch" / CONTROL_SOCKET


def _private(secret: Secret | None) -> Secret | None:
    if secret is not None and secret.origin is not None:
        path = Path(secret.origin)
        if path.stat().st_mode & stat.S_IROTH:
            raise ValueError(f"{path} can be read by every user of this machine; run: chmod o-r {path}")
    return secret


class HttpOptions(Section):
    """Health and metrics, for other programs."""

    listen: Annotated[Address | None, Listening()] = Field(
        Address("127.0.0.1", 9478),
        description=(
            "Address of /metrics, /-/healthy and /-/ready; off: none. An address that other "
            "machines can reach requires token_file."
        ),
    )
    token_file: Annotated[Secret | None, SecretFile(), AfterValidator(_private)] = Field(
        None,
        description=(
            "A file with a token. /metrics then requires it as a bearer token; without it, "
            "/-/healthy says only whether all is well."
        ),
    )
    processes: bool = Field(
        False,
        description=(
            "Whether /metrics includes single processes by pid; these series come and go with the processes."
        ),
    )

    @model_validator(mode="after")
    def _others_are_asked_for_a_token(self) -> "HttpOptions":
        if self.listen and not self.listen.is_loopback and self.token_file is None:
            host = self.listen.host
            raise Misfit(
                {
                    "listen": f"{host!r} can be reached from other machines; write http.token_file too, "
                    f"a file that holds a token, or a loopback address such as 127.0.0.1:{self.listen.port}"
                }
            )
        return self


def _unit(glob: str) -> str:
    if not _UNIT_GLOB.fullmatch(glob):
        raise ValueError("no unit's name: letters, digits, : - _ . \\ @ and the globs * ? []")
    if "." not in glob and not glob.endswith("*"):
        raise ValueError(f"a unit's name has a suffix; write {glob}.service")
    return glob


_UNIT_GLOB = re.compile(r"[A-Za-z0-9:_.\\@*?\[\]!-]+")  # systemd.unit(5)
UnitGlob = Annotated[Glob, AfterValidator(_unit)]


class LogsOptions(Section):
    """Logs of other programs that are followed for out-of-memory lines; none unless it is named here."""

    units: tuple[UnitGlob, ...] = Field(
        (),
        max_length=MAX_FOLLOWED,
        description=(
            "systemd units whose journal is followed for lines that say that GPU memory ran out, "
            "by name or glob, as in [vllm.service, 'llama@*.service']. Only the numbers in those "
            "lines are kept, never text. Empty: no journal is read."
        ),
    )
    containers: tuple[Glob, ...] = Field(
        (),
        max_length=MAX_FOLLOWED,
        description=(
            "Containers whose log file is followed in the same way: Docker containers by name, "
            "those of a pod by name or NAMESPACE/POD/CONTAINER; globs, as in ['chat-*', "
            "'prod/*/server']. Empty: no log file is read."
        ),
    )


class LogOptions(Section):
    """What the daemon writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The lowest level that is written."
    )


class HostOptions(Section):
    """What this machine is called in messages."""

    name: Name | None = Field(None, description="Its name in messages and incident ids; null: the hostname.")
    labels: Mapping[Name, Name] = Field(
        {}, description="Additional labels, as in {cluster: lab, rack: b4}; also labels of alerts."
    )

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, labels: Mapping[str, str]) -> Mapping[str, str]:
        wrong = [name for name in labels if not _LABEL.fullmatch(name)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no label's name; write letters, digits and _")
        return labels

    def host(self, hostname: str) -> "Host":
        from vramwatch.core.messages import Host

        return Host(self.name or hostname, dict(self.labels))


def _either(model: type[BaseModel]) -> str:
    *most, last = model.model_fields
    return f"{', '.join(most)} or {last}"
