"""`make sdk-wheel`: a distribution of its own, beside whatever an image of an inference server holds."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vramwatch

ROOT = Path(vramwatch.__file__).parents[1]

PINNED = {
    "torch": "2.9.0",
    "transformers": "4.57.1",
    "pydantic": "2.12.0",
    "numpy": "2.2.6",
    "vramwatch": "9.9",
}
"""Composed: an image's packages, each at the one version that the server takes; one is a stranger."""


def run(*command, cwd=None):
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-index"]
    run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT / "packaging" / "sdk")
    (built,) = folder.iterdir()
    return built


@pytest.fixture
def image(tmp_path):
    """An environment whose packages are pinned, and one of which is another ``vramwatch``."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "image")
    (packages,) = (tmp_path / "image").glob("lib/python*/site-packages")
    server = "".join(f"Requires-Dist: {name}=={version}\n" for name, version in PINNED.items())
    for name, version in {**PINNED, "vllm": "0.11.0"}.items():
        folder = packages / f"{name}-{version}.dist-info"
        folder.mkdir()
        needs = server if name == "vllm" else ""
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        (folder / "INSTALLER").write_text("pip\n")
    (packages / "vramwatch.py").write_text("stranger = True\n")
    return tmp_path / "image"


def test_the_wheel_asks_for_nothing_and_says_its_version(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        said = archive.read(metadata).decode()
    assert "Requires-Dist" not in said
    assert "Requires-Python: >=3.9\n" in said
    assert f"Version: {vramwatch.__version__}\n" in said


def test_it_is_installed_beside_pinned_packages_and_a_stranger_named_vramwatch(wheel, image):
    python = image / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    before = set(run(*pip, "freeze").split())
    run(*pip, "install", "--no-index", wheel)
    assert {each for each in run(*pip, "freeze").split() if "==" in each} == before
    assert "vramwatch-sdk" in run(*pip, "list")
    run(*pip, "check")
    look = "import vramwatch; from vramwatch_sdk import enroll, trace_kv; print(vramwatch.stranger, trace_kv)"
    assert run(python, "-c", look, cwd=image) == "True <class 'vramwatch_sdk.tracing.trace_kv'>\n"
