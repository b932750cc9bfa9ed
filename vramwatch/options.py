"""What every section of the configuration is made of, also those that plug-ins bring."""

from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.functional_validators import AfterValidator

from vramwatch.quantities import duration_text


class Section(BaseModel):
    """A part of the configuration: strict keys, never changed once read; empty means all defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _nothing_below_is_all_defaults(cls, value: Any) -> Any:
        return {} if value is None else value


class Misfit(ValueError):
    """Options of one section that are good alone and do not go together: option -> sentence."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        super().__init__("; ".join(sentences.values()))
        self.sentences = sentences


def refuse_disorder(section: Section, ordered: Iterable[tuple[str, str]], bases: Container[str] = ()) -> None:
    """Refuse a ``section`` of which the first option of a pair, a duration, is above the second.

    To blame is the option that was written; of two that were, the one that is none of the ``bases``, on
    which others depend. Errors: Misfit.
    """
    misfits: dict[str, str] = {}
    for pair in ordered:
        lesser, greater = pair
        low, high = (duration_text(getattr(section, option)) for option in pair)
        if getattr(section, lesser) <= getattr(section, greater):
            continue
        blamed = max(pair, key=lambda option: (option in section.model_fields_set, option not in bases))
        if blamed == lesser:
            misfits[lesser] = f"{low} is above {greater}; write at most {high}, or raise {greater}"
        else:
            misfits[greater] = f"{high} is below {lesser}; write at least {low}, or lower {lesser}"
    if misfits:
        raise Misfit(misfits)


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("a relative path, which would depend on where the daemon starts; write it from / on")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Glob = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
