"""Pool pressure: requests wait for a KV pool that is full, minute after minute."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.model import SubjectKind
from vramwatch.core.traits import Traits
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Cause, Clear, Evidence, Found, Unknown, Verdict
from vramwatch.core.windows import PRESSED_OVER, Window


class PoolPressure(BaseModel):
    """For most of the last half hour requests waited for a full pool, or were preempted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(
        0.6,
        ge=0.01,
        le=1.0,
        description="Share of the last half hour in which requests must have waited for a full pool.",
    )

    TRAITS: ClassVar = Traits(
        precedence=130, sees=frozenset({SubjectKind.PROCESS}), always_told=True, in_pool=True
    )

    def examine(self, window: Window) -> Verdict:
        if window.waiting is None:
            return Unknown("it does not say what waits")
        pool, used = window.pool, window.told.get("engine_kv_ratio")
        if pool is None and used is None:
            return Unknown("it has no pool, or tells nothing of it")
        if window.pressed < self.share:
            return Clear()
        of = f" of {show_bytes(round(pool.capacity))}" if pool else ""
        numbers = {"pool_bytes": pool.capacity} if pool else {}
        if used is not None:
            numbers["pool_used_ratio"] = used
        return Found(
            Evidence(
                f"requests wait for a full pool{of}: "
                f"{window.waiting:.0f} now, in {window.pressed:.0%} of the last half hour",
                {
                    "waiting_requests": window.waiting,
                    "pressed_share": window.pressed,
                    **numbers,
                },
                window.at(window.now - PRESSED_OVER),
                window.at(window.now),
                1,
            ),
            None,
            (Cause.KV_CACHE,),
        )
