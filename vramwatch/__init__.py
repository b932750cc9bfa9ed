"""vramwatch: who holds every byte of GPU memory, since when, and where it will end."""

__version__ = "0.1.0"
