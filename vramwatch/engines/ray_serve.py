"""Ray Serve. A replica's title: python/ray/serve/_private/replica.py (create_replica_impl)."""

import re
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import own_title
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

# "ray::ServeReplica:default:Summarizer", with ".method" behind it while a method runs.
_TITLE = re.compile(r"ray::ServeReplica:(?P<deployment>[^.]*)", re.DOTALL)
_COMM = "ray::ServeRepli"  # the same where comm is cut


@dataclass(frozen=True, slots=True)
class RayServe:
    """Ray Serve: a replica of a deployment."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; for a model stands what Ray serves: "application:deployment"."""
        title = own_title(facts)
        if not title.startswith(_COMM):
            return None
        named = _TITLE.match(title)
        deployment = named["deployment"].strip(":") if named else ""
        return EngineFacts("ray_serve", "replica", deployment or None)
