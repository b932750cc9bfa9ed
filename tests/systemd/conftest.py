"""One machine a module, with the service installed from the archive and the tests' NVML as its driver."""

from pathlib import Path

import pytest

from tests.nvml.driver import FakeDriver
from tests.systemd.machine import VRAMWATCH, booted

STATE, LIBRARY = "/srv/nvml", "/srv/nvml-library"

TEST_DRIVER = f"""\
[Service]
Environment=VRAMWATCH_TEST_NVML={STATE}/state LD_LIBRARY_PATH={LIBRARY}
ReadWritePaths={STATE}
"""


@pytest.fixture(scope="module")
def driver():
    with FakeDriver(gpus=2) as driver:
        state = Path(driver.environment()["VRAMWATCH_TEST_NVML"])
        state.parent.chmod(0o755)
        state.chmod(0o666)  # the service's user reads and writes it
        yield driver


@pytest.fixture(scope="module")
def machine(driver, tmp_path_factory):
    environment = driver.environment()
    state = Path(environment["VRAMWATCH_TEST_NVML"]).parent
    library = environment["LD_LIBRARY_PATH"].split(":")[0]
    binds = (f"--bind={state}:{STATE}", f"--bind-ro={library}:{LIBRARY}", "--bind-ro=dist:/bundle")
    with booted(tmp_path_factory.mktemp("machine") / "console", *binds) as machine:
        machine.run(
            "sh", "-c", "cd /root && tar xzf /bundle/vramwatch-*.tar.gz && vramwatch-*/install", within=500
        )
        machine.write("/etc/systemd/system/vramwatch.service.d/test.conf", TEST_DRIVER)
        machine.run(VRAMWATCH, "service", "install", "--yes")
        yield machine
