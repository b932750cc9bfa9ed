"""What a verb needs of the configuration that only finds the daemon, its store and the name of its host."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from vramwatch.config.files import read
from vramwatch.config.precedence import decide, from_environment
from vramwatch.config.sections import (
    DEFAULT_SOURCE,
    ControlOptions,
    HostOptions,
    HttpOptions,
    LogOptions,
    LogsOptions,
    PollOptions,
    StoreOptions,
)
from vramwatch.options import Section


class Basics(Section):
    """The sections that are read in a moment; the whole ``Config`` takes several times as long to import."""

    poll: PollOptions = PollOptions()
    store: StoreOptions = StoreOptions()
    control: ControlOptions = ControlOptions()
    http: HttpOptions = HttpOptions()
    logs: LogsOptions = LogsOptions()
    log: LogOptions = LogOptions()
    host: HostOptions = HostOptions()

    @property
    def source_name(self) -> str:
        """Where readings come from: no other source is written."""
        return DEFAULT_SOURCE


def load_basics(path: Path | None, environment: Mapping[str, str]) -> Basics | None:
    """Return the configuration if no section but these is written; None: it takes the whole to read it.

    None also where anything is wrong with it: the whole says what.
    """
    document = decide([read(path), from_environment(environment)])
    if document.faults or not document.values.keys() <= Basics.model_fields.keys():
        return None
    try:
        return Basics.model_validate(document.values)
    except ValidationError:
        return None
