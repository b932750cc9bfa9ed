"""The configuration: its shape, where it is found, what decides, and errors with their places.

Each name is imported when it is first asked for: the whole costs the import of every plug-in, and a verb that
only finds the daemon and its store takes ``basics`` of it.
"""

from typing import TYPE_CHECKING

from vramwatch.lazy import lazily

if TYPE_CHECKING:
    from vramwatch.config.announcement import sentence
    from vramwatch.config.basics import Basics, load_basics
    from vramwatch.config.files import find
    from vramwatch.config.loading import load, load_sound, origins
    from vramwatch.config.rendering import effective, effective_with_origins, example
    from vramwatch.config.sections import Commands
    from vramwatch.config.shape import Config
else:
    __getattr__ = lazily(
        __name__,
        {
            "announcement": ("sentence",),
            "basics": ("Basics", "load_basics"),
            "files": ("find",),
            "loading": ("load", "load_sound", "origins"),
            "rendering": ("effective", "effective_with_origins", "example"),
            "sections": ("Commands",),
            "shape": ("Config",),
        },
    )

__all__ = [
    "Basics",
    "Commands",
    "Config",
    "effective",
    "effective_with_origins",
    "example",
    "find",
    "load",
    "load_basics",
    "load_sound",
    "origins",
    "sentence",
]
