"""What a worker imports to give memory back when asked: standard library alone, Python 3.9 and newer.

from vramwatch_sdk import enroll

worker = enroll(name="chat", on_pressure=prefix_cache.clear)
while True:
    with worker.request():
        answer(queue.get())
    worker.safe_point()
"""

from .allocator import Allocator
from .enrolment import enroll
from .tracing import trace_kv
from .version import __version__
from .wire import Device
from .worker import Worker

__all__ = ["Allocator", "Device", "Worker", "__version__", "enroll", "trace_kv"]
