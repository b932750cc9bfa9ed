"""``vramwatch replay``: judges recordings, or what the store holds, as the daemon would have."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vramwatch.cli.options import config_option, format_option, store_option
from vramwatch.core.errors import UsageError
from vramwatch.core.texts import clean

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from vramwatch.cli.playing import Run
    from vramwatch.config import Config
    from vramwatch.core.incidents import Transition

STDIN = Path("/dev/stdin")
"""What "-" stands for."""


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--tz", help="Time zone of nvidia-smi logs, as in Europe/Berlin; default: this machine's.")
@click.option(
    "--summary", is_flag=True, help="How often it fired for each GPU and week, and how sure that is."
)
@click.option(
    "--since", help="Judge the store's history instead of files, from then on: 14d, yesterday 03:12."
)
@click.option("--until", help="Till when; default now.")
@config_option
@store_option
@format_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    files: tuple[Path, ...],
    tz: str | None,
    summary: bool,
    since: str | None,
    until: str | None,
    config_path: Path | None,
    store_path: Path | None,
    output_format: str,
) -> None:
    """Judge recordings, each on its own, and print how incidents move, in replayed time.

    A FILE is CSV or .csv.gz: the columns of `vramwatch run --help`, what `vramwatch export` writes, or the
    log of `nvidia-smi --query-gpu=timestamp,index,uuid,memory.used,memory.total,utilization.gpu
    --format=csv -l 10`; "-" is standard input. Nothing is printed for a recording that cannot be read to
    its end.

    With --since, the store's history is judged instead; where samples are no longer kept, by the lowest,
    highest and last value of each minute. The result is compared with the incidents that people marked
    (`vramwatch incidents mark`).

    \b
    vramwatch replay log.csv
    vramwatch replay --format ndjson day.csv.gz night.csv.gz
    vramwatch replay --since 14d --config stricter.yaml
    """
    from vramwatch.config import find, load

    _refuse_two_inputs(files, since, until, tz, store_path)
    config = load(find(config_path), os.environ, {})
    zone = _zone(tz)
    if files:
        runs = _play_files(files, tz, config)
        then: Sequence[Transition] | None = None
    else:
        runs, then = _play_history(since or "", until or "now", config_path, store_path, config)
    for doubt in filter(None, (run.doubt for run in runs)):
        click.echo(f"vramwatch: {clean(doubt)}", err=True)
    _tell_of_minutes(runs, is_report=output_format == "text" and not summary)
    if summary:
        _print_summaries(runs, output_format)
    elif output_format == "text":
        _print_text(runs, then, zone)
    else:
        from vramwatch.cli.printing import print_transitions

        told = [(run.name, transition) for run in runs for transition in run.transitions]
        marked = [score for run in runs for score in run.scores]
        print_transitions(told, output_format, marked, names_files=len(files) > 1)


def _refuse_two_inputs(
    files: Sequence[Path], since: str | None, until: str | None, tz: str | None, store_path: Path | None
) -> None:
    if files and (since or until or store_path):
        raise UsageError(
            f"{files[0]}: files have a time of their own, --since, --until and --store choose a stretch of "
            "the store; write one of both"
        )
    if not files and not since:
        raise UsageError("nothing to replay; name a recording, or a stretch of the store as in --since 14d")
    if not files and tz:
        raise UsageError("--tz is for logs of nvidia-smi, and the store knows its times; leave it out")


def _zone(tz: str | None) -> "ZoneInfo | None":
    from vramwatch.sources.replay import zone_of

    return zone_of(tz)


def _play_files(files: Sequence[Path], tz: str | None, config: "Config") -> "list[Run]":
    """Play each file by itself; every one is read to its end before anything is printed."""
    from vramwatch.cli.playing import is_store, play_file
    from vramwatch.cli.progress import progress_bar

    for file in files:
        if is_store(file):
            raise UsageError(f"{file}: this is a store, and no recording; write --store {file} --since 14d")
    sizes = [file.stat().st_size if file.is_file() else None for file in files]
    whole = None if None in sizes else sum(size or 0 for size in sizes)
    runs: list[Run] = []
    with progress_bar("judging", whole) as tell:
        for place, file in enumerate(files):
            before = sum(size or 0 for size in sizes[:place])
            path = STDIN if str(file) == "-" else file
            runs.append(play_file(str(file), path, tz, config, lambda read: tell(before + read)))  # noqa: B023
    return runs


def _play_history(
    since: str, until: str, config_path: Path | None, store_path: Path | None, config: "Config"
) -> "tuple[list[Run], Sequence[Transition] | None]":
    """Judge the store's past; beside it return what was said then, None: under the same configuration."""
    from vramwatch.cli.asking import find_store
    from vramwatch.cli.finding import Span, nothing_between
    from vramwatch.cli.playing import play_history, said_then
    from vramwatch.cli.progress import progress_bar
    from vramwatch.cli.when import parse_span
    from vramwatch.store import History

    now = time.time()
    begin, end = parse_span(since, until, now, None)
    path = find_store(config_path, store_path)
    history = History.open(path)
    rules = config.owner_rules() if config_path else None
    with progress_bar("judging", end - begin) as tell:
        run = play_history(str(path), history, begin, end, config, tell, rules)
    if run.span is None:
        click.echo(f"vramwatch: {nothing_between(history, Span(begin, end, now))}", err=True)
    return [run], said_then(history, begin, end) if config_path else None


def _tell_of_minutes(runs: "Sequence[Run]", *, is_report: bool) -> None:
    """Say of what minutes alone were left, where no report does."""
    from vramwatch.cli.views.verdict import minutes_words

    for run in runs:
        if run.minutes_until is not None and not is_report:
            click.echo(f"vramwatch: {minutes_words(run.minutes_until, None)}", err=True)


def _print_summaries(runs: "Sequence[Run]", output_format: str) -> None:
    """Print a line for each run, and one for all where there are several."""
    from vramwatch.cli.printing import print_tallies
    from vramwatch.cli.views.verdict import lack_words, tally_line
    from vramwatch.core.episodes import episodes, tally

    found = [episodes(run.transitions, run.span[1] if run.span else 0.0) for run in runs]
    tallies = [(run.name, tally(each, run.watched)) for run, each in zip(runs, found, strict=True)]
    if len(runs) > 1:
        together = [episode for each in found for episode in each]
        tallies.append(("all", tally(together, sum(run.watched for run in runs))))
    if output_format == "text":
        below = [*([*_marks_words(run), *lack_words(run.lacking, run.gpus)] for run in runs), []]
        for (name, each), told in zip(tallies, below, strict=False):  # nothing below all together
            sys.stdout.writelines([f"{tally_line(name, each)}\n", *(f"  {words}\n" for words in told)])
    else:
        print_tallies(tallies, output_format, [score for run in runs for score in run.scores])


def _marks_words(run: "Run") -> list[str]:
    from vramwatch.cli.views.scores import count_words
    from vramwatch.core.marks import Mark

    return [f"{words}." for mark in Mark if (words := count_words(run.scores, mark))]


def _print_text(runs: "Sequence[Run]", then: "Sequence[Transition] | None", zone: "ZoneInfo | None") -> None:
    from vramwatch.cli.views.scores import score_lines
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.cli.views.text import Tone, line, wrap
    from vramwatch.cli.views.verdict import (
        compared_lines,
        minutes_words,
        played_line,
        released_lines,
        unread_lines,
        verdict_lines,
    )

    target = terminal(sys.stdout)
    for place, run in enumerate(runs):
        played = played_line(len(run.gpus), run.rows, run.span, zone)
        lines = [line("")] * bool(place) + [
            line(clean(run.name), Tone.STRONG),
            *wrap(played, target.width, 0),
            *unread_lines(run.unread, target.width),
            *released_lines(run.released, target.width),
        ]
        if run.minutes_until is not None:
            lines += wrap(minutes_words(run.minutes_until, zone), target.width, 0)
        if run.span is not None:
            lines += verdict_lines(
                run.transitions, run.gpus, run.watched, target.width, zone, run.lacking, run.span[1]
            )
        if then is not None:
            lines += compared_lines(then, run.transitions, run.gpus, target.width, zone)
        lines += score_lines(run.scores, run.gpus, target.width, zone)
        target.show(lines)
