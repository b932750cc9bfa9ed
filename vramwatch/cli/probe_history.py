"""Runs of the probe, kept in the daemon's history, else in a file of the user's; and the scheduled one."""

import json
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vramwatch.cli.asking import ask_daemon, find_store, settings, whereabouts
from vramwatch.core.errors import StoreError, UsageError, VramwatchError
from vramwatch.core.probe_runs import ProbeRun, to_json

if TYPE_CHECKING:
    from vramwatch.config.probe import ProbeOptions
    from vramwatch.probe.experiment import Experiment
    from vramwatch.probe.results import Result

NICENESS = 10
"""A scheduled run is a guest beside a production model, more so than the daemon."""


def hand_in(
    results: "Mapping[str, Result]",
    config_path: Path | None,
    store_path: Path | None = None,
    *,
    is_scheduled: bool = False,
) -> None:
    """Have the daemon keep the results of one call, or keep them in a file; say which, and what has drifted.

    Errors: VramwatchError where they can be kept in neither place.
    """
    from vramwatch.control.control import ControlError
    from vramwatch.probe import keeping
    from vramwatch.probe.summing import summed

    kept = keeping.Kept(keeping.id_of(made := time.time()), made, results)
    try:
        run = to_json(summed(kept, is_scheduled=is_scheduled))
        reply = ask_daemon(config_path, "probed", {"run": run})
    except ControlError as error:
        if is_scheduled:
            raise
        name = keeping.keep(results, made, keeping.folder())
        click.echo(f"kept as {name} in {keeping.folder()}, not in history: {error}", err=True)
        return
    listing = whereabouts(config_path, store_path).reading("probe --list")
    click.echo(f"kept as {reply['id']} in the daemon's history; {listing}", err=True)
    if reply.get("drift"):
        click.echo(f"an incident is opened: {reply['drift']}", err=True)


def show(diff: tuple[str, str] | None, config_path: Path | None, store_path: Path | None, form: str) -> None:
    """Show the runs that are kept, or what changed between two. Errors: UsageError."""
    from vramwatch.cli.views.probe_runs import change_lines, list_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.core.drifts import changes, since_versions

    runs, stored = all_runs(config_path, store_path)
    if diff is None:
        if form == "json":
            click.echo(json.dumps([record(each, each.id in stored) for each in runs]))
            return
        terminal(sys.stdout).show(list_lines(runs, stored, since_versions(runs)))
        return
    before, after = (find(each, runs) for each in diff)
    found = changes(before, after)
    if form == "json":
        told = [{"variant": c.variant, "what": c.what, "before": c.before, "after": c.after} for c in found]
        click.echo(json.dumps({"before": before.id, "after": after.id, "changes": told}))
        return
    terminal(sys.stdout).show(change_lines(before, after, found))


def record(run: ProbeRun, is_stored: bool) -> dict[str, object]:
    """Return a run as data for other programs."""
    from vramwatch.core.records import moment

    return {**to_json(run), **moment("made", run.made), "author": run.author, "in_history": is_stored}


def all_runs(config_path: Path | None, store_path: Path | None) -> tuple[list[ProbeRun], frozenset[str]]:
    """Return the runs of both places, oldest first, and the ids of those in history.

    A store that is not there is empty; one that cannot be read is said on stderr.
    """
    from vramwatch.probe import keeping
    from vramwatch.probe.summing import summed
    from vramwatch.store import History

    stored: list[ProbeRun] = []
    path = find_store(config_path, store_path)
    if path.exists() or store_path:
        try:
            with closing(History.open(path)) as history:
                stored = history.probe_runs()
        except StoreError as error:
            click.echo(f"vramwatch: history left out: {error}", err=True)
    ids = frozenset(each.id for each in stored)
    own = [summed(each) for each in keeping.all_kept(keeping.folder()) if each.id not in ids]
    return sorted([*stored, *own], key=lambda each: each.made), ids


def find(beginning: str, there: Sequence[ProbeRun]) -> ProbeRun:
    """Return the run whose id begins so; "-1" is the newest, "-2" the one before. Errors: UsageError."""
    if beginning.startswith("-") and beginning[1:].isdecimal() and 0 < int(beginning[1:]) <= len(there):
        return there[-int(beginning[1:])]
    matching = [each for each in there if each.id.startswith(beginning)]
    exact = [each for each in matching if each.id == beginning]
    if len(exact or matching) == 1:
        return (exact or matching)[0]
    known = ", ".join(each.id for each in matching or there) or "none"
    raise UsageError(f"no one run {beginning!r} is kept; there are: {known}")


# --- on a schedule --------------------------------------------------------------------------------


def run_scheduled(config_path: Path | None) -> None:
    """Run what the section ``probe`` says, where there is room, and hand the result in.

    No room is no failure. What keeps it from running is told to the daemon. Errors: VramwatchError.
    """
    from vramwatch.cli.probing import Runs
    from vramwatch.probe.results import Ended
    from vramwatch.probe.variants import VARIANTS

    options = settings(config_path).probe
    if options.device != "cpu":
        room = ask_daemon(config_path, "room", {})
        if room.get("gpu") is None:
            click.echo(f"not now: {room.get('because')}", err=True)
            return
        os.environ["CUDA_VISIBLE_DEVICES"] = str(room["gpu"])
    _be_small(options)
    python = str(options.python) if options.python else None
    try:
        result = Runs(1, python).result_of(experiment_of(options))
    except VramwatchError as error:
        ask_daemon(config_path, "probed", {"failed": str(error)})
        raise
    if result.ended is Ended.FAILED:
        failed = VramwatchError(f"{options.model}: the run failed: {result.why}")
        ask_daemon(config_path, "probed", {"failed": str(failed)})
        raise failed
    hand_in({VARIANTS[0].name: result}, config_path, is_scheduled=True)


def experiment_of(options: "ProbeOptions") -> "Experiment":
    from vramwatch.probe.experiment import Experiment

    names = ("model", "device", "batch", "prompt", "tokens", "requests")
    asked = {name: getattr(options, name) for name in names}
    return Experiment(**asked, is_full_size=options.full_size, budget_bytes=options.budget)


def _be_small(options: "ProbeOptions") -> None:
    """Take bounds that every child inherits.

    RLIMIT_DATA counts what can be written to, private to the process (setrlimit(2)). RLIMIT_AS would count
    the addresses that CUDA reserves too, which are as many as all memory of all GPUs.
    """
    os.nice(NICENESS)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = options.memory if hard == resource.RLIM_INFINITY else min(options.memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
