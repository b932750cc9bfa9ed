"""Plug-in families: a folder whose every file is one thing, found by being there.

The file ``llama_cpp.py`` of a family defines the class ``LlamaCpp``: a frozen class whose fields are
its options. The file's name is its name in code, configuration, database and metric labels.
"""

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from vramwatch.core.errors import VramwatchError


class PluginError(VramwatchError):
    """A file in a family's folder does not define the class that its name promises."""


@cache
def discover(family: str) -> dict[str, type]:
    """Return name -> class of every file of ``family`` (a package's name), sorted by name.

    Errors: PluginError, naming the file, when it does not define its class.
    """
    package = importlib.import_module(family)
    folder = Path(package.__path__[0])
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules([str(folder)]):
        wanted = "".join(part.capitalize() for part in module.name.split("_"))
        loaded = importlib.import_module(f"{family}.{module.name}")
        plugin = getattr(loaded, wanted, None)
        if not isinstance(plugin, type):
            raise PluginError(
                f"{folder / module.name}.py: defines no class {wanted}; every file here is one plug-in"
            )
        found[module.name] = plugin
    return found
