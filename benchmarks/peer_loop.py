"""Call one function of a peer once a second, for ever; run by the peers' own python.

build/peers/bin/python benchmarks/peer_loop.py gpustat new_query
"""

import importlib
import sys
import time

module, function = sys.argv[1:]
call = getattr(importlib.import_module(module), function)
due = time.monotonic()
while True:
    call()
    due += 1.0
    time.sleep(max(0.0, due - time.monotonic()))
