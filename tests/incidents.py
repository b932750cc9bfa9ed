"""Messages about incidents, made by hand, as channels are handed them."""

from dataclasses import replace

from tests.verdicts import transition
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Reason, Severity, State
from vramwatch.core.messages import COURSE_STEPS, Host, Item, Message
from vramwatch.core.policy import Notice
from vramwatch.core.scenes import Scene
from vramwatch.core.units import GIB

MADE = 1_700_080_000.0
HOST = Host("gpu7", {"rack": "b4"})
SCENE = Scene(
    "0",
    "NVIDIA H100",
    80 * GIB,
    70 * GIB,
    40 * GIB,
    owner="chat",
    pid=4104,
    program="python3",
    user="alice",
    unit="chat.service",
)
ENDS = Exhaustion(MADE + 5400.0, MADE + 3600.0, MADE + 9000.0)
COURSE = tuple((30 + 10 * at / COURSE_STEPS) * GIB for at in range(COURSE_STEPS))


def item(notice=Notice.OPENED, id="c0ffee012345", scene=SCENE, reference=None, course=(), **told):
    """A critical leak that fires; over, where ``notice`` says so."""
    is_over = notice is Notice.RESOLVED
    chosen = {
        "state": State.RESOLVED if is_over else State.FIRING,
        "reason": Reason.CLEARED if is_over else Reason.ESTABLISHED,
        "severity": Severity.CRITICAL,
        "forecast": ENDS,
        **told,
    }
    return Item(notice, replace(transition(7, id, **chosen), scene=scene), reference, course=course)


def message(*items, **more):
    return Message(more.pop("key", "k1"), more.pop("host", HOST), MADE, items=items, **more)
