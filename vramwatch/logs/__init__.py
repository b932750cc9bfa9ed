"""Follows the logs that an operator has opted in, and hands on the numbers in their out-of-memory lines.

Reads alone, on threads of its own, with bounded memory; no text of a line leaves this room.
"""

from vramwatch.logs.watch import LogWatch

__all__ = ["LogWatch"]
