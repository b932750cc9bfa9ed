"""Running a program of the replay contract over recordings."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from benchmarks.detection.alarms import ContractError, Line, parse
from benchmarks.detection.cases import Case

AT_ONCE = 12  # recordings that one run is given: its start costs less than they do
SIDE_BY_SIDE = 2  # runs at one time
PATIENCE = 300.0  # seconds that one run may take
REFUSED = 2  # the contract's exit code for a bad input file


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said of one recording. ``failure``: why it said nothing, empty where it did."""

    lines: tuple[Line, ...] = ()
    failure: str = ""
    is_refusal: bool = False


class ProgramError(Exception):
    """The program says nothing of any recording: there is nothing to score."""


Told = Callable[[int, int], None]
"""Is told how many recordings are done, and of how many."""


def command(text: str) -> tuple[str, ...]:
    """Return the words of a command line; ``vramwatch`` and ``python`` are those of this interpreter."""
    words = shlex.split(text)
    if not words:
        raise ValueError("the program is empty; write a command line: 'vramwatch replay --format ndjson'")
    own = {"vramwatch": (sys.executable, "-m", "vramwatch"), "python": (sys.executable,)}
    return (*own.get(words[0], words[:1]), *words[1:])


def answers(program: Sequence[str], cases: Iterable[Case], told: Told) -> dict[str, Answer]:
    """Return what ``program`` says of each recording, by the case's name.

    A run that fails is repeated with one recording at a time, so that one bad file costs only itself.
    Errors: ProgramError, when it fails on every recording of the first run.
    """
    cases = tuple(cases)
    first, *others = _runs(cases)
    said = dict(_answer(program, first))
    if not any(case.may_be_refused for case in first) and all(one.failure for one in said.values()):
        raise ProgramError(f"{shlex.join(program)} fails on every recording; {said[first[0].name].failure}")
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for part in pool.map(lambda run: _answer(program, run), others):
            said |= part
            told(len(said), len(cases))
    return said


def _runs(cases: Sequence[Case]) -> Iterator[tuple[Case, ...]]:
    whole = [case for case in cases if not case.may_be_refused]
    return chain(_batches(whole, AT_ONCE), _batches([case for case in cases if case.may_be_refused], 1))


def _answer(program: Sequence[str], cases: Sequence[Case]) -> Mapping[str, Answer]:
    answer = _run(program, cases)
    if isinstance(answer, Answer):
        if len(cases) == 1:
            return {cases[0].name: answer}
        return dict(chain.from_iterable(_answer(program, [case]).items() for case in cases))
    return answer


def _run(program: Sequence[str], cases: Sequence[Case]) -> Mapping[str, Answer] | Answer:
    """Return what one run said of each, or the one Answer that says why it said nothing."""
    try:
        done = subprocess.run(
            [*program, *(str(case.path) for case in cases)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(failure=str(error))
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        return Answer(failure=f"exit code {done.returncode}: {last}", is_refusal=done.returncode == REFUSED)
    try:
        return _sorted(done.stdout, cases)
    except ContractError as error:
        return Answer(failure=str(error))


def _sorted(text: str, cases: Sequence[Case]) -> Mapping[str, Answer]:
    names = {case.path.name: case.name for case in cases}
    lines: dict[str, list[Line]] = {case.name: [] for case in cases}
    for line in map(parse, filter(None, text.splitlines())):
        if not line.file and len(cases) > 1:
            raise ContractError("several files were given, and a line names none")
        name = names.get(Path(line.file).name) if line.file else cases[0].name
        if name is None:
            raise ContractError(f"a line names a file that was not given: {line.file!r}")
        lines[name].append(line)
    return {name: Answer(tuple(told)) for name, told in lines.items()}


def _batches(cases: Sequence[Case], size: int) -> Iterator[tuple[Case, ...]]:
    return (tuple(cases[i : i + size]) for i in range(0, len(cases), size))
