"""Where the helper of the profile "identify" listens; for who only looks whether it is there."""

from pathlib import Path

IDENTIFY_SOCKET = Path("/run/vramwatch-identify/socket")
