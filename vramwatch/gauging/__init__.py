"""Asks engines for their own figures, on a thread of its own; a slow engine never delays a poll."""

from vramwatch.gauging.gauging import Gauging, Terms
from vramwatch.gauging.services import Place

__all__ = ["Gauging", "Place", "Terms"]
