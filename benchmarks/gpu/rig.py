"""Where a part runs: a real GPU, or a rehearsal, in which the driver of the tests shows what workers hold."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.gpu.steps import Scene

if TYPE_CHECKING:
    from tests.nvml.driver import FakeDriver

MIB = 2**20
SMI = "nvidia-smi"
PATIENCE = 60.0
"""Seconds that one question may take: a driver without persistence mode opens each GPU anew."""

TORCH = """
import torch, transformers, accelerate
print(torch.__version__, int(torch.cuda.is_available()))
"""


class NoGpuError(Exception):
    """There is no GPU here."""


class LackingError(Exception):
    """There is a GPU, and something else is missing."""


@dataclass(frozen=True, slots=True)
class Rig:
    """One GPU. ``device``: what torch calls it; ``smi``: how nvidia-smi is called here; ``others``: UUIDs."""

    uuid: str
    device: str
    scene: Scene
    smi: tuple[str, ...]
    others: tuple[str, ...] = ()
    driver: "FakeDriver | None" = field(default=None, repr=False)

    @property
    def is_rehearsal(self) -> bool:
        return self.scene.is_rehearsal

    def shows(self, held: Mapping[int, int]) -> None:
        """Have the driver show that pids hold so many bytes; a real one knows that by itself."""
        if self.driver is not None:
            from tests.nvml.gpu import Process

            self.driver.gpus[0].set_processes(Process(pid, each) for pid, each in held.items())

    def ask(self, *words: str) -> list[list[str]]:
        """Return the fields of the lines that nvidia-smi prints, in MiB. Errors: CalledProcessError."""
        return _lines([*self.smi, *words, "--format=csv,noheader,nounits"])


def _lines(command: list[str]) -> list[list[str]]:
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    return [[each.strip() for each in row.split(",")] for row in said.splitlines() if row.strip()]


def torch_here() -> tuple[str, bool]:
    """Return the version of torch, and whether it sees a GPU. Errors: LackingError."""
    told = subprocess.run([sys.executable, "-c", TORCH], capture_output=True, text=True, check=False)
    rows = told.stdout.split()
    if told.returncode or len(rows) < 2:
        last = (told.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise LackingError(f"torch, transformers and accelerate are needed in {sys.executable}: {last}")
    return rows[0], rows[1] == "1"


@contextmanager
def real() -> Iterator[Rig]:
    """Give the first GPU of this machine, or the one that CUDA_VISIBLE_DEVICES names.

    Errors: NoGpuError, LackingError.
    """
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    only = ["-i", wanted] if wanted else []
    words = [SMI, *only, "--query-gpu=uuid,name,driver_version", "--format=csv,noheader"]
    try:
        rows = _lines(words)
    except FileNotFoundError:
        raise NoGpuError(f"there is no {SMI}") from None
    except subprocess.SubprocessError as error:
        said = str(getattr(error, "stdout", "") or error).strip()
        raise NoGpuError(f"{SMI} says: {said}") from None
    if not rows:
        raise NoGpuError(f"{SMI} lists none")
    uuid, name, driver = rows[0]
    version, sees = torch_here()
    if not sees:
        raise LackingError(f"{name} is here, and torch {version} sees no GPU; set TORCH to a build with CUDA")
    os.environ["CUDA_VISIBLE_DEVICES"] = uuid
    others = tuple(
        row[0] for row in _lines([SMI, "--query-gpu=uuid", "--format=csv,noheader"]) if row[0] != uuid
    )
    yield Rig(uuid, "cuda:0", Scene(name, driver, version, is_rehearsal=False), (SMI,), others)


@contextmanager
def rehearsal() -> Iterator[Rig]:
    """Give a GPU that is not there: torch computes on the CPU, and the driver is that of the tests.

    Errors: LackingError, CalledProcessError where its library cannot be built.
    """
    from tests.nvml.driver import VARIANTS, FakeDriver

    version, _ = torch_here()
    with ExitStack() as stage:
        driver = stage.enter_context(FakeDriver(gpus=1))
        environment = driver.environment()
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        stage.callback(_restore, before)
        scene = Scene("no GPU (rehearsal)", f"tests/nvml {VARIANTS['R580'][0]}", version, is_rehearsal=True)
        smi = (sys.executable, "-m", "benchmarks.gpu.smi")
        yield Rig(driver.gpus[0].uuid, "cpu", scene, smi, (), driver)


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
