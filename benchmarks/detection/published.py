"""Suite D: short series that people published as numbers in issue trackers.

Facts, not text: each with its address, what was measured, and what had to be assumed to replay it.
Read in November 2026.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.detection.cases import Case, Cause, Group, Serving, Suite, Truth, View
from benchmarks.detection.recordings import MIB, Row, blind, write

GIB = 1024.0  # MiB
ORIGIN = 1_750_000_000.0  # unix seconds of the first sample
LINE_STEP = 60.0  # seconds between samples on a line


@dataclass(frozen=True, slots=True)
class Series:
    """``points``: seconds and MiB. ``cause`` None: it does not grow. ``assumed``: what is not published."""

    name: str
    url: str
    what: str
    assumed: str
    card: float  # MiB
    points: tuple[tuple[float, float], ...]
    cause: Cause | None
    serving: Serving = Serving.IMAGE


def _values(values: tuple[float, ...], step: float) -> tuple[tuple[float, float], ...]:
    return tuple((i * step, value) for i, value in enumerate(values))


def _rising(first: float, rise: float, count: int, step: float) -> tuple[tuple[float, float], ...]:
    return tuple((i * step, first + rise * i) for i in range(count))


def _line(corners: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Return points on straight lines between ``corners``, one a minute."""
    points = []
    for (begin, first), (end, last) in pairwise(corners):
        count = round((end - begin) / LINE_STEP)
        points += [(begin + i * LINE_STEP, first + (last - first) * i / count) for i in range(count)]
    return (*points, corners[-1])


SERIES = (
    Series(
        "pytorch-1509-without-cudnn",
        "https://github.com/pytorch/pytorch/issues/1509",
        "the first six iterations of a training run on a 12 GB card, then flat",
        "one iteration a second",
        12_288.0,
        _values((2934.0, 4413.0, 4433.0, 4537.0, 4537.0, 4537.0), 1.0),
        None,
    ),
    Series(
        "pytorch-1509-with-cudnn",
        "https://github.com/pytorch/pytorch/issues/1509",
        "the same with cuDNN: one rise, then flat",
        "one iteration a second",
        12_288.0,
        _values((1686.0, 1791.0, 1791.0, 1791.0, 1791.0, 1791.0), 1.0),
        None,
    ),
    Series(
        "minkowskiengine-359",
        "https://github.com/NVIDIA/MinkowskiEngine/issues/359",
        "8852.5 MB free of 15.78 GiB after each of several caught out-of-memory errors, with their times",
        "nothing",
        15.78 * GIB,
        tuple((seconds, 15.78 * GIB - 8852.5) for seconds in (0.0, 7.0, 13.0, 16.0)),
        None,
    ),
    Series(
        "neuralscreen-48-mended",
        "https://github.com/perseval-BLR/DLSS5-NeuralScreen/issues/48",
        "1 MB more after 30 rebuilds of a 16 GB card's worker, once mended",
        "3 GiB at first; one rebuild a second; the rise at once",
        16_384.0,
        _values((3072.0, *(3073.0,) * 30), 1.0),
        None,
    ),
    Series(
        "neuralscreen-48",
        "https://github.com/perseval-BLR/DLSS5-NeuralScreen/issues/48",
        "about 420 MB more at each of 30 rebuilds; full in about half a minute",
        "3 GiB at first; one rebuild a second",
        16_384.0,
        _rising(3072.0, 420.0, 31, 1.0),
        Cause.NON_TORCH,
    ),
    Series(
        "nvdiffrast-30",
        "https://github.com/NVlabs/nvdiffrast/issues/30",
        "1080 MiB more at each run on a 24 GB card; 20 runs are enough to fill it",
        "1.5 GiB at first; one run in 30 seconds",
        24_220.0,
        _rising(1536.0, 1080.0, 21, 30.0),
        Cause.NON_TORCH,
    ),
    Series(
        "mistral-inference-20",
        "https://github.com/mistralai/mistral-inference/issues/20",
        "30 MB more at each step; 30 GB after a thousand",
        "16 GiB at first; a card of 48 GB; one step in two seconds",
        49_140.0,
        _rising(16_384.0, 30.0, 1001, 2.0),
        Cause.AUTOGRAD,
        Serving.LANGUAGE,
    ),
    Series(
        "llama.cpp-27725",
        "https://github.com/ggml-org/llama.cpp/issues/27725",
        "3 MB more at each request on a board with 7.4 GiB",
        "2.7 GiB at first; one request in ten seconds",
        7.4 * GIB,
        _rising(2.7 * GIB, 3.0, 1500, 10.0),
        Cause.LEAK,
        Serving.LANGUAGE,
    ),
    Series(
        "sglang-7340",
        "https://github.com/sgl-project/sglang/pull/7340",
        "about 20 GB free after the start, less than 7 GB half an hour later, out of memory within the hour",
        "a card of 96 GB; straight lines between these three points",
        96 * GIB,
        _line(((0.0, 76 * GIB), (1800.0, 89 * GIB), (2760.0, 96 * GIB))),
        Cause.LEAK,
        Serving.LANGUAGE,
    ),
)


def published(directory: Path) -> Iterator[Case]:
    """Yield suite D, written to ``directory``."""
    for series in SERIES:
        name = f"D-{series.name}"
        path = blind(directory, name)
        write(path, (_row(series, seconds, mebibytes) for seconds, mebibytes in series.points))
        first, last = (ORIGIN + series.points[i][0] for i in (0, -1))
        truth = Truth(Cause.LOAD, judges_cause=False)
        if series.cause is not None:
            truth = Truth(series.cause, True, first, first, last, judges_cause=False)
        yield Case(
            name,
            path,
            Suite.PUBLISHED,
            series.serving,
            View.DRIVER_ONLY,
            Group.HEALTHY if series.cause is None else Group.GROWTH,
            truth,
            first,
            last,
        )


def _row(series: Series, seconds: float, mebibytes: float) -> Row:
    used = min(round(mebibytes * MIB), round(series.card * MIB))
    return Row(ORIGIN + seconds, "GPU-0", None, used, round(series.card * MIB))
