"""Recorded readings, played again as if they were made now: CSV of vramwatch or of nvidia-smi."""

import gzip
from collections.abc import Collection, Iterator, Mapping
from datetime import tzinfo
from io import BufferedReader
from itertools import chain
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.errors import UsageError
from vramwatch.core.model import Ask, Instant, ProcessFacts, Readings
from vramwatch.core.ports import Feed
from vramwatch.core.units import Seconds
from vramwatch.recording.form import rows
from vramwatch.recording.lines import lines
from vramwatch.recording.lives import Lives
from vramwatch.recording.moments import Moment, moments
from vramwatch.recording.playback import Playback
from vramwatch.recording.progress import CountedFile, Progress
from vramwatch.recording.row import Row


class Replay(BaseModel):
    """The options of the replay source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[Path, ...] = Field(
        (), description="Recordings, .csv or .csv.gz; several are merged by time, as from one server."
    )
    tz: str | None = Field(
        None, description="The time zone of nvidia-smi logs, as in Europe/Berlin; null: this machine's."
    )

    def open(self, newest: Instant | None) -> Feed:
        """Return the feed of the recording: one Instant for each distinct time, then the end.

        Regular files are read through once before anything is played, so that nothing of a malformed
        recording is judged. What can be read only once, a pipe, is played up to the time before its
        first bad line. Errors: UsageError as ``file:line: reason``; from ``Clock.wait`` at a pipe.
        """
        if all(_can_be_read_twice(file) for file in self.files):
            lives = Lives(boot_id="")
            for moment in _moments(self.files, zone_of(self.tz), Progress()):
                lives.follow(moment)
        return self.play(newest.seq + 1 if newest else 1, Progress())

    def play(self, first_seq: int, progress: Progress) -> Feed:
        """Return the feed of the recording, read but once: for who tells nothing before its end is reached.

        ``progress`` is moved along. Errors: UsageError as ``file:line: reason``, from ``Clock.wait`` too.
        """
        if not self.files:
            raise UsageError("replay: no file is given; name at least one .csv or .csv.gz")
        recorded = _moments(self.files, zone_of(self.tz), progress)
        recording = _Recording(f"replay:{self.files[0].name}", recorded, first_seq, progress)
        return Feed(source=recording, people=recording, clock=recording, live=False)


class _Recording:
    """The Source, the People and the Clock of one recording, which move together."""

    lag = Seconds(0.0)  # recorded time waits for whoever reads it

    def __init__(self, boot_id: str, recorded: Iterator[Moment], first_seq: int, progress: Progress) -> None:
        self._boot_id = boot_id
        self._seq = first_seq - 1
        self._playback = Playback(boot_id)
        self._progress = progress
        first = next(recorded, None)
        self._recorded = recorded if first is None else chain((first,), recorded)
        self._time = 0.0 if first is None else first.time
        self._readings = Readings()
        self._stopped = False

    def now(self) -> Instant:
        """Return the recorded present: the time of the moment that was waited for last."""
        self._seq += 1
        return Instant(self._seq, self._time, self._time, self._boot_id)

    def wait(self, interval: Seconds) -> Instant | None:
        """Return the Instant of the next recorded time, at once; None at the end or after ``stop``."""
        moment = None if self._stopped else next(self._recorded, None)
        if moment is None:
            return None
        self._time = moment.time
        self._progress.rows += moment.count
        self._readings = self._playback.play(moment)
        return self.now()

    def wake(self) -> None:
        """A recording is never waited for."""

    def stop(self) -> None:
        self._stopped = True

    def read(self, at: Instant, ask: Ask) -> Readings:
        return self._readings

    def facts(self, pids: Collection[int], at: Instant) -> Mapping[int, ProcessFacts]:
        return self._playback.facts(pids, at.boottime)

    def release(self) -> None:
        """A recording holds no GPU."""

    def resume(self) -> None:
        """A recording holds no GPU."""

    def close(self) -> None:
        self._stopped = True


def _can_be_read_twice(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:
        return False


def _moments(files: tuple[Path, ...], zone: tzinfo | None, progress: Progress) -> Iterator[Moment]:
    return moments([_rows(file, zone, progress) for file in files])


def _rows(file: Path, zone: tzinfo | None, progress: Progress) -> Iterator[Row]:
    try:
        with BufferedReader(CountedFile(file, progress)) as raw:
            stream = gzip.GzipFile(fileobj=raw) if file.suffix == ".gz" else raw
            yield from rows(str(file), lines(str(file), stream), zone)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}; give the path of a recording") from error


def zone_of(name: str | None) -> ZoneInfo | None:
    """Return the time zone of that name; None: that of this machine. Errors: UsageError."""
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"tz: {name!r} is no time zone known here; write one such as Europe/Berlin"
        ) from error
