"""vramwatch: who holds every byte of GPU memory, since when, and when it runs out."""

__version__ = "0.1.0"
