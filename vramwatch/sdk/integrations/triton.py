"""A model of Triton's Python backend:

    @enrolled(on_pressure=drop_caches)
    class TritonPythonModel:
        def initialize(self, args): …
        def execute(self, requests): …

The worker is ``self.vramwatch``. A decoupled model answers after ``execute`` has returned: it marks its
requests itself, with ``self.vramwatch.request()``.
"""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..enrolment import enroll
from .marking import marked

Served = TypeVar("Served", bound=type)


def enrolled(**enrolment: Any) -> Callable[[Served], Served]:
    """Return a decorator of the class; ``enrolment`` is what ``enroll`` takes. The name is the model's."""

    def decorate(served: Served) -> Served:
        initialize, execute = getattr(served, "initialize", None), served.execute  # type: ignore[attr-defined]
        finalize = getattr(served, "finalize", None)
        mark = marked(execute, lambda self, *_: self.vramwatch)

        def begin(self: Any, args: Mapping[str, str]) -> None:
            named = {"name": args.get("model_name", ""), "model": args.get("model_name", "")}
            self.vramwatch = enroll(**{**named, **enrolment})
            self._marks = not _is_decoupled(args)
            if initialize is not None:
                initialize(self, args)

        def run(self: Any, requests: Any) -> Any:
            return mark(self, requests) if self._marks else execute(self, requests)

        def end(self: Any) -> None:
            if finalize is not None:
                finalize(self)
            self.vramwatch.close()

        served.initialize = functools.wraps(initialize)(begin) if initialize else begin  # type: ignore[attr-defined]
        served.execute = functools.wraps(execute)(run)  # type: ignore[attr-defined]
        served.finalize = functools.wraps(finalize)(end) if finalize else end  # type: ignore[attr-defined]
        return served

    return decorate


def _is_decoupled(args: Mapping[str, str]) -> bool:
    """``model_config`` is JSON (Triton's python_backend); what cannot be read may be decoupled."""
    try:
        policy = json.loads(args.get("model_config") or "{}").get("model_transaction_policy", {})
        return bool(policy.get("decoupled", False))
    except (ValueError, AttributeError):
        return True
