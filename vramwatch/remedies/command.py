"""Runs the operator's own program, to drain and restart: the last rung before a person."""

import os
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from vramwatch.core.attempts import Apply
from vramwatch.core.parties import Offer, Party, Unfit
from vramwatch.core.policy import Case
from vramwatch.core.units import Seconds
from vramwatch.options import Glob, Text
from vramwatch.quantities import Duration
from vramwatch.remedying import DONE, Hands, Remedy, Report, run_program, told

Argv = Annotated[tuple[Text, ...], Field(min_length=1, max_length=64)]


class Command(Remedy):
    """Runs your program, without a shell; VRAMWATCH_* in its environment say what it is for."""

    argv: Argv = Field(
        description="The program and its arguments, as a list; no shell is involved.",
        examples=[["/usr/local/bin/drain-and-restart"]],
    )
    owners: tuple[Glob, ...] = Field(
        min_length=1,
        max_length=64,
        description="The owners it may run for, by name or key; ['*']: all.",
        examples=[["chat"]],
    )
    timeout: Annotated[Seconds, Duration("1s", "6h")] = Field(
        Seconds(900.0), description="How long it may take before it is ended."
    )
    cooldown: Annotated[Seconds, Duration("1m", "30d")] = Field(
        Seconds(6 * 3600.0), description="How long this remedy leaves an owner alone after an attempt."
    )
    within: Annotated[Seconds, Duration("1s", "1h")] = Field(
        Seconds(120.0),
        description="How long the driver's figure may take to fall after the program has ended.",
    )

    def offer(self, case: Case, party: Party) -> Offer | Unfit:
        scene = case.newest.scene
        names = (case.incident.subject.owner or "", (scene.owner if scene else None) or "")
        if not any(fnmatchcase(name, glob) for name in names if name for glob in self.owners):
            return Unfit(f"it is for {', '.join(self.owners)} alone")
        targets = tuple(sorted(party.processes, key=lambda key: key.pid))
        return Offer(targets, f"run {' '.join(self.argv)}", costs_service=True)

    def carry_out(self, apply: Apply, hands: Hands) -> Report:
        fault = run_program(self.argv, told(apply, os.environ), self.timeout)
        return Report(fault) if fault else DONE
