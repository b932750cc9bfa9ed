"""The shape of the configuration: all of its sections, what each means and defaults to."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from pydantic import ConfigDict, Field

from vramwatch.config.detection import DetectionOptions
from vramwatch.config.engines import EnginesOptions
from vramwatch.config.probe import ProbeOptions
from vramwatch.config.remedies import RemediesOptions
from vramwatch.config.sections import (
    ControlOptions,
    HostOptions,
    HttpOptions,
    LogOptions,
    LogsOptions,
    OwnerEntry,
    PollOptions,
    StoreOptions,
)
from vramwatch.config.telling import AlertingOptions, ChannelOptions
from vramwatch.config.workers import WorkersOptions
from vramwatch.core.model import Instant
from vramwatch.core.owners import OwnerRule
from vramwatch.core.ports import Feed
from vramwatch.options import Name, Section

MAX_CHANNELS = 32
"""Each has a thread of its own."""

MAX_OWNERS = 1000
"""Rules; each is tried once for every new process."""


@runtime_checkable
class SourceOptions(Protocol):
    """A plug-in of ``vramwatch.sources`` with its options filled in."""

    def open(self, newest: Instant | None) -> Feed: ...


class Config(Section):
    """All that an operator decides. Read by ``load``, which chooses ``source`` among the plug-ins."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    source: SourceOptions = Field(description="Where readings come from: one source, with its options.")
    poll: PollOptions = Field(
        PollOptions(), description="How often the GPUs are read, within a budget of driver time."
    )
    store: StoreOptions = Field(StoreOptions(), description="Where the history is kept.")
    owners: tuple[OwnerEntry, ...] = Field(
        (),
        max_length=MAX_OWNERS,
        description=(
            "Your names for workloads; the first match counts. Other workloads are named automatically."
        ),
    )
    detection: DetectionOptions = Field(
        DetectionOptions(), description="When growth is reported, and which detectors look for it."
    )
    control: ControlOptions = Field(
        ControlOptions(), description="The socket for commands that change something."
    )
    workers: WorkersOptions = Field(
        WorkersOptions(), description="Which processes may enrol as workers (docs/workers.md)."
    )
    engines: EnginesOptions = Field(
        EnginesOptions(),
        description="Figures that inference engines report about themselves (docs/engines.md).",
    )
    http: HttpOptions = Field(HttpOptions(), description="Metrics and health over HTTP.")
    logs: LogsOptions = Field(
        LogsOptions(),
        description="Logs of other programs that are searched for out-of-memory lines; none by default.",
    )
    log: LogOptions = Field(LogOptions(), description="What the daemon writes to standard error.")
    host: HostOptions = Field(HostOptions(), description="How this machine is identified in messages.")
    alerting: AlertingOptions = Field(
        AlertingOptions(), description="When messages are sent, and when not (docs/alerting.md)."
    )
    remedies: RemediesOptions = Field(
        RemediesOptions(),
        description=(
            "What may be done to get memory back; nothing, unless a remedy is configured here. "
            "docs/remedies.md says what is done, and what is never done."
        ),
    )
    probe: ProbeOptions = Field(
        ProbeOptions(),
        description="The reference experiment on a schedule; off by default (docs/probe.md).",
    )
    channels: Mapping[Name, ChannelOptions] = Field(
        {},
        max_length=MAX_CHANNELS,
        description=(
            "Where messages are sent: each channel has a name of your choice. Empty: no messages are sent."
        ),
    )

    @property
    def source_name(self) -> str:
        """The name of the source's file, hence its name in this configuration and in the store."""
        return type(self.source).__module__.rpartition(".")[2]

    def owner_rules(self) -> tuple[OwnerRule, ...]:
        """Return the rules of ``owners`` in their order; empty: none are configured."""
        return tuple(
            OwnerRule(match=entry.match.conditions(), name=entry.name, team=entry.team, budget=entry.budget)
            for entry in self.owners
        )
