"""Lines of syslog, on real sockets."""

import re
import socket
import threading
import time

import pytest
from pydantic import ValidationError

from tests.notices import KEY, item, message, trial
from tests.receivers import receiving
from vramwatch.core.incidents import Severity
from vramwatch.core.messages import Host
from vramwatch.core.outgoing import Delivered, Retry
from vramwatch.notifiers.syslog import Syslog

RFC_5424 = re.compile(
    r"<(?P<pri>\d{1,3})>1 (?P<time>\S+) (?P<host>[!-~]{1,255}) vramwatch (?P<pid>\d+) (?P<id>[!-~]{1,32}) "
    r'\[vramwatch@32473(?P<data>(?: [a-z]+="(?:[^"\\\]]|\\["\\\]])*")*)\] \ufeff(?P<text>.*)',
    re.DOTALL,
)


def read(datagram):
    found = RFC_5424.fullmatch(datagram.decode())
    assert found, datagram
    return found


def over_udp(told, **options):
    """Return the datagrams that a message makes on a log server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        outcome = Syslog(address=address, **options).send(told, None)
        assert isinstance(outcome, Delivered)
        return [server.recv(65536) for _ in told.items or (None,)]


def test_a_log_server_gets_a_structured_line():
    (datagram,) = over_udp(message())
    line = read(datagram)
    assert line["pri"] == str(3 * 8 + 2)
    assert (line["time"], line["host"], line["id"]) == ("2023-11-15T12:06:40.000Z", "gpu7", "opened")
    assert ' incident="0a1b2c3d4e5f@gpu7"' in line["data"]
    assert f' key="{KEY}"' in line["data"]
    assert line["text"].startswith("gpu7: CRITICAL  chat on GPU 0: a leak")


def test_facility_and_severity_make_the_priority():
    told = message(item(severity=Severity.WARNING))
    assert read(over_udp(told, facility="local7")[0])["pri"] == str(23 * 8 + 4)
    assert read(over_udp(trial())[0])["pri"] == str(3 * 8 + 6)


def test_foreign_text_breaks_neither_line_nor_structure():
    evil = 'a"]\\ [x@1 y="z"]\n<0>1 - - - - - - forged é'
    told = message(item(owner=f"rule:{evil}", scene=None), host=Host(evil))
    line = read(over_udp(told)[0])
    assert "\n" not in line["text"]
    assert " " not in line["host"]


def test_a_line_is_cut_where_receivers_may_stop_reading_and_keeps_its_structure():
    told = message(item(owner=f"rule:{'é' * 500}", scene=None), host=Host("h" * 100))
    (datagram,) = over_udp(told)
    assert len(datagram) <= 2048 or len(read(datagram)["text"]) == 0
    read(datagram)


def test_each_incident_is_a_line_of_its_own():
    lines = over_udp(message(item("a"), item("b")))
    assert [re.search(r' incident="(\S+?)"', read(each)["data"])[1] for each in lines] == ["a@gpu7", "b@gpu7"]


def test_over_tcp_each_line_follows_its_length():
    got, done = [], threading.Event()

    def script(exchange):
        while part := exchange.connection.recv(65536):
            got.append(part)
        done.set()

    with receiving(script, reads=False) as server:
        address = f"127.0.0.1:{server.port}"
        outcome = Syslog(address=address, transport="tcp").send(message(item("a"), item("b")), None)
        assert outcome == Delivered(f"sent to {address} over tcp")
        assert done.wait(5)
    stream, lines = b"".join(got), []
    while stream:
        size, _, stream = stream.partition(b" ")
        lines.append(read(stream[: int(size)]))
        stream = stream[int(size) :]
    assert len(lines) == 2


def test_a_server_that_neither_closes_nor_stops_talking_costs_the_time_out():
    with receiving(lambda exchange: exchange.hang(), reads=False) as server:
        quiet = Syslog(address=f"127.0.0.1:{server.port}", transport="tcp", timeout="1s")
        assert isinstance(quiet.send(message(), None), Delivered)
    with receiving(lambda exchange: exchange.flood(b"x" * 65536), reads=False) as server:
        loud = Syslog(address=f"127.0.0.1:{server.port}", transport="tcp", timeout="1s")
        began = time.monotonic()
        loud.send(message(), None)
    assert time.monotonic() - began < 3.0


def test_where_nobody_listens_it_is_tried_again(tmp_path):
    with receiving(lambda exchange: None, reads=False) as server:
        address = f"127.0.0.1:{server.port}"
    assert Syslog(address=address, transport="tcp").send(message(), None) == Retry(
        f"{address}: Connection refused"
    )
    path = str(tmp_path / "log")
    assert Syslog(address=path).send(message(), None) == Retry(f"{path}: No such file or directory")


def test_this_machines_log_gets_a_line_of_the_form_that_syslog_3_writes(tmp_path):
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(5)
        outcome = Syslog(address=str(path)).send(message(), None)
        line = server.recv(65536).decode()
    assert outcome == Delivered(f"1 written to {path}")
    assert re.match(
        r"<26>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d vramwatch\[\d+\]: gpu7: CRITICAL  chat on", line
    )


@pytest.mark.parametrize(
    "address", ["log", "host", "host:", "host:0", "host:99999", ":514", "udp://host:514", "[::1]"]
)
def test_what_is_no_place_of_a_log_is_refused(address):
    with pytest.raises(ValidationError) as raised:
        Syslog(address=address)
    assert "host:port" in raised.value.errors()[0]["msg"]


@pytest.mark.parametrize("address", ["/dev/log", "log.example:514", "10.0.0.1:6514", "[::1]:514"])
def test_places_of_logs_are_taken(address):
    assert Syslog(address=address).address == address
