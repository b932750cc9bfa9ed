"""FastAPI, Starlette and every other ASGI application:

    app.add_middleware(WorkerMiddleware, name="chat", on_pressure=drop_caches)

Each process that serves enrols by itself, however the server starts it.
"""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Optional

from ..enrolment import enroll
from ..worker import Worker

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

UNCOUNTED = ("/health", "/healthz", "/livez", "/readyz", "/metrics", "/ping")
"""Paths whose requests compute nothing."""


class WorkerMiddleware:
    """Marks every HTTP request until its answer is whole, streams too; clears after the last one in flight.

    A websocket that is open computes nothing by itself: within one, mark with ``worker.request()``.
    ``worker``: one that has been enrolled before; without it, ``enrolment`` is what ``enroll`` takes.
    ``uncounted``: paths that are passed through.
    """

    def __init__(
        self,
        app: Application,
        worker: Optional[Worker] = None,
        uncounted: Collection[str] = UNCOUNTED,
        **enrolment: Any,
    ) -> None:
        self.app = app
        self.worker = worker or enroll(**enrolment)
        self._uncounted = frozenset(uncounted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("path") in self._uncounted:
            await self.app(scope, receive, send)
            return
        with self.worker.serving():
            await self.app(scope, receive, send)
