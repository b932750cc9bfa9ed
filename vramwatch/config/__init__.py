"""The configuration: its shape, where it is found, what decides, and errors with their places.

Costs the import of pydantic: a verb that needs no configuration does not import this.
"""

from vramwatch.config.announcement import sentence
from vramwatch.config.loading import find, load, load_sound, origins
from vramwatch.config.rendering import effective, effective_with_origins, example
from vramwatch.config.shape import Commands, Config

__all__ = [
    "Commands",
    "Config",
    "effective",
    "effective_with_origins",
    "example",
    "find",
    "load",
    "load_sound",
    "origins",
    "sentence",
]
