"""Who is answered over HTTP, and what a slow or hostile caller costs."""

import contextlib
import socket
import threading
from dataclasses import replace

import pytest

from tests.polls import holding, owner, poll
from tests.scrapes import SEEING, ask, board, serving
from vramwatch.credentials import Secret
from vramwatch.web import server
from vramwatch.web.board import Board
from vramwatch.web.metrics import Metrics

TOKEN = Secret("s3same-0pen")
BEARER = {"Authorization": "Bearer s3same-0pen"}


def test_with_a_token_metrics_are_for_those_alone_who_send_it():
    with serving(board(poll(1)), token=TOKEN) as port:
        assert ask(port, **BEARER)[0] == 200
        for wrong in ({}, {"Authorization": "Bearer s3same"}, {"Authorization": "Basic s3same-0pen"}):
            status, headers, text = ask(port, **wrong)
            assert (status, "vramwatch_up" in text) == (401, False)
            assert headers["WWW-Authenticate"].startswith("Bearer")
            assert "s3same" not in text


def test_a_token_of_letters_that_no_header_can_hold_is_compared_and_refused():
    with serving(token=TOKEN) as port:
        assert ask(port, Authorization="Bearer \u00e4\u00f6".encode().decode("latin-1"))[0] == 401


def test_without_the_token_health_is_yes_or_no_and_nothing_more():
    with serving(token=TOKEN) as port:
        assert ask(port, "/-/healthy")[2] == '{"ok": true}\n'
        assert '"polls"' in ask(port, "/-/healthy", **BEARER)[2]


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("127.0.0.1:9478", {}, 200),
        ("localhost", {}, 200),
        ("[::1]:9478", {}, 200),
        ("[::1]", {}, 200),
        ("evil.example:9478", {}, 403),
        ("192.0.2.7:9478", {}, 403),
        ("127.0.0.1.evil.example", {}, 403),
        ("", {}, 403),
    ],
)
def test_without_a_token_only_loopback_names_are_answered(host, headers, status):
    with serving() as port:
        assert ask(port, Host=host, **headers)[0] == status


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("gpu7.example:9478", BEARER, 200),
        ("gpu7.example:9478", {}, 403),
        ("192.0.2.7:9478", {}, 401),
        ("[2001:db8::7]:9478", BEARER, 200),
    ],
)
def test_with_the_token_any_name_is_answered(host, headers, status):
    with serving(token=TOKEN) as port:
        assert ask(port, Host=host, **headers)[0] == status


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", "::1"])
def test_every_kind_of_address_is_listened_on_without_asking_for_its_name(host, monkeypatch):
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    monkeypatch.setattr(socket, "getfqdn", lambda name: pytest.fail(f"asked for the name of {name}"))
    opened = server.WebServer(host, 0, server.Shown(lambda: SEEING, Board))
    try:
        with socket.create_connection((host, opened.port), timeout=5) as caller:
            caller.sendall(b"GET /-/healthy HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert b"200 OK" in caller.recv(4096)
    finally:
        opened.close()


def has_ipv6():
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


def test_a_path_that_is_not_there_says_what_is():
    with serving() as port:
        status, _, text = ask(port, "/metricz")
    assert status == 404
    assert "/metrics" in text


def test_a_request_without_end_is_read_no_further_than_its_bound():
    with serving() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
        caller.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        taken = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(200_000):
                caller.sendall(b"X-Padding: " + 1000 * b"a" + b"\r\n")
                taken += 1013
        assert taken < 64 * 2**20  # what the kernel's buffers on both sides take, and not all of 200 MB
        assert ask(port, "/-/healthy")[0] == 200


def test_scrapers_that_never_read_their_answer_do_not_shut_out_the_next_for_long(monkeypatch):
    monkeypatch.setattr(server, "CALLER_DEADLINE", 0.5)
    monkeypatch.setattr(server._Handler, "timeout", 0.5)
    many = board(poll(1, *(holding(pid, of=owner(f"o{pid}-{100 * 'x'}")) for pid in range(200))))
    with serving(many) as port, contextlib.ExitStack() as stack:
        for _ in range(3 * server.CALLERS):
            deaf = socket.socket()
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            stack.enter_context(deaf)
            deaf.connect(("127.0.0.1", port))
            deaf.sendall(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert ask(port, "/-/healthy")[0] == 200


def test_however_many_call_at_once_only_so_many_are_answered_at_a_time(monkeypatch):
    monkeypatch.setattr(server, "CALLER_DEADLINE", 0.5)  # the end waits for those that still call
    with serving() as port, contextlib.ExitStack() as stack:
        before = threading.active_count()
        for _ in range(5 * server.CALLERS):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            slow.sendall(b"GET /metrics")
        assert threading.active_count() <= before + 2 * server.CALLERS  # each with what cuts it off


def test_scrapes_at_the_same_time_are_all_answered_alike():
    with serving(board(poll(1, holding(1)))) as port:
        texts = []
        threads = [threading.Thread(target=lambda: texts.append(ask(port)[2])) for _ in range(20)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert len(texts) == 20
    assert all("vramwatch_owner_memory_used_bytes{" in each for each in texts)


def test_who_scrapes_again_before_the_next_poll_is_answered_alike_and_costs_no_second_writing():
    shown = [board(poll(1, holding(1)))]
    vitals = [SEEING]
    metrics = Metrics(lambda: shown[-1], lambda: vitals[-1], processes=False)
    first, _ = metrics.answer("")
    assert metrics.answer("")[0] is first
    vitals.append(replace(SEEING, age=31.0))
    assert b"vramwatch_up 0.0" in metrics.answer("")[0]
    vitals.append(replace(SEEING, polls=8))
    shown.append(board(poll(1, holding(1)), poll(2)))
    assert b"vramwatch_owner_memory_used_bytes{" not in metrics.answer("")[0]
