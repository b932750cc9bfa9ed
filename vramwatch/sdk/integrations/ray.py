"""A deployment of Ray Serve:

    @serve.deployment(ray_actor_options={"num_gpus": 1})
    @enrolled(on_pressure=drop_caches)
    class Chat:
        async def __call__(self, request): …

Each replica is a process and enrols by itself. The worker is ``self.vramwatch``.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..enrolment import enroll
from .marking import marked

Deployed = TypeVar("Deployed", bound=type)


def enrolled(*, methods: Sequence[str] = ("__call__",), **enrolment: Any) -> Callable[[Deployed], Deployed]:
    """Return a decorator of the class, below ``serve.deployment``.

    ``methods``: those that compute; every call of one is a request. ``enrolment`` is what ``enroll`` takes;
    the name is the class's.
    """

    def decorate(deployed: Deployed) -> Deployed:
        begin = deployed.__init__  # type: ignore[misc]

        @functools.wraps(begin)
        def enrolling(self: Any, *args: Any, **named: Any) -> None:
            self.vramwatch = enroll(**{"name": deployed.__name__, **enrolment})
            begin(self, *args, **named)

        deployed.__init__ = enrolling  # type: ignore[misc]
        for method in methods:
            function = getattr(deployed, method)
            setattr(deployed, method, marked(function, lambda self, *_, **__: self.vramwatch))
        return deployed

    return decorate
