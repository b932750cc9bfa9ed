"""The channel to a hundred other services: through the real apprise, in its child, to a local receiver."""

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import ValidationError

from tests.incidents import HOST, MADE, item, message
from vramwatch.core.messages import Message, MessageKind
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.core.policy import Notice
from vramwatch.extras import ExtraError, ExtraTimeout, is_installed
from vramwatch.notifiers import apprise as module
from vramwatch.notifiers.apprise import Apprise, masked, outcome

needs_apprise = pytest.mark.skipif(
    not is_installed("apprise"),
    reason="NOT TESTED: apprise as it sends; install the extra: pip install 'vramwatchd[apprise]'",
)


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(module, "is_installed", lambda library: True)


def said(service="Ntfy", is_sent=False, *log):
    return {"service": service, "is_sent": is_sent, "log": list(log)}


URL = "tgram://123456:AAbbCCdd/999888/"


def test_without_the_extra_it_is_a_fault_of_the_configuration_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "is_installed", lambda library: False)
    with pytest.raises(ValidationError) as caught:
        Apprise(urls=URL)
    assert "pip install 'vramwatchd[apprise]'" in str(caught.value)


@pytest.mark.skipif(
    is_installed("apprise"), reason="NOT TESTED: check without the extra; it is installed here"
)
def test_check_names_the_place_of_an_extra_that_is_missing(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(f"channels:\n  phone:\n    apprise: {{urls: '{URL}'}}\n")
    words = [sys.executable, "-m", "vramwatch", "check", "--config", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 78
    assert f"{file}:3:" in done.stderr
    assert "the extra apprise is not installed" in done.stderr
    assert "AAbbCCdd" not in done.stderr


def test_delivered_as_soon_as_one_has_it_and_the_others_are_named(installed):
    told = outcome([said("Telegram", True), said("Ntfy", False, "HTTP 500")], [URL, "ntfy://topic"])
    assert told == Delivered("sent to Telegram; Ntfy (URL 2) failed: HTTP 500")


def test_tried_again_where_none_took_it_and_given_up_where_none_can():
    assert isinstance(outcome([said("Ntfy")], ["ntfy://topic"]), Retry)
    told = outcome([said(None)], ["nonsense"])
    assert isinstance(told, Rejected)
    assert "URL 1 of apprise is none that it knows" in told.reason


def test_no_part_of_a_url_stands_in_what_is_told_of_it():
    told = outcome([said("Telegram", False, f"POST {URL} 401", "chat 999888 refused 123456:AAbbCCdd")], [URL])
    for secret in ("AAbbCCdd", "123456", "999888"):
        assert secret not in told.reason
    assert masked("topic of ntfy", "ntfy://abc/topic") == "*** of ntfy"


@pytest.mark.parametrize(
    ("fault", "is_uncertain"),
    [(ExtraTimeout("no answer within 30 s"), True), (ExtraError("ended with 1"), False)],
)
def test_a_child_that_gives_no_answer_is_asked_again(installed, monkeypatch, fault, is_uncertain):
    def fail(*_):
        raise fault

    monkeypatch.setattr(module, "ask", fail)
    told = Apprise(urls=URL).send(message(item()), None)
    assert isinstance(told, Retry)
    assert told.is_uncertain is is_uncertain


def test_urls_go_to_the_child_through_its_pipe_alone(installed, monkeypatch):
    asked = []

    def answer(program, given, deadline):
        asked.append((program, json.loads(given), deadline))
        return json.dumps([said("Telegram", True)]).encode()

    monkeypatch.setattr(module, "ask", answer)
    assert Apprise(urls=URL, deadline="12s").send(message(item()), None) == Delivered("sent to Telegram")
    ((program, told, deadline),) = asked
    assert (program, told["urls"], deadline) == ("apprising", [URL], 12.0)
    assert told["title"].startswith("gpu7: CRITICAL  chat on GPU 0")
    assert told["body"].endswith("run:  systemctl restart chat.service")


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (message(item()), "failure"),
        (message(item(Notice.RESOLVED)), "success"),
        (Message("k", HOST, MADE, MessageKind.TEST, text="hello"), "info"),
    ],
)
def test_how_grave_it_is_stands_in_apprises_own_words(told, kind):
    assert module._kind(told) == kind


# --- the real library ----------------------------------------------------------------------------


class Receiver:
    """What apprise's json:// tells; answers with ``status`` after ``delay`` seconds."""

    def __init__(self, status=200, delay=0.0):
        got = self.got = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                time.sleep(delay)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self._server.server_port}/secretpath"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


@needs_apprise
def test_apprise_tells_every_url_title_text_and_gravity():
    with Receiver() as one, Receiver() as two:
        told = Apprise(urls=f"{one.url} {two.url}").send(message(item()), None)
    assert isinstance(told, Delivered)
    ((first,), (second,)) = one.got, two.got
    assert first == second
    assert first["title"].startswith("gpu7: CRITICAL  chat on GPU 0: a leak")
    assert "On gpu7 run:  vramwatch why c0ffee012345" in first["message"]
    assert first["type"] == "failure"


@needs_apprise
def test_a_receiver_that_refuses_is_named_without_its_url():
    with Receiver(status=500) as bad:
        told = Apprise(urls=bad.url).send(message(item()), None)
        assert isinstance(told, Retry)
        assert "secretpath" not in told.reason
        assert "JSON" in told.reason


@needs_apprise
def test_a_receiver_that_never_answers_costs_the_deadline():
    with Receiver(delay=30.0) as slow:
        begun = time.monotonic()
        told = Apprise(urls=f"{slow.url}?rto=60", deadline="5s").send(message(item()), None)
    assert isinstance(told, Retry)
    assert told.is_uncertain
    assert time.monotonic() - begun < 15.0


@needs_apprise
def test_an_unknown_url_is_given_up_at_once():
    told = Apprise(urls="nonsense://abcdefgh").send(message(item()), None)
    assert isinstance(told, Rejected)
    assert "abcdefgh" not in told.reason
