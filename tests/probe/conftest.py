"""These tests run real torch on the CPU. Without it they are skipped, which pytest says at its end."""

import importlib.util

import pytest

MISSING = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MISSING:
        reason = f"NOT TESTED: {' and '.join(MISSING)} cannot be imported; make test-torch installs them"
        for item in items:
            if "tests/probe/" in item.nodeid and item.get_closest_marker("needs_torch"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch) -> None:
    """Runs are kept in a folder of the test's, and no daemon of this machine is handed any."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("VRAMWATCH_CONTROL__SOCKET", str(tmp_path / "control.sock"))
    monkeypatch.setenv("VRAMWATCH_STORE__PATH", str(tmp_path / "vramwatch.db"))
