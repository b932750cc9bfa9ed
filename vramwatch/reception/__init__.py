"""The Unix socket where workers enrol and report; the kernel says who speaks."""

from vramwatch.reception.bounds import Bounds
from vramwatch.reception.entrance import Admission, ReceptionError
from vramwatch.reception.reception import Reception

__all__ = ["Admission", "Bounds", "Reception", "ReceptionError"]
