"""Checkpoints that an earlier vramwatch has written: they are gone on from, and nothing is told otherwise."""

import gzip
import json
from pathlib import Path

from tests.servers import one, play, poll, watch

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
