"""The image as an operator runs it: built by deploy/Containerfile, with a read-only root and no capability.
``make test-image`` runs it, as root; skipped where it was not built.
"""

import json
import os
import shutil
import stat
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.image.container import BUILT, Container, mounted
from tests.nvml.driver import FakeDriver
from tests.ports import free_port
from tests.waiting import wait_until

MIB = 1024 * 1024
UID = 9478
LIBRARY, STATE = "/srv/nvml-library", "/srv/nvml"
ON_TOP = 120 * MIB  # what it may add to its base: the virtual environment

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0 or not (BUILT / "base").exists() or shutil.which("runc") is None,
        reason="no image to run: make test-image, as root, builds it",
    ),
    pytest.mark.timeout(300),
]


@pytest.fixture
def driver():
    with FakeDriver(gpus=2) as driver:
        state = Path(driver.environment()["VRAMWATCH_TEST_NVML"])
        state.parent.chmod(0o755)
        state.chmod(0o666)  # the image's user reads and writes it
        yield driver


@pytest.fixture(scope="module")
def image():
    with mounted() as image:
        yield image


@pytest.fixture
def box(image, tmp_path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    box = Container(*image, bundle)
    yield box
    box.clear()


@pytest.fixture
def address(box, driver, tmp_path):
    """The daemon in the container, listening on every address as deploy/ has it; gives its port."""
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)  # pytest's own, which no other user may enter
    port = free_port()
    config, history = tmp_path / "config", tmp_path / "history"
    config.mkdir()
    history.mkdir(mode=0o750)
    os.chown(history, UID, UID)
    token = config / "token"
    token.write_text("s3same", encoding="utf-8")
    os.chown(token, 0, UID)
    token.chmod(0o440)
    (config / "config.yaml").write_text(
        f"http:\n  listen: 0.0.0.0:{port}\n  token_file: /etc/vramwatch/token\n"
        "control:\n  group: null\npoll:\n  interval: 1s\n",
        encoding="utf-8",
    )
    environment = driver.environment()
    box.start(
        {
            "/etc/vramwatch": (config, "ro"),
            "/var/lib/vramwatch": (history, "rw"),
            LIBRARY: (environment["LD_LIBRARY_PATH"].split(":")[0], "ro"),
            STATE: (Path(environment["VRAMWATCH_TEST_NVML"]).parent, "rw"),
        },
        [f"LD_LIBRARY_PATH={LIBRARY}", f"VRAMWATCH_TEST_NVML={STATE}/state"],
    )
    wait_until(lambda: box.lives() and asked(port, "/-/ready")[0] == 200, "it is ready", 30)
    return port


def asked(port, path, token=None):
    """The status and the text of an answer; 0 where there is none."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except OSError:
        return 0, ""


def test_it_reads_the_gpus_with_a_read_only_root_as_a_user_without_capabilities(address, box):
    status = Path(f"/proc/{box.pid()}/status").read_text(encoding="ascii")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Uid"].split() == [str(UID)] * 4
    assert {facts[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert box.run("touch", "/opt/vramwatch/x").returncode != 0
    told = json.loads(box.run("vramwatch", "status", "--format", "json").stdout)
    assert len(told["gpus"]) == 2


def test_it_is_healthy_for_everybody_and_tells_its_figures_for_the_token(address, driver):
    assert asked(address, "/-/healthy")[0] == 200
    assert asked(address, "/metrics")[0] == 401
    code, page = asked(address, "/metrics", token="s3same")
    assert code == 200
    used = [line for line in page.splitlines() if line.startswith("vramwatch_gpu_memory_used_bytes{")]
    assert len(used) == len(driver.gpus)


def test_it_ends_calmly_and_keeps_its_history_in_the_volume(address, box, tmp_path):
    assert box.stop() == 0, box.log()
    store = tmp_path / "history" / "vramwatch.db"
    assert store.stat().st_uid == UID
    assert stat.S_IMODE(store.stat().st_mode) == 0o640


def test_without_a_driver_it_stays_up_and_says_that_it_is_blind(box, tmp_path):
    box.start({}, command=["run", "--store", "/tmp/vramwatch.db"])
    wait_until(lambda: box.lives() and "blind" in box.log(), "it says so", 20)
    assert box.lives()


def test_a_configuration_that_is_wrong_ends_it_with_78(box, tmp_path):
    box.start({}, ["VRAMWATCH_HTTP__LISTEN=0.0.0.0:9478"])
    assert box.ended() == 78
    assert "token_file" in box.log()


def test_there_is_neither_torch_nor_pip_in_it_and_it_is_small(box):
    packages = next((box.root / "opt/vramwatch/lib").glob("python3*/site-packages"))
    names = {path.name for path in packages.iterdir()}
    assert "vramwatch" in names
    assert not names & {"torch", "transformers", "numpy", "pip"}
    said = subprocess.run(["du", "-sb", box.root / "opt"], capture_output=True, text=True, check=True).stdout
    on_top = int(said.split()[0])
    print(f"{on_top / MIB:.0f} MiB on top of its base")  # noqa: T201 - what make test-image tells
    assert 0 < on_top < ON_TOP


def test_its_user_is_no_name_of_the_base(box):
    lines = (box.root / "etc/passwd").read_text(encoding="utf-8").splitlines()
    (line,) = (each for each in lines if each.startswith("vramwatch:"))
    assert line.split(":")[2:4] == [str(UID), str(UID)]
    assert box.says["User"] == f"{UID}:{UID}"
