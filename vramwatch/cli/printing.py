"""Data on stdout, as it comes: never more than one object in memory."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from vramwatch.cli.views.growth import COLUMNS as GROWTH_COLUMNS
from vramwatch.cli.views.growth import Growth, growth_record, growth_rows
from vramwatch.cli.views.incidents import COLUMNS as ENTRY_COLUMNS
from vramwatch.cli.views.incidents import entry_record, entry_row
from vramwatch.cli.views.records import COLUMNS, gpu_records, status_record, status_rows
from vramwatch.cli.views.scores import score_record
from vramwatch.cli.views.series_records import (
    STEP_COLUMNS,
    point_record,
    point_row,
    series_json,
    step_record,
    step_row,
)
from vramwatch.cli.views.silences import COLUMNS as SILENCE_COLUMNS
from vramwatch.cli.views.silences import silence_record, silence_row
from vramwatch.cli.views.status import Status
from vramwatch.cli.views.transitions import COLUMNS as TRANSITION_COLUMNS
from vramwatch.cli.views.transitions import TALLY_COLUMNS, tally_record, transition_row
from vramwatch.core.episodes import Tally
from vramwatch.core.incidents import Transition
from vramwatch.core.marks import Score
from vramwatch.core.messages import Host
from vramwatch.core.model import Gpu
from vramwatch.core.records import Json, attempt_record, transition_record
from vramwatch.core.silences import Silence
from vramwatch.store import Entry, GapRow, Point, SeriesRow, Step

SeriesPoints = Iterable[tuple[SeriesRow, Iterator[Point]]]
"""Each series with its points, read when they are asked for."""

SeriesSteps = Iterable[tuple[SeriesRow, Sequence[Step]]]


def print_statuses(statuses: Iterable[Status], output_format: str) -> None:
    """Print every Status: one JSON object, a line for each Gpu, or CSV rows under one header."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    if output_format == "csv":
        table.writerow(COLUMNS)
    for status in statuses:
        if output_format == "json":
            incidents = [transition_record(each) for each in status.incidents]
            workers = None if status.workers is None else list(status.workers)
            models = None if status.models is None else list(status.models)
            attempts = [attempt_record(each) for each in status.attempts]
            beside = {"incidents": incidents, "attempts": attempts, "workers": workers, "models": models}
            print_json({**status_record(status), **beside})
        elif output_format == "ndjson":
            sys.stdout.writelines(json.dumps(record) + "\n" for record in gpu_records(status))
        else:
            table.writerows(status_rows(status))
        sys.stdout.flush()


def print_json(record: object) -> None:
    sys.stdout.write(json.dumps(record, indent=2) + "\n")


def print_points(points: Iterable[Point], gpus: Mapping[str, Gpu]) -> bool:
    """Print CSV rows in the order of time; return whether there was any."""
    return _print_rows(COLUMNS, (point_row(point, gpus) for point in points))


def print_series(
    series: SeriesPoints, gaps: Iterable[GapRow], gpus: Mapping[str, Gpu], *, lines: bool
) -> bool:
    """Print one object a series that has points: as a list, or with ``lines`` one a line.

    Returns whether there was any.
    """
    told = ((row, "points", map(point_record, points)) for row, points in series)
    return _print_objects(told, gaps, gpus, lines=lines)


def print_steps(
    series: SeriesSteps, gaps: Iterable[GapRow], gpus: Mapping[str, Gpu], output_format: str
) -> bool:
    """Print one object a series that has steps, or a row of CSV a step; return whether there was any."""
    if output_format != "csv":
        told = ((row, "steps", (step_record(row, step) for step in steps)) for row, steps in series)
        return _print_objects(told, gaps, gpus, lines=output_format == "ndjson")
    return _print_rows(STEP_COLUMNS, (step_row(row, step, gpus) for row, steps in series for step in steps))


def print_growths(growths: Sequence[Growth], gpus: Mapping[str, Gpu], output_format: str) -> None:
    """Print one object a growth, as a list or one a line, or a row of CSV."""
    if output_format == "csv":
        _print_rows(GROWTH_COLUMNS, growth_rows(growths, gpus))
    elif output_format == "ndjson":
        sys.stdout.writelines(json.dumps(growth_record(each, gpus)) + "\n" for each in growths)
    else:
        print_json([growth_record(each, gpus) for each in growths])


def print_transitions(
    told: Sequence[tuple[str, Transition]],
    output_format: str,
    scores: Sequence[Score] = (),
    *,
    names_files: bool,
) -> None:
    """Print one object a transition, as a list or one a line, or a row of CSV; each comes with its file.

    After them one object a marked incident; CSV, whose rows are of one kind, has none.
    """
    if output_format == "csv":
        _print_rows(TRANSITION_COLUMNS, (transition_row(each, file) for file, each in told))
        return
    records = ({**({"file": file} if names_files else {}), **transition_record(each)} for file, each in told)
    _print_records(chain(records, map(score_record, scores)), output_format)


def print_entries(entries: Sequence[Entry], host: Host, output_format: str) -> None:
    """Print one object an incident, as a list or one a line, or a row of CSV."""
    if output_format == "csv":
        _print_rows(ENTRY_COLUMNS, map(entry_row, entries))
    else:
        _print_records((entry_record(each, host) for each in entries), output_format)


def print_silences(silences: Sequence[Silence], output_format: str) -> None:
    """Print one object a silence, as a list or one a line, or a row of CSV."""
    if output_format == "csv":
        _print_rows(SILENCE_COLUMNS, map(silence_row, silences))
    else:
        _print_records(map(silence_record, silences), output_format)


def print_tallies(
    tallies: Sequence[tuple[str, Tally]], output_format: str, scores: Sequence[Score] = ()
) -> None:
    """Print one object a run, as a list or one a line, or a row of CSV; each comes with its name.

    After them what ``print_transitions`` has after its own.
    """
    if output_format == "csv":
        _print_rows(TALLY_COLUMNS, (tuple(tally_record(*each).values()) for each in tallies))
    else:
        records = (tally_record(*each) for each in tallies)
        _print_records(chain(records, map(score_record, scores)), output_format)


def _print_records(records: Iterable[Json], output_format: str) -> None:
    if output_format == "ndjson":
        sys.stdout.writelines(json.dumps(record) + "\n" for record in records)
    else:
        print_json(list(records))


def _print_rows(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bool:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(header)
    some = False
    for row in rows:
        table.writerow(row)
        some = True
    return some


def _print_objects(
    series: Iterable[tuple[SeriesRow, str, Iterator[Json]]],
    gaps: Iterable[GapRow],
    gpus: Mapping[str, Gpu],
    *,
    lines: bool,
) -> bool:
    """Print an object for each series that has records, with the name under which they stand in it."""
    opening, between, closing = ("", "", "") if lines else ("[\n", ",\n", "]\n")
    sys.stdout.write(opening)
    some = False
    for row, what, records in series:
        first = next(records, None)
        if first is None:
            continue
        sys.stdout.write(between if some else "")
        sys.stdout.writelines(series_json(row, what, chain([first], records), gaps, gpus))
        sys.stdout.write("\n")
        some = True
    sys.stdout.write(closing)
    return some
