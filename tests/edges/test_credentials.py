"""Secrets of the configuration: wherever they are written, they are read, and shown to nobody."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.edges.test_check import check
from tests.notices import message
from tests.receivers import receiving
from vramwatch import credentials
from vramwatch.config import effective, load
from vramwatch.core.errors import ConfigError
from vramwatch.couriers.posting import HttpCourier
from vramwatch.credentials import MASKED, TELLING, Mask, Secret

WORD = "hush-hush-0123456789"
URL = f"https://hooks.example.com/services/{WORD}"


def read(folder: Path, channel: str):
    """Return the notifier of a configuration with one channel ``a``."""
    file = folder / "config.yaml"
    file.write_text(f"channels: {{a: {{{channel}}}}}\n")
    config = load(file, {}, {})
    return config, config.channels["a"].notifier


def fault(folder: Path, channel: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, channel)
    return str(caught.value)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The same secret in a file, in the environment and among systemd's credentials."""
    monkeypatch.setenv("HOOK", URL)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "hook").write_text(f"{URL}\n")
    return [f'"{URL}"', "env:HOOK", "credential:hook", f"{tmp_path / 'hook'}"]


def option(place: str) -> str:
    return f"url_file: {place}" if place.startswith("/") else f"url: {place}"


def test_a_secret_is_read_from_wherever_it_is_written(tmp_path, places):
    for place in places:
        _, notifier = read(tmp_path, f"webhook: {{{option(place)}}}")
        assert notifier.secret("url") == URL
        assert notifier.secrets() == (URL,)


def test_a_secret_is_shown_nowhere_but_where_it_comes_from_is(tmp_path, places):
    for place in places:
        config, notifier = read(tmp_path, f"webhook: {{{option(place)}}}")
        shown = [repr(config), str(notifier), effective(config), repr(notifier.url or notifier.url_file)]
        shown += [f"{notifier.url}", notifier.model_dump_json()]
        assert not any(WORD in text for text in shown)
        assert place.strip('"') in effective(config) or MASKED in effective(config)


def test_check_prints_no_secret_of_any_notifier(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        f"""
        channels:
          hook: {{webhook: {{url: "{URL}", signing_secret: {WORD}, http: {{proxy: "http://me:{WORD}@proxy:1"}}}}}}
          pager: {{pagerduty: {{routing_key: {WORD}}}}}
          phone: {{ntfy: {{topic: {WORD}, token: {WORD}}}}}
          mail: {{email: {{host: h, sender: a@b.c, to: [d@e.f], username: me, password: {WORD}}}}}
        """
    )
    for arguments in (("--print",), ()):
        done = check("--config", str(file), *arguments, home=tmp_path)
        assert done.returncode == 0, done.stderr
        assert WORD not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ("webhook: {url: 'env:NOT_THERE'}", "the environment has no NOT_THERE"),
        ("webhook: {url: 'credential:hook'}", "LoadCredential=hook"),
        ("webhook: {url: ''}", "not a secret"),
        ("webhook: {url: 17}", "not a secret"),
        ("webhook: {url_file: relative}", "not a path"),
        ("webhook: {url_file: /nonexistent/hook}", "/nonexistent/hook cannot be read: No such file"),
        ("webhook: {url_file: /etc}", "/etc cannot be read"),
        ("webhook: {url_file: /dev/null}", "/dev/null is empty"),
        ("webhook: {}", "without url; write url_file, or url: env:NAME"),
        ("webhook: {url: 'https://a/b', url_file: /etc/hostname}", "both written"),
    ],
)
def test_a_secret_that_cannot_be_read_is_a_fault_with_its_place(channel, words, tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    told = fault(tmp_path, channel)
    assert words in told
    assert told.startswith(f"{tmp_path / 'config.yaml'}:1:")


def test_in_a_shell_a_credential_is_the_one_that_the_running_service_was_handed(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(credentials, "HANDED", tmp_path / "vramwatch.service")
    said = fault(tmp_path, "webhook: {url: 'credential:hook'}")
    assert "add LoadCredential=hook:/path to the unit and restart it, and in a shell be root" in said
    (tmp_path / "vramwatch.service").mkdir()
    (tmp_path / "vramwatch.service" / "hook").write_text(f"{URL}\n")
    _, notifier = read(tmp_path, "webhook: {url: 'credential:hook'}")
    assert notifier.secret("url") == URL


def test_a_credential_stays_within_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert "no slash" in fault(tmp_path, "webhook: {url: 'credential:../../etc/passwd'}")


def test_a_file_of_several_lines_or_without_end_is_no_secret(tmp_path):
    for content in (f"{URL}\n{URL}\n", "x" * 100_000):
        (tmp_path / "secret").write_text(content)
        told = fault(tmp_path, f"webhook: {{url_file: {tmp_path / 'secret'}}}")
        assert "more than one line" in told
        assert WORD not in told


@pytest.mark.parametrize(
    "channel",
    [
        f"webhook: {{url: 'ftp://{WORD}'}}",
        f"webhook: {{url: {WORD}}}",
        f"webhook: {{url: 'https://[{WORD}'}}",
        f"webhook: {{url: 'https://h/{WORD}', signing_secret: ['{WORD}']}}",
        f"webhook: {{url: 'https://h/{WORD}', headrs: {{}}}}",
        f"webhook: {{url: 'https://h/{WORD}', template: '{{'}}",
        f"ntfy: {{topic: '{WORD} {WORD}'}}",
        f"pagerduty: {{routing_key: {{a: {WORD}}}}}",
        f"email: {{host: h, sender: a@b.c, to: [d@e.f], tls: none, username: me, password: {WORD}}}",
    ],
)
def test_a_fault_beside_a_secret_does_not_quote_it(channel, tmp_path):
    assert WORD not in fault(tmp_path, channel)


@pytest.mark.parametrize(
    "said",
    [
        f"HTTP/1.1 404 Not Found\nContent-Length: 45\n\nCannot POST /services/{WORD} ",
        f"HTTP/1.1 404 {WORD}\nno colon in /services/{WORD}\nContent-Length: 2\n\nno",
        f"nonsense about /services/{WORD}\n\n",
    ],
)
def test_a_secret_reaches_no_log_and_no_outcome_when_a_receiver_echoes_it(said, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    _, template = read(tmp_path, f"webhook: {{url: '{URL}', signing_secret: {WORD}}}")
    with receiving(lambda exchange: exchange.say(said)) as receiver:
        notifier = template.model_copy(update={"url": Secret(f"{receiver.url}/services/{WORD}")})
        courier = HttpCourier(notifier.reach(), notifier.secrets())
        outcome = notifier.send(message(), courier)
        courier.close()
    assert WORD not in outcome.reason
    assert WORD not in caplog.text


def test_two_secrets_are_equal_where_text_and_origin_are():
    assert Secret("a", "env:A") == Secret("a", "env:A")
    assert Secret("a", "env:A") != Secret("a", "env:B")
    assert Secret("a") != "a"


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=6),
    st.text(max_size=20),
    st.text(max_size=20),
)
def test_a_mask_leaves_no_secret_in_a_text(secret, before, after):
    assert secret not in Mask([secret])(f"{before}{secret}{after}")


@given(st.integers(TELLING, len(WORD)))
def test_of_a_secret_within_which_an_answer_breaks_off_no_part_is_left(size):
    assert Mask([URL])(f"no such path: {WORD[:size]}") == "no such path: ***"


@given(st.text(max_size=200))
def test_a_mask_without_secrets_changes_nothing(text):
    assert Mask([])(text) == text


def test_whoever_may_not_read_the_service_s_credentials_is_told_to_ask_as_root(tmp_path, monkeypatch):
    """Root may read everything, so what this user may is told to the test by hand."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    handed = tmp_path / "vramwatch.service"
    handed.mkdir()
    monkeypatch.setattr(credentials, "HANDED", handed)
    monkeypatch.setattr(credentials.os, "access", lambda path, mode: False)
    said = fault(tmp_path, "webhook: {url: 'credential:hook'}")
    assert "the credential hook is handed to the service, and root alone can read it beside" in said
    assert "run the same command with sudo" in said
