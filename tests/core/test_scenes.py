"""Who stood where when an incident moved."""

from dataclasses import replace

import pytest

from tests.polls import holding, instant, ledger, tenant
from tests.verdicts import transition
from vramwatch.core.messages import Item, who
from vramwatch.core.model import GhostKind, SubjectKind
from vramwatch.core.policy import Notice
from vramwatch.core.scenes import scene_of
from vramwatch.core.units import GIB, Bytes


def scene(*ghosts, unattributed=0):
    """The scene of the bytes of nobody on a GPU where a living process holds 1 GiB beside ``ghosts``."""
    alive = holding(9, Bytes(GIB), tenant=tenant(9, user="bob"))
    dead = [
        holding(pid, Bytes(held), tenant=tenant(pid, user="alice"), ghost=GhostKind.GONE)
        for pid, held in ghosts
    ]
    seen = replace(ledger(instant(1), alive, *dead), unattributed=Bytes(unattributed))
    return scene_of([seen], seen.gpu.uuid, SubjectKind.UNATTRIBUTED, None, None)


def test_the_ghost_that_holds_most_of_what_nobody_holds_is_named():
    told = scene((7, GIB), (8, 3 * GIB))
    assert (told.held_bytes, told.pid, told.user) == (4 * GIB, 8, "alice")
    item = Item(Notice.OPENED, replace(transition(1, owner=None), scene=told))
    assert who(item).startswith("left behind by ")
    assert "pid 8" in who(item)


@pytest.mark.parametrize("others", [{}, {"unattributed": 5 * GIB}])
def test_where_no_ghost_holds_half_of_it_nobody_is_named(others):
    told = scene(*(((7, GIB),) if others else ()), **others)
    assert (told.pid, told.user, told.owner) == (None, None, None)
