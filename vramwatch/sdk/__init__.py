"""What a worker imports to give memory back when asked: standard library alone, Python 3.9 and newer."""
