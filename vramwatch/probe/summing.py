"""What of the results of one call goes into history: figures and versions, and no path."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vramwatch.core.probe_runs import LONGEST_TEXT, Figures, ProbeRun
from vramwatch.probe.experiment import Experiment, to_json
from vramwatch.probe.findings import fault_names
from vramwatch.probe.keeping import Kept
from vramwatch.probe.results import Result


def summed(kept: Kept, *, is_scheduled: bool = False) -> ProbeRun:
    """Return the run that history keeps of the results of one call."""
    first = kept.first
    return ProbeRun(
        id=kept.id,
        made=kept.made,
        digest=digest(first.experiment),
        asked=to_json(replace(first.experiment, model=_bare(first.experiment.model))),
        environment={name: str(each)[:LONGEST_TEXT] for name, each in first.environment.items()},
        figures={variant: figures(each) for variant, each in kept.results.items()},
        faults=fault_names(first) if kept.faults is None else kept.faults,
        is_scheduled=is_scheduled,
    )


def figures(result: Result) -> Figures:
    generated, released = result.at("generate"), result.at("release")
    return Figures(
        str(result.ended),
        result.peak,
        result.weights,
        None if generated is None else generated.kv_resident,
        None if released is None else released.live,
        result.tokens_per_second,
    )


def digest(experiment: Experiment) -> str:
    """Return what the same experiment has again, and no other; a folder counts by where it really lies."""
    place = Path(experiment.model)
    whole = replace(experiment, model=str(place.resolve())) if place.is_dir() else experiment
    asked: Mapping[str, object] = to_json(whole)
    told = json.dumps({name: asked[name] for name in sorted(asked) if asked[name] is not None})
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _bare(model: str) -> str:
    """Return a model's name without the path of its folder; a hub id as it is."""
    place = Path(model)
    return place.resolve().name if place.is_dir() or place.is_absolute() else model
