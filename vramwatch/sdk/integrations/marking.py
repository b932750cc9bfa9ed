"""A function whose every call is a request: a plain one, a coroutine, a generator of either kind."""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from ..worker import Worker


def marked(function: Callable[..., Any], worker_of: Callable[..., Worker]) -> Callable[..., Any]:
    """Return ``function`` with its calls marked at the worker that ``worker_of`` gives for its arguments.

    What yields is in flight until it is exhausted or closed.
    """
    if inspect.isasyncgenfunction(function):

        async def marked_stream(*args: Any, **named: Any) -> AsyncIterator[Any]:
            with worker_of(*args, **named).serving():
                async for each in function(*args, **named):
                    yield each

        return functools.wraps(function)(marked_stream)
    if inspect.iscoroutinefunction(function):

        async def marked_coroutine(*args: Any, **named: Any) -> Any:
            with worker_of(*args, **named).serving():
                return await function(*args, **named)

        return functools.wraps(function)(marked_coroutine)
    if inspect.isgeneratorfunction(function):

        def marked_generator(*args: Any, **named: Any) -> Iterator[Any]:
            with worker_of(*args, **named).serving():
                yield from function(*args, **named)

        return functools.wraps(function)(marked_generator)

    @functools.wraps(function)
    def marked_call(*args: Any, **named: Any) -> Any:
        with worker_of(*args, **named).serving():
            return function(*args, **named)

    return marked_call
