"""Liveness and readiness over HTTP."""

import contextlib
import http.client
import json
import socket
from dataclasses import replace

import pytest

from vramwatch.core.errors import VramwatchError
from vramwatch.web import server
from vramwatch.web.board import Board
from vramwatch.web.health import Vitals
from vramwatch.web.server import Shown, WebServer

SEEING = Vitals(polls=7, readings=7, age=0.4, stuck_after=30.0)


@contextlib.contextmanager
def serving(vitals):
    opened = WebServer("127.0.0.1", 0, Shown(lambda: vitals, Board))
    try:
        yield opened.port
    finally:
        opened.close()


def get(port, path, host="127.0.0.1"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers={"Host": f"{host}:{port}"})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body


def test_a_daemon_that_polls_is_healthy_and_ready():
    with serving(SEEING) as port:
        assert get(port, "/-/healthy")[0] == 200
        assert get(port, "/-/ready")[0] == 200


def test_before_the_first_reading_it_is_healthy_but_not_ready():
    with serving(replace(SEEING, polls=0, readings=0)) as port:
        assert get(port, "/-/healthy")[0] == 200
        assert get(port, "/-/ready")[0] == 503


def test_a_blind_daemon_is_healthy_not_ready_and_says_why():
    with serving(replace(SEEING, blind="blind since 03:12, because the driver hung")) as port:
        assert get(port, "/-/healthy")[0] == 200
        status, body = get(port, "/-/ready")
        assert (status, body["blind"]) == (503, "blind since 03:12, because the driver hung")


def test_a_poll_that_does_not_end_is_unhealthy():
    with serving(replace(SEEING, age=31.0)) as port:
        assert get(port, "/-/healthy")[0] == 503


def test_a_web_page_that_rebinds_its_name_to_loopback_is_refused():
    with serving(SEEING) as port:
        assert get(port, "/-/healthy", host="evil.example")[0] == 403


def test_an_unknown_path_says_what_there_is():
    with serving(SEEING) as port:
        status, body = get(port, "/metricz")
        assert status == 404
        assert "/-/healthy" in body["error"]


def test_many_callers_that_never_finish_do_not_shut_out_the_next_for_long(monkeypatch):
    monkeypatch.setattr(server, "CALLER_DEADLINE", 0.3)
    with serving(SEEING) as port, contextlib.ExitStack() as stack:
        for _ in range(3 * server.CALLERS):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            slow.sendall(b"GET / HTTP/1.1\r\nX-Trickle: ")
        assert get(port, "/-/healthy")[0] == 200


def test_a_port_in_use_is_named_with_the_option_that_moves_it():
    with serving(SEEING) as port, pytest.raises(VramwatchError, match=rf"127.0.0.1:{port}: .*http\.listen"):
        WebServer("127.0.0.1", port, Shown(lambda: SEEING, Board))
