"""Runs of the probe beside the daemon: begun now and then where there is room, kept, and compared."""
