"""In which profile the service of this machine is, as far as anybody can see."""

import os

from vramwatch.cli.installing import UNIT, UNITS
from vramwatch.procfs.places import IDENTIFY_SOCKET

REVEALING = "vramwatch service install --profile identify"
"""The command that adds the helper, vramwatch-identify.socket and vramwatch-identify.service."""


def hides_others() -> bool:
    """Whether what /proc keeps from a user without capabilities stays unknown: the profile is "observe".

    Where the service is installed its user counts, and not who asks.
    """
    if IDENTIFY_SOCKET.is_socket():
        return False
    return os.geteuid() != 0 or (UNITS / UNIT).exists()
