"""The section that says what may be done to processes to have memory given back, and what never."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model, model_validator

from vramwatch.core.attempts import RemedyName
from vramwatch.core.ladder import Ladder
from vramwatch.core.units import MIB, Bytes, Seconds
from vramwatch.families import PluginError, discover
from vramwatch.options import Glob, Misfit, Section, Text
from vramwatch.quantities import Duration, Fraction, Size, duration_text
from vramwatch.remedying import Remedy


class PermitOptions(Section):
    """A program that must exit with 0 before a remedy costs service: a fleet lock, a minimum of replicas."""

    argv: tuple[Text, ...] = Field(
        min_length=1,
        max_length=64,
        description="The program and its arguments. It gets the same VRAMWATCH_* variables as the command.",
        examples=[["/usr/local/bin/may-restart"]],
    )
    timeout: Annotated[Seconds, Duration("1s", "1h")] = Field(
        Seconds(30.0), description="How long it may take; a timeout counts as no."
    )


class _RemediesOptions(Section):
    """What may be done to have memory given back; nothing, unless a remedy is written here."""

    forbidden: tuple[Glob, ...] = Field(
        (),
        max_length=1000,
        description="Owners that are never acted on, by name or key, as in ['train*'].",
    )
    share: Annotated[float, Fraction(0.01, 1.0)] = Field(
        0.5, description="The share of the growth that must come back for an attempt to count as a success."
    )
    least: Annotated[Bytes, Size("2MiB", "1TiB")] = Field(
        Bytes(64 * MIB), description="The least amount that must come back."
    )
    look_again: Annotated[Seconds, Duration("10s", "1d")] = Field(
        Seconds(300.0),
        description=(
            "Memory that came back is read again after this time. If it is in use again it is a "
            "working set, and nothing more is done."
        ),
    )
    per_owner: int = Field(4, ge=1, le=1000, description="Attempts an hour for one owner.")
    per_host: int = Field(12, ge=1, le=1000, description="Attempts an hour on this host.")
    give_up_after: int = Field(
        3,
        ge=1,
        le=100,
        description="After this many attempts in a row without effect, a person is told instead.",
    )
    closed_again: Annotated[Seconds, Duration("1m", "1d")] = Field(
        Seconds(86400.0), description="How long attempts without effect count."
    )
    permit: PermitOptions | None = Field(
        None,
        description=(
            "A program that must agree before anything that interrupts service; any exit code but "
            "0 means no. null: none."
        ),
    )
    spread: Annotated[Seconds, Duration("0s", "1d")] = Field(
        Seconds(600.0),
        description=(
            "What interrupts service is spread over this time, so that a fleet does not restart at once."
        ),
    )

    @model_validator(mode="after")
    def _waits_long_enough(self) -> "_RemediesOptions":
        short = [each for each in self.remedies() if each.cooldown < self.look_again]
        if short:
            name, most = short[0].remedy.value, duration_text(short[0].cooldown)
            wanted = f"write at most {most}, or raise {name}.cooldown"
            raise Misfit({"look_again": f"above the cooldown of {name}; {wanted}"})
        return self

    def remedies(self) -> tuple[Remedy, ...]:
        """Return those that are configured, in the order in which they are climbed; empty: all are off."""
        found: list[Remedy | None] = [getattr(self, name.value) for name in RemedyName]
        return tuple(each for each in found if each is not None)

    def ladder(self) -> Ladder:
        """Return what the decision needs to know of it."""
        asks: Any = getattr(self, RemedyName.ASK.value)
        pause = {} if asks is None else {"max_pause": asks.max_pause}
        names = (
            "forbidden",
            "share",
            "least",
            "per_owner",
            "per_host",
            "give_up_after",
            "closed_again",
            "spread",
        )
        return Ladder(self.remedies(), **{name: getattr(self, name) for name in names}, **pause)


def _found() -> dict[str, type[Remedy]]:
    found = discover("vramwatch.remedies")
    for name, plugin in found.items():
        if not issubclass(plugin, Remedy) or name not in set(RemedyName):
            raise PluginError(f"vramwatch.remedies.{name}: {plugin.__name__} is no Remedy of the ladder")
    return found


def _fields() -> dict[str, Any]:
    found = _found()
    return {
        name.value: (
            found[name] | None,
            Field(None, description=f"{' '.join((found[name].__doc__ or '').split())} null: off."),
        )
        for name in RemedyName
        if name in found
    }


if TYPE_CHECKING:

    class RemediesOptions(_RemediesOptions):
        """The section ``remedies``; its remedies are found when the program starts."""

else:
    RemediesOptions = create_model(
        "RemediesOptions", __base__=_RemediesOptions, __doc__=_RemediesOptions.__doc__, **_fields()
    )
