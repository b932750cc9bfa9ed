"""The polls of an open hour as bytes: what one transaction adds to the table ``tick``.

A row holds the polls of one run: any number in which nothing changed, and at its end at most one in which
something did. Values stand in full and times are absolute; of the GPUs those alone are told of which
something is not ``as_expected`` from the poll before. Layout, little-endian, for each poll: ``_POLL``, then
for each GPU that is told of: ``_GPU``, its changed series as u32 (id times two, plus one for reals) and
their values as i64 (the bits of a double for reals; the lowest i64: no value from here on).
"""

import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from vramwatch.store.columns import Value

_POLL = struct.Struct("<IqqIIHHI")  # seq after the row's, wall ms, boottime ms, run, pace, share, GPUs, bytes
_GPU = struct.Struct("<HHIIH")  # gpu, note, sweep, seqs since its list was read, changes
_CHANGE_BYTES = 12
_NEVER = 0xFFFF_FFFF
_ENDED = -(1 << 63)


@dataclass(frozen=True, slots=True)
class GpuTick:
    """One GPU at one poll. ``note`` 0: it is no longer there; ``sweep`` 0: nothing of it was read."""

    gpu: int
    note: int
    sweep: int
    listed: int  # seq of the poll that read its process list; 0: never yet
    changes: tuple[tuple[int, Value | None], ...] = ()  # series, its value from here on


@dataclass(frozen=True, slots=True)
class Tick:
    """One poll, with the GPUs that are told of. Milliseconds; ``pace`` 0: none; ``share`` in 1/10000."""

    seq: int
    wall: int
    boottime: int
    run: int
    pace: int
    share: int
    gpus: tuple[GpuTick, ...]


def as_expected(before: GpuTick, seq_before: int, seq: int) -> GpuTick:
    """Return what a GPU is like at ``seq`` where nothing is told of it, given how it was at the poll before.

    All stays as it was; and where the process list was read then, it is read now.
    """
    if not before.changes and before.listed != seq_before:
        return before
    return replace(before, listed=seq if before.listed == seq_before else before.listed, changes=())


def encode(ticks: Sequence[Tick]) -> bytes:
    """Return ``ticks``, at least one, in ascending order of seq."""
    parts: list[bytes] = []
    for tick in ticks:
        times = (tick.seq - ticks[0].seq, tick.wall, tick.boottime)
        told = b"".join(_encode_gpu(each, tick.seq) for each in tick.gpus)
        parts.append(_POLL.pack(*times, tick.run, tick.pace, tick.share, len(tick.gpus), len(told)))
        parts.append(told)
    return b"".join(parts)


def _encode_gpu(each: GpuTick, seq: int) -> bytes:
    age = min(seq - each.listed, _NEVER - 1) if each.listed else _NEVER
    count = len(each.changes)
    head = _GPU.pack(each.gpu, each.note, each.sweep, age, count)
    if not count:
        return head
    marks = [series << 1 | isinstance(value, float) for series, value in each.changes]
    values = [_bits(value) for _, value in each.changes]
    return head + struct.pack(f"<{count}I{count}q", *marks, *values)


def _bits(value: Value | None) -> int:
    if value is None:
        return _ENDED
    if isinstance(value, int):
        return value
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits


def decode(seq: int, data: bytes, gpus: Collection[int] | None = None) -> Iterator[Tick]:
    """Yield the polls of a row whose first poll is ``seq``, with those of ``gpus`` that are told of.

    Errors: ValueError for what is not such a row.
    """
    place = 0
    try:
        while place < len(data):
            after, wall, boottime, run, pace, share, count, size = _POLL.unpack_from(data, place)
            place += _POLL.size
            told = list(_decode_gpus(seq + after, data, place, count, gpus)) if gpus != () else []
            place += size
            yield Tick(seq + after, wall, boottime, run, pace, share, tuple(told))
    except struct.error as error:
        raise ValueError(f"the polls from {seq} on cannot be read: {error}") from error


def _decode_gpus(
    seq: int, data: bytes, place: int, count: int, gpus: Collection[int] | None
) -> Iterator[GpuTick]:
    for _ in range(count):
        gpu, note, sweep, age, size = _GPU.unpack_from(data, place)
        place += _GPU.size
        if gpus is None or gpu in gpus:
            listed = 0 if age == _NEVER else seq - age
            yield GpuTick(gpu, note, sweep, listed, _decode_changes(data, place, size))
        place += size * _CHANGE_BYTES


def _decode_changes(data: bytes, place: int, count: int) -> tuple[tuple[int, Value | None], ...]:
    if not count:
        return ()
    numbers = struct.unpack_from(f"<{count}I{count}q", data, place)
    return tuple(
        (mark >> 1, _value(mark, bits)) for mark, bits in zip(numbers[:count], numbers[count:], strict=True)
    )


def _value(mark: int, bits: int) -> Value | None:
    if bits == _ENDED:
        return None
    if not mark & 1:
        return bits
    real: float = struct.unpack("<d", struct.pack("<q", bits))[0]
    return real
