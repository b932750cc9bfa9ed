"""What checkpoints look like: those of an earlier vramwatch are gone on from."""

import gzip
import json
import zlib
from pathlib import Path

from tests.servers import one, play, poll, watch
from vramwatch.store.checkpoints import pack

VERSION_3 = Path(__file__).parents[1] / "fixtures" / "checkpoints" / "version-3.json.gz"
"""Recorded on 2026-11-26: what ``checkpoint`` of commit a0adb06 said after the first BEFORE of SWAPS."""

BEFORE, AFTER = 120, 600
MODELS = (6_000.0, 9_000.0, 12_000.0, 7_400.0)

SWAPS = tuple(
    one(
        60.0 * minute,
        MODELS[minute // 5 % 4] + 10.0 * (minute // 5) + 900.0 * (minute % 5 < 2),
        0.8 * (minute % 5 < 2),
    )
    for minute in range(AFTER)
)
"""A server that swaps models every five minutes, rests on each, and loses 120 MiB an hour."""


def test_a_checkpoint_of_version_3_goes_on_as_if_nothing_had_been_between():
    judge = watch()
    judge.restore(json.loads(gzip.decompress(VERSION_3.read_bytes())))
    later = [
        moved for seq, each in enumerate(SWAPS[BEFORE:], BEFORE + 1) for moved in judge.turn(poll(seq, each))
    ]
    whole = [moved for moved in play(SWAPS) if moved.at.seq > BEFORE]
    assert later == whole
    assert any(
        "level_return" in (each.incident.judgement.pattern, *each.incident.judgement.others) for each in whole
    )


def test_what_is_put_down_late_window_by_window_is_the_same_checkpoint():
    judge = watch()
    play(SWAPS[:BEFORE], judge)
    packed = pack(judge.checkpoint(late=True))
    assert json.loads(zlib.decompress(packed)) == json.loads(json.dumps(judge.checkpoint()))
