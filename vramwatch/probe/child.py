"""One experiment in this process: ``python -m vramwatch.probe.child``, with it as JSON on standard input.

Standard output has one JSON object a line: {"doing": what, "done": n, "of": m}, at last {"result": …} or
{"refused": why}. Whatever the libraries print goes to standard error.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from vramwatch.core.errors import UsageError
from vramwatch.probe.experiment import Experiment, from_json
from vramwatch.probe.families import is_built_in
from vramwatch.probe.results import to_json


def main() -> int:
    tell = _teller()
    experiment = from_json(json.loads(sys.stdin.read()))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not experiment.is_full_size and is_built_in(experiment.model):
        # Threads cost a small model more than they give, and much more on a busy machine.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if experiment.expandable:
        os.environ["PYTORCH_ALLOC_CONF"] = os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    try:
        tell({"doing": "importing torch", "done": 0, "of": 1})
        result = _run(experiment, tell)
    except ModuleNotFoundError as error:
        remedy = "pip install 'vramwatchd[probe]' (in a checkout: make probe), or --python PATH where it is"
        tell({"refused": f"{error.name} is not installed here; {remedy}", "missing": True})
    except UsageError as error:
        tell({"refused": str(error)})
    else:
        tell({"result": result})
    return 0


def _run(experiment: Experiment, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    from vramwatch.probe.running import run  # noqa: PLC0415 -- torch, which may be missing, comes with it

    def progress(doing: str, done: int, of: int) -> None:
        tell({"doing": doing, "done": done, "of": of})

    return to_json(run(experiment, progress))


def _teller() -> Callable[[dict[str, Any]], None]:
    """Take standard output for ourselves: what others print goes to standard error."""
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        ours.write(json.dumps(message) + "\n")
        ours.flush()

    return tell


if __name__ == "__main__":
    sys.exit(main())
