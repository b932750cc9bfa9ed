"""Measure how well growth is found, beside what people use today.

    python -m benchmarks.detection [--suite A,B,C,D] [--data DIR] [--final] [--program CMD] [--tune]

Without ``--final`` the tuning part is looked at: tuning seeds, cells and pods. Any program of the replay
contract can be put in vramwatch's place. The exit code is 1 if a goal was missed, or the program failed.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.detection import published, real_services, report
from benchmarks.detection.baselines import RULES
from benchmarks.detection.cases import Case, Serving, Suite, View
from benchmarks.detection.goals import ROWS, Outcome, outcome
from benchmarks.detection.judging import Judged, judge
from benchmarks.detection.programs import ProgramError, answers, command
from benchmarks.detection.synthetic.catalogue import synthetic

KEPT = Path("build/detection")  # where --tune leaves the recordings
DEFAULT = "vramwatch replay --format ndjson"
BASELINE = "python -m benchmarks.detection.baselines {name}"


def main(arguments: Sequence[str]) -> int:
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.final and asked.tune:
        parser.error("--final with --tune would show what nothing may be tuned on; leave one out")
    try:
        judged = _measure(asked)
    except ProgramError as error:
        _tell(f"{error}\n")
        return 1
    return _report(judged, asked)


def _measure(asked: argparse.Namespace) -> dict[str, tuple[Judged, ...]]:
    """Return what the program under test made of the recordings, and what each baseline did, by name."""
    with _directory(asked.tune) as directory:
        _tell("writing the recordings\n")
        cases = tuple(_cases(asked, directory))
        if not cases:
            raise ProgramError("there are no recordings; suites A and B need --data DIR")
        judged = {_name(asked.program): _judge(asked.program, cases)}
        for name in () if asked.tune else [name for name in RULES if name not in judged]:
            judged[name] = _judge(BASELINE.format(name=name), _for_baselines(cases))
    return judged


@contextmanager
def _directory(is_kept: bool) -> Iterator[Path]:
    """Yield where the recordings are written: gone afterwards, unless somebody wants to look into them."""
    if is_kept:
        KEPT.mkdir(parents=True, exist_ok=True)
        yield KEPT
        return
    with TemporaryDirectory(prefix="detection-") as directory:
        yield Path(directory)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--suite", default="A,B,C,D", type=_suites, help="which suites (default: all)")
    parser.add_argument("--data", type=_folder, help="recordings of real image services, for A and B")
    parser.add_argument("--language-data", type=_folder, help="the same of real language services")
    parser.add_argument("--final", action="store_true", help="the part that nothing may be tuned on")
    parser.add_argument("--program", default=DEFAULT, help=f"the command line under test ({DEFAULT})")
    parser.add_argument(
        "--tune",
        action="store_true",
        help=f"no baselines, but every recording that went wrong, kept in {KEPT}",
    )
    return parser


def _suites(text: str) -> frozenset[Suite]:
    try:
        return frozenset(Suite(part.strip().upper()) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; there are {', '.join(Suite)}") from error


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no directory; give one with a CSV for each pod")
    return path


def _cases(asked: argparse.Namespace, directory: Path) -> Iterator[Case]:
    for folder, serving in ((asked.data, Serving.IMAGE), (asked.language_data, Serving.LANGUAGE)):
        if folder and asked.suite & {Suite.HEALTHY, Suite.INJECTED}:
            paths = real_services.pods(folder, asked.final)
            yield from real_services.healthy(paths, serving)  # B's twins too
            if Suite.INJECTED in asked.suite:
                yield from real_services.injected(paths, serving, directory)
    if Suite.SYNTHETIC in asked.suite:
        yield from synthetic(directory, asked.final)
    if Suite.PUBLISHED in asked.suite:
        yield from published.published(directory)


def _for_baselines(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return what the baselines can see: they judge whole Gpus, of which every view says the same."""
    return tuple(case for case in cases if case.view is View.DRIVER_ONLY)


def _judge(program: str, cases: Sequence[Case]) -> tuple[Judged, ...]:
    begun = time.monotonic()
    name = _name(program)
    said = answers(command(program), cases, _progress(name))
    _tell(f"\r{name}: {len(cases)} recordings in {time.monotonic() - begun:.0f} s\n")
    return judge(cases, said)


def _name(program: str) -> str:
    words = shlex.split(program)
    return words[-1] if program.startswith(BASELINE.format(name="")) else (words or ["nothing"])[0]


def _progress(name: str) -> Callable[[int, int], None]:
    return lambda done, of: _tell(f"\r{name}: {done} of {of}") if sys.stderr.isatty() else None


def _tell(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)


def _report(judged: dict[str, tuple[Judged, ...]], asked: argparse.Namespace) -> int:
    tested, *_ = judged
    console = report.console()
    console.print(f"{time.strftime('%Y-%m-%d')}, {'the held-out' if asked.final else 'the tuning'} part")
    console.print(report.goals_table(tested, judged[tested]))
    if asked.tune:
        for line in report.faults(judged[tested]):
            console.print(line)
    else:
        console.print(report.side_by_side(judged))
    failed = [line for name, of_program in judged.items() for line in report.failures(name, of_program)]
    for line in failed:
        console.print(line)
    missed = any(outcome(row.measure(judged[tested]), row.goal) is Outcome.MISSED for row in ROWS)
    return int(missed or bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
