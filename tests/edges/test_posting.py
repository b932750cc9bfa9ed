"""HTTP to receivers that are slow, wrong or hostile: what it costs, and what is told of it."""

import contextlib
import email.utils
import gzip
import socket
import time
import tracemalloc

import pytest

from tests.receivers import answering, certificate, receiving, tls_of
from vramwatch.core.couriers import Answer, Reach
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.couriers.posting import ANSWER_MOST, HttpCourier, retry_after
from vramwatch.notifiers.email import Email
from vramwatch.notifiers.syslog import Syslog
from vramwatch.notifiers.webhook import Webhook
from vramwatch.telling.reaching import PROXY_VARIABLES, unreachable, ways

QUICK = Reach(connect=0.3, read=0.3, total=0.6)
SLACK = 0.5
"""Seconds by which a busy machine may be late."""

SECRET = "T0AAAAAAA-B0BBBBBBB-xyzzyxyzzyxyzzy"
OK = "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"


@contextlib.contextmanager
def carrying(reach=QUICK, secrets=(SECRET,)):
    courier = HttpCourier(reach, secrets)
    try:
        yield courier
    finally:
        courier.close()


def post(url, reach=QUICK, secrets=(SECRET,)):
    """Send one small request to ``url`` below a secret path."""
    with carrying(reach, secrets) as courier:
        return courier.post(f"{url}/{SECRET}", {"text": "hello"})


def told(answer):
    return answer.reason if isinstance(answer, Retry | Rejected) else str(answer)


@contextlib.contextmanager
def within(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + SLACK


@contextlib.contextmanager
def costing(most):
    """Assert that no more than ``most`` bytes are ever taken at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def test_an_answer_comes_back_as_it_was_given_and_the_connection_is_used_again():
    with receiving(answering(200, "grüße", "X-Id: 7\n")) as receiver, carrying() as courier:
        for _ in range(3):
            assert courier.post(receiver.url, {"a": "ü"}, {"X-Mine": "1"}) == Answer(
                200, "grüße".encode(), {"x-id": "7", "content-length": "7"}
            )
        assert receiver.connections == 1
    request = receiver.got[0]
    assert (request.method, request.json) == ("POST", {"a": "ü"})
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-mine"] == "1"
    assert request.headers["user-agent"].startswith("vramwatch/")


def test_a_receiver_that_never_answers_costs_the_read_time_out_and_may_have_heard():
    with receiving(lambda exchange: exchange.hang()) as receiver, within(QUICK.read):
        answer = post(receiver.url)
    assert answer == Retry(f"{receiver.netloc} does not answer within 0.3 s", is_uncertain=True)


@pytest.mark.parametrize(
    "dripped", [f"HTTP/1.1 200 OK\nX-Slow: {'x' * 500}\n", "HTTP/1.1 100 Continue\n\n" * 50]
)
def test_headers_that_drip_in_byte_by_byte_are_cut_off_when_the_time_is_over(dripped):
    with receiving(lambda exchange: exchange.drip(dripped, 0.02)) as receiver, within(QUICK.total):
        answer = post(receiver.url)
    assert answer == Retry(f"{receiver.netloc} has not answered within 0.6 s", is_uncertain=True)


def test_a_body_that_drips_in_is_cut_off_but_what_the_status_said_stands():
    def script(exchange):
        exchange.say("HTTP/1.1 200 OK\nContent-Length: 5000\n\n")
        exchange.drip("o" * 5000, 0.02)

    with receiving(script) as receiver, within(QUICK.total), carrying() as courier:
        answer = courier.post(receiver.url, {})
        assert isinstance(courier.outcome(answer), Delivered)
        assert set(answer.body) == set(b"o")


def test_a_tls_handshake_that_drips_in_is_cut_off_too():
    hello = b"\x16\x03\x03\x40\x00" + b"\x02\x00\x3f\xfc" + b"\x03\x03" * 8000

    def script(exchange):
        for byte in hello:
            exchange.connection.sendall(bytes([byte]))
            exchange.stop.wait(0.02)

    with receiving(script, reads=False) as receiver, within(QUICK.total):
        answer = post(f"https://127.0.0.1:{receiver.port}")
    assert isinstance(answer, Retry)


@pytest.mark.parametrize(
    ("head", "part"),
    [
        ("Transfer-Encoding: chunked\n\n", b"10000\r\n" + b"x" * 0x10000 + b"\r\n"),
        ("Content-Length: 10000000000\n\n", b"x" * 65536),
        ("Content-Encoding: gzip\nContent-Length: 10000000000\n\n", b"\x1f\x8b" + b"x" * 65534),
        ("\n", b"x" * 65536),
    ],
    ids=["chunks", "10 GB", "compressed", "until the connection ends"],
)
def test_a_body_without_end_costs_what_is_read_of_it(head, part):
    def script(exchange):
        exchange.say(f"HTTP/1.1 200 OK\n{head}")
        exchange.flood(part)

    with receiving(script) as receiver, carrying() as courier:
        courier.post("http://127.0.0.1:1/", {})  # what the first request imports is not counted
        with costing(1 << 20), within(QUICK.total):
            answer = courier.post(receiver.url, {})
            assert (answer.status, len(answer.body)) == (200, ANSWER_MOST)
            assert len(courier.outcome(answer).detail) < 400


@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
    ids=["a header", "the status line", "the length of a chunk", "a trailer"],
)
def test_a_line_without_end_costs_no_more_than_any_answer(beginning):
    def script(exchange):
        exchange.say(beginning)
        exchange.flood(b"y" * 65536)

    with receiving(script) as receiver, carrying() as courier:
        courier.post("http://127.0.0.1:1/", {})
        with costing(1 << 20), within(QUICK.total):
            courier.post(receiver.url, {})


def test_headers_without_end_cost_no_more_than_any_answer():
    def script(exchange):
        exchange.say("HTTP/1.1 200 OK\n")
        exchange.flood(b"X-Header: " + b"z" * 60000 + b"\r\n")

    with receiving(script) as receiver, carrying() as courier:
        courier.post("http://127.0.0.1:1/", {})
        with costing(1 << 20), within(QUICK.total):
            assert isinstance(courier.post(receiver.url, {}), Retry)


@pytest.mark.parametrize("status", [200, 302])
def test_a_small_answer_that_unpacks_to_a_large_one_is_not_unpacked(status):
    bomb = gzip.compress(bytes(50 << 20))
    head = f"HTTP/1.1 {status} Said\nLocation: http://elsewhere.example/\nContent-Encoding: gzip\n"

    def script(exchange):
        exchange.say(f"{head}Content-Length: {len(bomb)}\n\n")
        exchange.say(bomb)

    with receiving(script) as receiver, carrying() as courier:
        courier.post("http://127.0.0.1:1/", {})
        with costing(1 << 20), within(QUICK.total):
            courier.post(receiver.url, {})


def test_half_a_body_is_an_answer_and_half_a_header_is_none():
    half = "HTTP/1.1 200 OK\nContent-Length: 500\n\nhalf"

    def script(exchange):
        exchange.say(half if exchange.number == 0 else half[:20])
        exchange.connection.shutdown(socket.SHUT_RDWR)

    with receiving(script) as receiver, carrying() as courier:
        assert courier.post(receiver.url, {}).body == b"half"
        answer = courier.post(receiver.url, {})
    assert isinstance(answer, Retry)
    assert answer.is_uncertain


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n", b"\x16\x03\x01\x00\x02\x02\x28"]
)
def test_another_protocol_is_told_as_a_wrong_answer(said):
    def script(exchange):
        exchange.say(said)

    with receiving(script, reads=False) as receiver:
        answer = post(receiver.url)
    assert isinstance(answer, Retry)
    assert "127.0.0.1" in answer.reason


def test_a_connection_that_is_closed_at_once_may_have_heard():
    with receiving(lambda exchange: exchange.connection.close()) as receiver:
        answer = post(receiver.url)
    assert isinstance(answer, Retry)
    assert answer.is_uncertain


def test_where_nobody_listens_nothing_was_heard():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}") == Retry(f"127.0.0.1:{port}: Connection refused")


def test_too_many_requests_waits_as_long_as_it_is_asked_to():
    later = email.utils.formatdate(time.time() + 120, usegmt=True)
    asked = {
        "Retry-After: 17\n": 17.0,
        f"Retry-After: {later}\n": 120.0,
        "Retry-After: soon\n": None,
        "": None,
    }
    for header, seconds in asked.items():
        with receiving(answering(429, "slow down", header)) as receiver, carrying() as courier:
            outcome = courier.outcome(courier.post(receiver.url, {}))
        assert outcome.reason == "HTTP 429: slow down"
        assert outcome.after == (seconds and pytest.approx(seconds, abs=5))
        assert not outcome.is_uncertain


def test_a_date_that_has_passed_asks_for_no_wait_and_a_wild_one_for_none_that_is_known():
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1_700_000_000.0) == 0.0
    assert retry_after("9" * 400, 0.0) == 999_999_999.0
    for written in ("-5", "1.5", "²", "Wed, 99 Oct 99999 07:28:00 GMT", ""):
        assert retry_after(written, 0.0) is None


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 599])
def test_a_receiver_in_trouble_is_tried_again(status):
    with receiving(answering(status, "trouble")) as receiver, carrying() as courier:
        assert courier.outcome(courier.post(receiver.url, {})) == Retry(f"HTTP {status}: trouble")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_what_a_receiver_refuses_is_not_tried_again(status):
    with receiving(answering(status, "no")) as receiver, carrying() as courier:
        assert courier.outcome(courier.post(receiver.url, {})) == Rejected(f"HTTP {status}: no")


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_within_the_origin_is_followed_with_the_body(status):
    def script(exchange):
        moved = f"HTTP/1.1 {status} Moved\nLocation: /new\nContent-Length: 0\n\n"
        exchange.say(OK if exchange.request.path == "/new" else moved)

    with receiving(script) as receiver, carrying() as courier:
        assert courier.post(f"{receiver.url}/old", {"a": 1}).status == 200
    assert [(each.method, each.path, each.json) for each in receiver.got] == [
        ("POST", "/old", {"a": 1}),
        ("POST", "/new", {"a": 1}),
    ]


def test_a_circle_of_redirects_ends():
    with receiving(answering(307, headers=f"Location: /{SECRET}\n")) as receiver:
        answer = post(receiver.url)
    assert answer == Rejected("the receiver redirects more than 3 times")
    assert len(receiver.got) == 4


@pytest.mark.parametrize(
    "location",
    [
        "http://evil.example/take",
        "https://127.0.0.1/take",
        "//evil.example/take",
        "http://[bad",
        "file:///etc/passwd",
        f"http://{SECRET}.evil.example/",
    ],
)
def test_a_redirect_to_another_origin_is_refused_by_name(location):
    with receiving(answering(307, headers=f"Location: {location}\n")) as receiver:
        answer = post(receiver.url)
    assert isinstance(answer, Rejected)
    assert "redirects" in answer.reason
    assert SECRET.lower() not in told(answer).lower()
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_drop_the_body_is_refused(status):
    with receiving(answering(status, headers="Location: /login\n")) as receiver:
        answer = post(receiver.url)
    assert answer == Rejected("the receiver redirects to 127.0.0.1; write that address if it is right")


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_the_configuration_says_so(tmp_path):
    pair = certificate(tmp_path)
    with receiving(answering(200, "ok"), tls_of(pair)) as receiver:
        url = f"https://127.0.0.1:{receiver.port}"
        refused = post(url)
        assert isinstance(refused, Retry)
        assert "self-signed certificate" in refused.reason
        assert receiver.got == []
        trusting = Reach(1, 1, 2, ca_file=str(pair[0]))
        assert post(url, trusting).status == 200
        assert post(url, Reach(1, 1, 2, verify_tls=False)).status == 200
        assert len(receiver.got) == 2


def test_a_certificate_for_another_name_is_refused(tmp_path):
    pair = certificate(tmp_path, "elsewhere.example")
    with receiving(answering(200, "ok"), tls_of(pair)) as receiver:
        answer = post(f"https://127.0.0.1:{receiver.port}", Reach(1, 1, 2, ca_file=str(pair[0])))
    assert isinstance(answer, Retry)
    assert f"TLS with {receiver.netloc} fails" in answer.reason
    assert receiver.got == []


def test_a_missing_file_of_certificates_is_told():
    answer = post("https://127.0.0.1:1", Reach(1, 1, 2, ca_file="/nonexistent/ca.pem"))
    assert isinstance(answer, Retry)


def test_the_proxy_of_the_environment_is_used_and_its_exceptions_are_kept(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with receiving(answering(200, "through the proxy")) as proxy, carrying() as courier:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert courier.post("http://receiver.example/hook", {}).body == b"through the proxy"
        assert proxy.got[0].path == "http://receiver.example/hook"
        with receiving(answering(200, "direct")) as receiver:
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            assert courier.post(receiver.url, {}).body == b"direct"
    assert len(proxy.got) == 1


def test_a_proxy_of_the_channel_is_used_and_is_as_bounded_as_a_receiver():
    def script(exchange):
        exchange.say("HTTP/1.1 200 OK\nX-Slow: ")
        exchange.drip("x" * 500, 0.02)

    with receiving(script) as proxy, within(QUICK.total):
        reach = Reach(QUICK.connect, QUICK.read, QUICK.total, proxy=proxy.url)
        answer = post("https://receiver.example", reach)
    assert isinstance(answer, Retry)
    assert proxy.got[0].method == "CONNECT"


@pytest.mark.parametrize(
    "url",
    ["", "hook", "ftp://host/x", "http://", "http://[bad", "http://ho st/x", "http://h:99999999/x", "//h/x"],
)
def test_what_is_no_address_is_never_tried_again(url):
    with carrying() as courier:
        answer = courier.post(url, {})
    assert isinstance(answer, Rejected), answer


@pytest.mark.parametrize(
    "echoed",
    [
        "Cannot POST {path}",
        "<pre>{url}</pre>",
        "no such token: {token}",
        '{{"error": "unknown", "url": "{url}"}}',
        "signature by {key} is wrong",
        "{path}?token=q1w2e3r4t5 is gone",
    ],
)
def test_a_receiver_that_quotes_its_own_address_gives_no_secret_away(echoed):
    token, key, query = "s3cr3t%2Ft0ken-0123456789", "hush-hush", "q1w2e3r4t5"
    path, bare = f"/services/{token}", "s3cr3t/t0ken-0123456789"

    def script(exchange):
        url = f"http://127.0.0.1:{receiver.port}{path}?token={query}"
        answering(404, echoed.format(path=path, url=url, token=bare, key=key))(exchange)

    with receiving(script) as receiver:
        url = f"{receiver.url}{path}?token={query}"
        with carrying(secrets=(url, key)) as courier:
            reason = courier.outcome(courier.post(url, {})).reason
    assert reason.startswith("HTTP 404: ")
    assert not any(secret in reason for secret in (token, bare, key, query))


def test_no_failure_of_any_kind_names_the_path_it_was_sent_to(tmp_path):
    scripts = [
        lambda exchange: exchange.hang(),
        lambda exchange: exchange.connection.close(),
        lambda exchange: exchange.say("nonsense\n\n"),
        answering(500, SECRET),
        answering(302, headers=f"Location: /{SECRET}\n"),
    ]
    with carrying() as courier:
        for script in scripts:
            with receiving(script) as receiver:
                outcome = courier.outcome(courier.post(f"{receiver.url}/{SECRET}", {}))
                assert SECRET not in told(outcome)
        for url in (
            f"https://{SECRET}:1/",
            f"http://127.0.0.1:1/{SECRET}",
            f"http://u:{SECRET}@127.0.0.1:1/",
        ):
            assert SECRET not in told(courier.outcome(courier.post(url, {})))


def test_an_answer_is_quoted_on_one_line_without_control_characters():
    with receiving(answering(400, "one\n\x1b[31mtwo\x07\n" + "x" * 900)) as receiver, carrying() as courier:
        reason = courier.outcome(courier.post(receiver.url, {})).reason
    assert reason.startswith("HTTP 400: one two ")
    assert len(reason) <= 310


def test_receivers_that_fail_leave_no_connection_behind(tmp_path):
    def script(exchange):
        if exchange.number % 3 == 0:
            exchange.connection.close()
        elif exchange.number % 3 == 1:
            exchange.say("HTTP/1.1 200 OK\nContent-Length: 500\n\nhalf")
            exchange.connection.shutdown(socket.SHUT_RDWR)
        else:
            exchange.say(OK)

    with receiving(script) as receiver, receiving(answering(200), tls_of(certificate(tmp_path))) as untrusted:
        with carrying() as courier:
            for _ in range(6):
                courier.post(receiver.url, {})
                courier.post(f"https://127.0.0.1:{untrusted.port}", {})
            assert len(courier._leash._held) <= 1
        assert not courier._leash._held


def test_behind_a_proxy_that_takes_no_connection_it_is_the_proxy_that_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    hook = Webhook(url="https://hooks.example/x", http={"proxy": f"http://127.0.0.1:{port}"})
    assert unreachable(hook) == f"the proxy 127.0.0.1:{port} takes no connection (Connection refused)"
    with receiving() as proxy:
        assert unreachable(Webhook(url="https://hooks.example/x", http={"proxy": proxy.url})) is None


PROXIES = {"HTTPS_PROXY": "https", "http_proxy": "http", "all_proxy": "https"}
"""Variable that names a proxy -> the scheme of a receiver that is then reached through it."""


@pytest.fixture
def no_proxy(monkeypatch):
    for name in (*PROXY_VARIABLES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("variable", "scheme"), PROXIES.items())
def test_behind_a_proxy_of_the_environment_it_is_the_proxy_that_is_named(
    no_proxy, monkeypatch, variable, scheme
):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
    hook = Webhook(url=f"{scheme}://hooks.example/x")
    assert unreachable(hook) == f"the proxy 127.0.0.1:{port} takes no connection (Connection refused)"
    with receiving() as proxy:
        monkeypatch.setenv(variable, proxy.url.removeprefix("http://").rstrip("/"))
        assert unreachable(hook) is None


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTPS_PROXY": "http://gate:3128"},
        {"HTTP_PROXY": "http://gate:3128", "NO_PROXY": "127.0.0.1"},
    ],
)
def test_a_receiver_that_no_proxy_is_for_is_connected_to_itself(no_proxy, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with receiving() as receiver:
        (way,) = ways(Webhook(url=receiver.url))
        assert str(way) == f"127.0.0.1:{receiver.port}"


def test_mail_and_syslog_go_by_no_proxy_of_http(no_proxy, monkeypatch):
    monkeypatch.setenv("all_proxy", "http://gate:3128")
    monkeypatch.setenv("http_proxy", "http://gate:3128")
    (way,) = ways(Email(host="smtp.example.com", sender="a@example.com", to=["b@example.com"]))
    assert str(way) == "smtp.example.com:587"
    (way,) = ways(Syslog(address="log.example.com:6514", transport="tcp"))
    assert str(way) == "log.example.com:6514"


def test_a_proxy_that_is_none_of_http_is_not_tried_and_nobody_can_say(no_proxy, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://gate:1080")
    hook = Webhook(url="https://hooks.example/x")
    assert ways(hook) == ()
    assert unreachable(hook) is None
