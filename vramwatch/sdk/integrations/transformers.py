"""A model of transformers:

    model = enrolled(AutoModelForCausalLM.from_pretrained(…), on_pressure=drop_caches)

Every ``generate`` is a request, and every cache that the model returns is measured: those that outlive their
request are reported as retained, and so are keys that hold a graph (``requires_grad``), the sign of a forward
pass without ``torch.no_grad()``.
"""

import functools
import weakref
from typing import Any, Optional, TypeVar

from ..enrolment import enroll
from ..worker import Worker
from .marking import marked

Model = TypeVar("Model")


def enrolled(model: Model, worker: Optional[Worker] = None, **enrolment: Any) -> Model:
    """Enrol this process for ``model``, mark its ``generate``, and return it.

    ``worker``: one that has been enrolled before; without it, ``enrolment`` is what ``enroll`` takes.
    """
    known = worker or enroll(**{"model": type(model).__name__, **enrolment})
    known.track_kv(model)
    generate = getattr(model, "generate", None)
    if generate is not None:
        model.generate = _unbound(generate, model, known)  # type: ignore[attr-defined]
    return model


def _unbound(generate: Any, model: Any, worker: Worker) -> Any:
    """Return the marked ``generate``; by a weak reference, or the model would hold itself alive."""
    function, self = getattr(generate, "__func__", None), weakref.ref(model)
    if function is None:
        return marked(generate, lambda *_, **__: worker)

    @functools.wraps(function)
    def of_model(*args: Any, **named: Any) -> Any:
        return function(self(), *args, **named)

    return marked(of_model, lambda *_, **__: worker)
