"""How far a recording has been read."""

from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(slots=True)
class Progress:
    """``size``: bytes of the files as they lie on the disk, packed ones packed. ``rows``: those played."""

    size: int = 0
    rows: int = 0


class CountedFile(FileIO):
    """A file of which what is read is counted. Errors: OSError where it cannot be opened."""

    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__(path)
        self._progress = progress

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        count = super().readinto(buffer)
        self._progress.size += count or 0
        return count
