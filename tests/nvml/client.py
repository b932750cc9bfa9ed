"""A process that uses a FakeDriver through the unmodified pynvml."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.nvml.driver import FakeDriver

PATIENCE = 20.0  # seconds until a process that says nothing counts as dead; far beyond what any needs

# The calls of which the tests speak most, on the GPU that Client.attach called ``h``.
MEMORY = "nvmlDeviceGetMemoryInfo(h, version=nvmlMemory_v2)"
MEMORY_CALL = "nvmlDeviceGetMemoryInfo_v2"
LIST = "nvmlDeviceGetComputeRunningProcesses(h)"
LIST_CALL = "nvmlDeviceGetComputeRunningProcesses_v3"

# Answers each line, an expression over pynvml, with its value or the error that it raised.
CHILD = """
import ctypes, json, sys
import pynvml

def plain(value):
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, ctypes.Structure):
        return {name: plain(getattr(value, name)) for name, *_ in value._fields_}
    if isinstance(value, pynvml.nvmlFriendlyObject):
        return vars(value)
    return value if isinstance(value, (int, str, type(None))) else repr(value)

for line in sys.stdin:
    try:
        answer = {"value": plain(eval(line, vars(pynvml))), "code": 0}
    except pynvml.NVMLError as error:
        answer = {"error": type(error).__name__, "code": error.value}
    except pynvml.NVMLLibraryMismatchError as error:
        answer = {"error": type(error).__name__, "code": None}
    print(json.dumps(answer), flush=True)
"""


class Client:
    """A process that uses the driver through pynvml."""

    def __init__(self, driver: FakeDriver) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env={**os.environ, **driver.environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send(self, expression: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def has_answered(self, within: float = 0.0) -> bool:
        """Whether ``receive`` would return at once, now or ``within`` so many seconds."""
        assert self.process.stdout
        return bool(select.select([self.process.stdout], [], [], within)[0])

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline() if self.has_answered(PATIENCE) else ""
        assert line, f"the client said nothing; it ended with {self.process.poll()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, expression: str) -> Any:
        """Return the value of ``expression``; an error fails the test."""
        self.send(expression)
        answer = self.receive()
        assert answer["code"] == 0, f"{expression}: {answer}"
        return answer["value"]

    def code(self, expression: str) -> int | None:
        """Return the NVML code with which ``expression`` ends, 0 for success."""
        self.send(expression)
        code: int | None = self.receive()["code"]
        return code

    def attach(self, index: int = 0) -> None:
        """Initialise, and call the handle at ``index`` ``h``."""
        self.ask("nvmlInit()")
        self.ask(f"(h := nvmlDeviceGetHandleByIndex({index})) and None")

    def ends_with(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def attached(driver: FakeDriver, index: int = 0) -> Iterator[Client]:
    client = Client(driver)
    try:
        client.attach(index)
        yield client
    finally:
        client.close()
