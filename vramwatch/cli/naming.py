"""Which model is meant: a path, a hub id that was downloaded before, or a name of the catalogue."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vramwatch import models
from vramwatch.core.errors import UsageError

LARGEST = 16 * 1024**2
"""Bytes of a configuration; more is something else."""


@dataclass(frozen=True, slots=True)
class Named:
    """A model that was found: what it is called, where its configuration is from, and what to know of it."""

    name: str
    origin: str
    config: Mapping[str, Any]
    note: str | None = None


def find_model(written: str, environment: Mapping[str, str] = os.environ) -> Named:
    """Return the model that ``written`` names; nothing is fetched.

    Errors: UsageError that says where was looked and what there is.
    """
    path = Path(written).expanduser()
    if path.exists():
        file = path / "config.json" if path.is_dir() else path
        return Named(path.name or written, str(file), _read(file))
    organisation, slash, name = written.partition("/")
    if slash and name and "/" not in name and not written.startswith((".", "~")):
        cached = _cached(organisation, name, environment)
        if cached is not None:
            return Named(written, str(cached), _read(cached))
    known = models.read(written)
    if known is not None:
        return Named(known.name, known.source, known.config, known.note)
    looked = ", ".join(str(place) for place in _caches(environment))
    there = ", ".join(models.names())
    raise UsageError(
        f"{written!r} is no path, is not built in, and was not downloaded before (looked in {looked}). "
        f"vramwatch fetches nothing: give the folder of a model or its config.json. Built in are {there}"
    )


def _read(file: Path) -> Mapping[str, Any]:
    """Return the configuration in ``file``. Errors: UsageError."""
    try:
        with file.open("rb") as opened:
            text = opened.read(LARGEST + 1)
        found = json.loads(text) if len(text) <= LARGEST else None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; a model's folder holds a config.json") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{file}: it is no model's configuration, which is one JSON object")
    return found


def _caches(environment: Mapping[str, str]) -> list[Path]:
    """Return where huggingface_hub keeps what it fetched (huggingface_hub/constants.py)."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return [Path(environment[name])]
    home = environment.get("HF_HOME")
    if home:
        return [Path(home) / "hub"]
    cache = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/")) / ".cache"
    return [Path(cache) / "huggingface" / "hub"]


def _cached(organisation: str, name: str, environment: Mapping[str, str]) -> Path | None:
    """Return the config.json of the newest snapshot that ``main`` names, else of any; None: there is none."""
    for cache in _caches(environment):
        folder = cache / f"models--{organisation}--{name}"
        try:
            main = (folder / "refs" / "main").read_text("utf-8").strip()
        except (OSError, ValueError):
            main = "*"
        found = sorted(folder.glob(f"snapshots/{main or '*'}/config.json"))
        if found:
            return found[-1]
    return None
