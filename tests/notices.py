"""Messages made by hand, and a daemon's courier, for tests of notifiers."""

from dataclasses import replace

from tests.verdicts import transition
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Reason, Severity, State
from vramwatch.core.messages import Host, Item, Message, MessageKind
from vramwatch.core.policy import Notice
from vramwatch.core.scenes import Scene
from vramwatch.core.units import GIB

HOST = Host("gpu7", {"rack": "b4"})
KEY = "0123456789abcdef0123456789abcdef"
MADE = 1_700_050_000.0

SCENE = Scene(
    "0",
    "NVIDIA H100 80GB HBM3",
    80 * GIB,
    61 * GIB,
    40 * GIB,
    owner="chat",
    team="search",
    pid=4100,
    program="python3",
    user="alice",
    unit="chat.service",
)


def item(id="0a1b2c3d4e5f", notice=Notice.OPENED, reference=None, siblings=0, **told):
    """An incident that fires with an end in sight; resolved where the notice is."""
    is_over = notice is Notice.RESOLVED
    given = {
        "state": State.RESOLVED if is_over else State.FIRING,
        "reason": Reason.RESTARTED if is_over else Reason.ESTABLISHED,
        "severity": Severity.CRITICAL,
        "forecast": Exhaustion(1_700_090_000.0, 1_700_080_000.5, 1_700_100_000.0),
        "pid": 4100,
    }
    scene = told.pop("scene", SCENE)
    moved = replace(transition(7, id, **(given | told)), scene=scene)
    return Item(notice, moved, reference, siblings)


def message(*items, key=KEY, host=HOST, **more):
    return Message(key, host, MADE, items=items or (item(),), **more)


def trial(key=KEY):
    return Message(key, HOST, MADE, MessageKind.TEST, text="This is a test.")


def digest(key=KEY):
    return Message(key, HOST, MADE, MessageKind.DIGEST, text="Nothing would have fired.")
