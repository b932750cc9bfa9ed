"""The section that says when growth is told of, and what finds it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    field_serializer,
    field_validator,
    model_validator,
)

from vramwatch.config.sections import DAY
from vramwatch.core.incidents import Terms
from vramwatch.core.units import Seconds
from vramwatch.families import PluginError, discover
from vramwatch.options import Section, refuse_disorder
from vramwatch.quantities import Duration


class _Detectors(Section):
    """One option for each plug-in of ``vramwatch.detectors``, by the name of its file.

    None: switched off, which a file says with ``off``; nothing below its name is all defaults, as everywhere.
    """

    @field_validator("*", mode="before", check_fields=False)
    @classmethod
    def _may_be_off(cls, value: Any) -> Any:
        if value is False or value == "off":
            return None
        if value is None or value is True or value in ("null", "on"):
            return {}
        if isinstance(value, Mapping | BaseModel):
            return value
        raise ValueError("neither options nor off; write its options below it, or off to switch it off")

    @field_serializer("*", mode="wrap", check_fields=False)
    def _as_written(self, value: Any, dump: SerializerFunctionWrapHandler) -> Any:
        return "off" if value is None else dump(value)

    def on(self) -> Mapping[str, Any]:
        """Return the detectors that are not switched off, by name."""
        plugins = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: plugin for name, plugin in plugins if plugin is not None}

    def off(self) -> tuple[str, ...]:
        """Return the names of those that are switched off."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is None)


def _detector_fields() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, plugin in discover("vramwatch.detectors").items():
        if not issubclass(plugin, BaseModel) or not callable(getattr(plugin, "examine", None)):
            raise PluginError(
                f"vramwatch.detectors.{name}: {plugin.__name__} is no pydantic model with an examine method"
            )
        text = " ".join((plugin.__doc__ or "").partition("\n\n")[0].replace("``", "").split())
        fields[name] = plugin | None, Field(plugin(), description=text)
    return fields


if TYPE_CHECKING:

    class Detectors(_Detectors):
        """The section ``detection.detectors``; its fields are found when the program starts."""

else:
    Detectors = create_model("Detectors", __base__=_Detectors, **_detector_fields())


class DetectionOptions(Section):
    """When growth is told of, and what finds it."""

    warn_horizon: Annotated[Seconds, Duration("1m", "365d")] = Field(
        Seconds(7 * DAY),
        description="Growth fires if memory runs out within this time; slower growth is only recorded.",
    )
    critical_within: Annotated[Seconds, Duration("1m", "365d")] = Field(
        Seconds(7200.0),
        description="It is critical if memory runs out within this time; not above warn_horizon.",
    )
    critical_early: Annotated[Seconds, Duration("10s", "365d")] = Field(
        Seconds(1800.0),
        description=(
            "It is also critical if the early bound of the 80% interval is within this time; not "
            "above critical_within."
        ),
    )
    clear_after: Annotated[Seconds, Duration("1m", "30d")] = Field(
        Seconds(3600.0),
        description=(
            "An incident is over if nothing is found for this long, or for a tenth of the time "
            "that was left, but at most a day."
        ),
    )
    reopen_within: Annotated[Seconds, Duration("1m", "365d")] = Field(
        Seconds(7 * DAY),
        description="Growth that returns within this time after its end reopens the same incident.",
    )
    detectors: Detectors = Field(
        Detectors(),
        description=(
            "The detectors, one pattern each, with their options. off disables one, as in spike: "
            "off; a name without options has its defaults. docs/detection.md explains them."
        ),
    )

    @model_validator(mode="after")
    def _ordered(self) -> "DetectionOptions":
        refuse_disorder(self, (("critical_early", "critical_within"), ("critical_within", "warn_horizon")))
        return self

    def terms(self) -> Terms:
        """Return when incidents move."""
        return Terms(
            warn_horizon=self.warn_horizon,
            clear_after=self.clear_after,
            clear_latest=max(self.clear_after, Terms().clear_latest),
            critical_median=self.critical_within,
            critical_early=self.critical_early,
            reopen_within=self.reopen_within,
        )
