"""The snippets of docs/sdk.md, as far as they need nobody else's packages."""

import asyncio
import inspect
import re
import sys
from pathlib import Path

import pytest

import vramwatch
from tests.sdk.tensors import full_cache
from tests.sdk.test_integrations import Model
from vramwatch import sdk
from vramwatch.sdk.wire import Answer

PAGE = Path(vramwatch.__file__).parents[1] / "docs" / "sdk.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
FOREIGN = ("fastapi", "transformers import")


@pytest.fixture
def installed(monkeypatch):
    """The SDK under the name that it has as a distribution."""
    for name in [name for name in sys.modules if name.startswith("vramwatch.sdk")]:
        monkeypatch.setitem(sys.modules, name.replace("vramwatch.sdk", "vramwatch_sdk"), sys.modules[name])


def test_every_snippet_that_stands_alone_does_what_the_page_says(daemon, installed, allocator, monkeypatch):
    from vramwatch.sdk.integrations import ray, triton  # noqa: F401 - known by their other name, too

    names = {"cache": full_cache(), "model": Model()}
    for text in SNIPPETS:
        if not any(each in text for each in FOREIGN):
            exec(compile(text, str(PAGE), "exec"), names)
    worker = names["worker"]
    peer = daemon.meet()
    peer.asks("callback", "gc", within=60.0)
    assert peer.hears(Answer).state == "accepted"
    names["prefixes"]["a"] = 1
    names["prompts"].put("hello")
    names["serve"](print, 1)
    assert not names["prefixes"]
    assert [step.what for step in peer.hears(Answer).cleared] == ["callback", "gc"]
    model = names["TritonPythonModel"]()
    model.initialize({"model_name": "llama"})
    assert model.execute([1, 2]) == ["llama", "llama"]
    assert asyncio.run(names["Chat"]()("you")) == "hello"
    assert peer.reports(lambda report: report.requests_total == 3)
    worker.close()


def test_the_page_names_the_options_of_enroll_and_their_defaults():
    table = PAGE.read_text().partition("## What `enroll` takes")[2].partition("## KV caches")[0]
    rows = {cells[1]: cells[2] for line in table.splitlines() if len(cells := line.split("|")) > 2}
    for name, option in inspect.signature(sdk.enroll).parameters.items():
        (told,) = (told for names, told in rows.items() if f"`{name}`" in names)
        if isinstance(option.default, float):
            assert told.strip().startswith(f"{option.default:g}")
