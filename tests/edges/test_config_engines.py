"""Whether and where engines are asked: what the configuration takes, and what the daemon says of it."""

import pytest

from vramwatch.assembly import ask_engines
from vramwatch.config import effective, sentence
from vramwatch.core.errors import ConfigError
from vramwatch.core.ports import Feed


def asked(config, *, live=True):
    gauging = ask_engines(config, Feed(None, None, None, live=live))
    if gauging:
        gauging.close()
    return gauging is not None


def test_engines_are_asked_on_this_machine_unless_that_is_switched_off(configured):
    config = configured("")
    assert asked(config)
    assert "asks engines for their figures at addresses of this machine;" in sentence(config)
    config = configured("engines: {enabled: false}")
    assert not asked(config)
    assert "asks no engine for its figures" in sentence(config)


def test_this_machines_engines_say_nothing_of_a_recording_or_a_simulation(configured):
    config = configured("source: simulated\nstore: {path: /d/x.db}")
    assert not asked(config, live=False)
    assert "asks no engine for its figures" in sentence(config)


def test_an_address_has_its_token_in_a_file_and_shows_it_to_nobody(configured, tmp_path):
    (tmp_path / "token").write_text("s3cret-token\n")
    place = f"{{owner: chat, url: 'https://10.0.0.5:8443/vllm/', token_file: {tmp_path}/token}}"
    config = configured(f"engines: {{urls: [{place}]}}")
    (url,) = config.engines.urls
    assert (url.url, url.token_file.reveal()) == ("https://10.0.0.5:8443/vllm", "s3cret-token")
    assert "s3cret" not in effective(config)
    assert configured(effective(config)).engines == config.engines
    assert "and at 1 that are configured" in sentence(config)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("10.0.0.5:8000", "no address; write http://HOST:PORT"),
        ("ftp://x", "no address"),
        ("http://", "no address"),
        ("http://x:99999", "no address"),
        ("http://x:0", "no address"),
        ("http://a b", "no address"),
        ("http://me:word@x", "put a token into token_file"),
        ("http://x/?key=1", "put a token into token_file"),
    ],
)
def test_what_is_no_address_is_refused_with_its_place(configured, url, said):
    with pytest.raises(ConfigError) as caught:
        configured(f"engines:\n  urls:\n    - owner: chat\n      url: {url!r}\n")
    assert "config.yaml:4:12: engines.urls[0].url: " in str(caught.value)
    assert said in str(caught.value)
    assert "word" not in str(caught.value)
