"""Data on stdout, as it comes: never more than one object in memory."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from vramwatch.cli.views.records import COLUMNS, gpu_records, status_record, status_rows
from vramwatch.cli.views.series_records import point_row, series_json
from vramwatch.cli.views.status import Status
from vramwatch.core.model import Gpu
from vramwatch.store import GapRow, Point, SeriesRow

SeriesPoints = Iterable[tuple[SeriesRow, Iterator[Point]]]
"""Each series with its points, read when they are asked for."""


def print_statuses(statuses: Iterable[Status], output_format: str) -> None:
    """Print every Status: one JSON object, a line for each Gpu, or CSV rows under one header."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    if output_format == "csv":
        table.writerow(COLUMNS)
    for status in statuses:
        if output_format == "json":
            print_json(status_record(status))
        elif output_format == "ndjson":
            sys.stdout.writelines(json.dumps(record) + "\n" for record in gpu_records(status))
        else:
            table.writerows(status_rows(status))
        sys.stdout.flush()


def print_json(record: object) -> None:
    sys.stdout.write(json.dumps(record, indent=2) + "\n")


def print_points(points: Iterable[Point], gpus: Mapping[str, Gpu]) -> bool:
    """Print CSV rows in the order of time; return whether there was any."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    some = False
    for point in points:
        table.writerow(point_row(point, gpus))
        some = True
    return some


def print_series(
    series: SeriesPoints, gaps: Iterable[GapRow], gpus: Mapping[str, Gpu], *, lines: bool
) -> bool:
    """Print one object a series that has points: as a list, or with ``lines`` one a line.

    Returns whether there was any.
    """
    opening, between, closing = ("", "", "") if lines else ("[\n", ",\n", "]\n")
    sys.stdout.write(opening)
    some = False
    for row, points in series:
        first = next(points, None)
        if first is None:
            continue
        sys.stdout.write(between if some else "")
        sys.stdout.writelines(series_json(row, chain([first], points), gaps, gpus))
        sys.stdout.write("\n")
        some = True
    sys.stdout.write(closing)
    return some
