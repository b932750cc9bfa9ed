"""Columns of numbers as compressed bytes: the foundation of every blob in the store.

A column is one letter for the type of its items (those of Python's ``array``), their number (u32), and the
items, little-endian, in the smallest type that holds them all. Items wider than a byte stand transposed,
first all lowest bytes, then all next ones, because deflate does better so. A blob is its columns one after
the other, deflated (RFC 1950).
"""

import struct
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise

LEVEL = 6  # zlib's own balance; 9 gains a percent and costs three times the time

_HEAD = struct.Struct("<cI")
_RANGES = (("b", 1 << 7), ("h", 1 << 15), ("i", 1 << 31), ("q", 1 << 63))
_WIDTHS = {kind: array(kind).itemsize for kind in "bhiqd"}
_THOUSANDTHS = 1000
_EXACT = 1e12
"""Below it every whole number of thousandths is its own float."""

_INTEGERS, _SCALED, _REALS = range(3)
"""How a column of values is written: whole numbers, whole thousandths, or doubles as they are."""

Value = int | float


class ColumnWriter:
    """Collects columns; ``blob`` returns them compressed."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def integers(self, items: Sequence[int]) -> None:
        """Add whole numbers of at most 64 bits. Errors: OverflowError for larger ones."""
        bound = max((*items, ~min(items))) if items else 0
        kind = next((kind for kind, limit in _RANGES if bound < limit), "q")
        self._add(kind, array(kind, items))

    def deltas(self, items: Sequence[int]) -> None:
        """Add whole numbers, of which neighbours differ little."""
        self.integers(items[:1])
        self.integers([after - before for before, after in pairwise(items)])

    def values(self, items: Sequence[Value]) -> None:
        """Add values that are all int or all float; each comes back as it was."""
        if all(isinstance(item, int) for item in items):
            self.integers([_INTEGERS])
            self.deltas([int(item) for item in items])
            return
        scaled = [round(item * _THOUSANDTHS) if abs(item) < _EXACT else 0 for item in items]
        if all(whole / _THOUSANDTHS == item for whole, item in zip(scaled, items, strict=True)):
            self.integers([_SCALED])
            self.deltas(scaled)
            return
        self.integers([_REALS])
        self._add("d", array("d", items))

    def blob(self) -> bytes:
        return zlib.compress(b"".join(self._parts), LEVEL)

    def _add(self, kind: str, items: "array[int] | array[float]") -> None:
        flat, width = items.tobytes(), items.itemsize
        self._parts.append(_HEAD.pack(kind.encode(), len(items)))
        self._parts.extend(flat[place::width] for place in range(width))


class ColumnReader:
    """Gives the columns of a blob back in the order in which they were added.

    Errors: ValueError for what no ``ColumnWriter`` wrote.
    """

    def __init__(self, blob: bytes) -> None:
        try:
            self._data = zlib.decompress(blob)
        except zlib.error as error:
            raise ValueError(f"a compressed column cannot be read: {error}") from error
        self._place = 0

    def integers(self) -> list[int]:
        return [int(item) for item in self._take()]

    def deltas(self) -> list[int]:
        first = self.integers()
        return list(accumulate(first + self.integers()))

    def values(self) -> list[Value]:
        (how,) = self.integers()
        if how == _REALS:
            return list(self._take())
        whole = self.deltas()
        return [each / _THOUSANDTHS for each in whole] if how == _SCALED else list(whole)

    def skip(self, columns: int) -> None:
        """Pass over ``columns`` columns."""
        for _ in range(columns):
            kind, count = self._head()
            self._place += count * _WIDTHS[kind]

    def skip_values(self) -> None:
        (how,) = self.integers()
        self.skip(1 if how == _REALS else 2)

    def _head(self) -> tuple[str, int]:
        try:
            kind, count = _HEAD.unpack_from(self._data, self._place)
        except struct.error as error:
            raise ValueError(f"a column is missing: {error}") from error
        self._place += _HEAD.size
        return kind.decode("latin-1"), count

    def _take(self) -> "array[int] | array[float]":
        kind, count = self._head()
        width = _WIDTHS[kind]
        end = self._place + count * width
        flat = self._data[self._place : end]
        if len(flat) != count * width:
            raise ValueError("a column ends too early")
        self._place = end
        rows = bytearray(len(flat))
        for place in range(width):
            rows[place::width] = flat[place * count : (place + 1) * count]
        items: array[int] | array[float] = array(kind)
        items.frombytes(rows)
        return items
