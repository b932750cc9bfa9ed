"""What every section of the configuration is made of, also those that plug-ins bring."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.functional_validators import AfterValidator


class Section(BaseModel):
    """A part of the configuration: strict keys, never changed once read; empty means all defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _nothing_below_is_all_defaults(cls, value: Any) -> Any:
        return {} if value is None else value


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("a relative path, which would depend on where the daemon starts; write it from / on")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Glob = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
