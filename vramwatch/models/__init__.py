"""The catalogue: configurations of well-known models, to be planned and probed without a download.

One file a model, ``<name>.json``: where the configuration was published (``source``), its hub id (``hub``),
what it leaves out (``note``, if anything), and the fields of its ``config.json`` that say how large it is
(``config``), which ``transformers.AutoConfig`` reads as they stand.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """One model of the catalogue."""

    name: str
    hub: str  # "organisation/name"
    source: str  # where ``config`` was published
    config: Mapping[str, Any]
    note: str | None = None  # what of the published model is not in ``config``


def names() -> list[str]:
    """Return the names of all models, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))


def read(name: str) -> BuiltIn | None:
    """Return the model called ``name``, or published under that hub id, in any case; None: there is none."""
    wanted = name.lower()
    for known in names():
        if wanted == known:
            return _read(known)
    return next((model for model in map(_read, names()) if model.hub.lower() == wanted), None)


def _read(name: str) -> BuiltIn:
    record = json.loads(resources.files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
    return BuiltIn(name, record["hub"], record["source"], record["config"], record.get("note"))
