"""The sections that say whom to tell of incidents, how, and when not."""

import re
from collections.abc import Mapping
from datetime import time
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, create_model, field_validator, model_validator

from vramwatch.config.sections import DAY
from vramwatch.core.incidents import Severity
from vramwatch.core.policy import Channel
from vramwatch.core.silences import FIELDS, Matcher, QuietHours
from vramwatch.core.units import Seconds
from vramwatch.families import PluginError, discover
from vramwatch.notifying import Notifier
from vramwatch.options import Glob, Name, Section
from vramwatch.quantities import Duration

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


class QuietHoursOptions(Section):
    """When only what is grave is told."""

    since: str = Field(description="Start, time of day.", examples=["22:00"])
    until: str = Field(
        description="End, time of day; on the next day if it is earlier than the start.", examples=["07:00"]
    )
    zone: Name | None = Field(None, description="Time zone, as in Europe/Berlin; null: this machine's.")
    severities: tuple[Severity, ...] = Field(
        (Severity.WARNING,),
        description="Severities that are held back, and sent afterwards if the incident is still open.",
    )

    @field_validator("since", "until")
    @classmethod
    def _is_time_of_day(cls, text: str) -> str:
        return _checked_time(text)

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
                raise ValueError(f"no time zone {name!r}; write one like Europe/Berlin or UTC") from None
        return name

    def hours(self) -> QuietHours:
        since, until = (_time_of_day(text) for text in (self.since, self.until))
        return QuietHours(since, until, ZoneInfo(self.zone) if self.zone else None)


def _checked_time(text: str) -> str:
    if not _CLOCK.fullmatch(text):
        raise ValueError(f"{text!r} is no time of day; write it in quotes, as in '22:00'")
    return text


def _time_of_day(text: str) -> time:
    hours, _, minutes = text.partition(":")
    return time(int(hours), int(minutes))


class AlertingOptions(Section):
    """When people are told, and when not."""

    mode: Literal["observe", "tell"] = Field(
        "observe",
        description=(
            "observe: a new service first holds messages back for observe_for and shows what it "
            "would have sent, except for an out-of-memory, large amounts of memory held by exited "
            "processes, and problems of vramwatch itself. tell: messages are sent at once."
        ),
    )
    observe_for: Annotated[Seconds, Duration("1m", "365d")] = Field(
        Seconds(7 * DAY),
        description="How long a new service observes; `vramwatch silence expire observe` ends it early.",
    )
    group_wait: Annotated[Seconds, Duration("0s", "1h")] = Field(
        Seconds(30.0), description="How long a message waits for others, so that they are sent as one."
    )
    group_interval: Annotated[Seconds, Duration("0s", "1d")] = Field(
        Seconds(300.0),
        description=(
            "At most one message is sent in this time, unless memory may run out before the next "
            "one could be sent."
        ),
    )
    repeat_interval: Annotated[Seconds, Duration("1m", "30d")] = Field(
        Seconds(4 * 3600.0), description="An incident that is still open is sent again after this time."
    )
    give_up_after: Annotated[Seconds, Duration("1m", "365d")] = Field(
        Seconds(10 * DAY),
        description="How long an undelivered message is retried.",
    )
    quiet_hours: QuietHoursOptions | None = Field(
        None, description="Quiet hours of channels that have none of their own; null: none."
    )
    digest: Literal["off", "daily", "weekly"] = Field(
        "off",
        description=(
            "How often channels with digest: true get a summary: what fired, who grows, who holds "
            "memory without work, how much room is left. Weekly: on Mondays."
        ),
    )
    digest_at: str = Field(
        "08:00", description="The time of day at which it is sent, in this machine's time zone."
    )

    @field_validator("digest", mode="before")
    @classmethod
    def _may_be_off(cls, value: Any) -> Any:
        return "off" if value is False else value  # as YAML reads a bare off

    @field_validator("digest_at")
    @classmethod
    def _is_time_of_day(cls, text: str) -> str:
        return _checked_time(text)

    @property
    def digest_time(self) -> time:
        return _time_of_day(self.digest_at)


class _ChannelOptions(Section):
    """A way to tell people: one notifier with its options, and what it takes."""

    severities: tuple[Severity, ...] = Field(
        (Severity.WARNING, Severity.CRITICAL), min_length=1, description="Severities that are sent here."
    )
    send_resolved: bool = Field(True, description="Whether the end of an incident is sent.")
    group_wait: Annotated[Seconds, Duration("0s", "1h")] | None = Field(
        None, description="null: as in alerting; the same applies to the next two."
    )
    group_interval: Annotated[Seconds, Duration("0s", "1d")] | None = Field(None)
    repeat_interval: Annotated[Seconds, Duration("1m", "30d")] | None = Field(None)
    quiet_hours: QuietHoursOptions | None = Field(None, description="null: as in alerting.")
    digest: bool = Field(False, description="Whether the digest of alerting.digest is sent here.")

    @model_validator(mode="after")
    def _has_one_notifier(self) -> "_ChannelOptions":
        written = [name for name in _notifiers() if getattr(self, name) is not None]
        if len(written) != 1:
            raise ValueError(f"not exactly one notifier; write one of {', '.join(_notifiers())}")
        return self

    @property
    def notifier(self) -> Notifier:
        found: list[Notifier | None] = [getattr(self, name) for name in _notifiers()]
        return next(each for each in found if each is not None)

    def matcher(self) -> Matcher:
        """Return which incidents it is told of."""
        return Matcher(dict(self.model_dump(exclude_none=True)["only"]))

    def channel(self, name: str, alerting: AlertingOptions) -> Channel:
        """Return what the decision needs to know of it."""

        def chosen(option: str) -> Any:
            own = getattr(self, option)
            if own is None and self.notifier.GROUPS and option in ("group_wait", "group_interval"):
                return 0.0
            return getattr(alerting, option) if own is None else own

        quiet: QuietHoursOptions | None = chosen("quiet_hours")
        return Channel(
            name,
            frozenset(self.severities),
            Matcher(dict(self.model_dump(exclude_none=True)["only"])),
            self.send_resolved,
            quiet.hours() if quiet else None,
            frozenset(quiet.severities) if quiet else frozenset(),
            self.notifier.edits,
            chosen("group_wait"),
            chosen("group_interval"),
            chosen("repeat_interval"),
        )


def _notifiers() -> Mapping[str, type[Notifier]]:
    found = discover("vramwatch.notifiers")
    for name, plugin in found.items():
        if not issubclass(plugin, Notifier):
            raise PluginError(f"vramwatch.notifiers.{name}: {plugin.__name__} is no Notifier")
    return found


def _match_fields() -> dict[str, Any]:
    return {name: (Glob | None, Field(None, description=f"Its {name}.")) for name in FIELDS}


def _channel_fields() -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: (plugin | None, Field(None, description=" ".join((plugin.__doc__ or "").split())))
        for name, plugin in _notifiers().items()
    }
    only = create_model("Only", __base__=Section, **_match_fields())
    fields["only"] = (only, Field(only(), description="Which incidents are sent here; empty: all."))
    return fields


if TYPE_CHECKING:

    class ChannelOptions(_ChannelOptions):
        """One entry of ``channels``; its notifiers are found when the program starts."""

else:
    ChannelOptions = create_model("ChannelOptions", __base__=_ChannelOptions, **_channel_fields())
