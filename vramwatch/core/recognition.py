"""Which engine a process belongs to: every engine is asked, the most specific claim wins."""

from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar, Protocol

from vramwatch.core.model import EngineFacts, ProcessFacts


class Precedence(IntEnum):
    """Who wins when several engines claim one process; the smallest first."""

    WRAPPER = 1  # runs another engine inside: Ollama runs llama.cpp
    ENGINE = 2
    FRAMEWORK = 3  # a library inside somebody's own program: torch


# Role of a process that is a person's own program and no server: its Owner is named by the program.
PROGRAM_ROLE = "program"

# Role of a process that hands requests on to servers that it may have started, and serves no model itself.
ROUTER_ROLE = "router"


class Engine(Protocol):
    """One file of engines/: recognises its own processes from what /proc says of them. Pure."""

    precedence: ClassVar[Precedence]

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return role, model and rank of a process of this engine; None for any other. Never raises."""
        ...


def recognise(engines: Iterable[Engine], facts: ProcessFacts) -> EngineFacts | None:
    """Return the claim of the first engine by precedence, then by name; None: an unknown engine.

    An unknown engine is a normal answer. The order in which ``engines`` come is of no account.
    """
    in_order = sorted(engines, key=lambda engine: (engine.precedence, type(engine).__name__))
    claims = (engine.recognise(facts) for engine in in_order)
    return next((claim for claim in claims if claim is not None), None)
