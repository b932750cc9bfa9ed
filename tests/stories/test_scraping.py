"""Prometheus' side of the whole daemon: what a scrape tells, what it costs the driver, who is refused."""

import contextlib
import os
import socket
import time

import pytest

from tests.nvml.gpu import Process
from tests.scrapes import Scrape, ask
from tests.stories.test_the_daemon import House, stop
from tests.waiting import wait_until

USED = "vramwatch_owner_memory_used_bytes"
GIB = 2**30


@pytest.fixture
def house(tmp_path, driver):
    return House(tmp_path, driver.environment())


def scrape(house):
    status, _, text = ask(house.port)
    assert status == 200
    return Scrape(text)


def written(store):
    """Return when the store and its journal were written last."""
    return {each.name: each.stat().st_mtime_ns for each in store.parent.glob(f"{store.name}*")}


def test_what_the_driver_says_is_told_as_long_as_the_process_is_there(house, driver):
    gpu = driver.gpus[0]
    gpu.set_processes([Process(os.getpid(), 2 * GIB)])
    with house.running() as daemon:
        house.until_ready()
        wait_until(lambda: scrape(house).of(USED), "the process is told of")
        ((labels, value),) = scrape(house).of(USED)
        assert (labels["gpu"], value) == ("0", 2 * GIB)
        gpu.set_processes([])
        wait_until(lambda: not scrape(house).of(USED), "its series has gone")
        assert scrape(house)["vramwatch_up"] == 1
        stop(daemon)


def test_a_scrape_calls_neither_the_driver_nor_the_store(house, driver):
    house.write_config("1m", poll="{interval: 1m, slowest: 1m}")
    with house.running() as daemon:
        house.until_ready()
        wait_until(lambda: scrape(house)["vramwatch_read_polls_total"], "it was polled")
        before = driver.total_calls(), written(house.store)
        for _ in range(20):
            scrape(house)
        assert (driver.total_calls(), written(house.store)) == before
        stop(daemon)


def test_while_the_gpus_are_released_no_figure_of_them_is_told(house):
    with house.running() as daemon:
        house.until_ready()
        assert house.say("release", "--for", "5m").returncode == 0
        wait_until(lambda: scrape(house)["vramwatch_up"] == 0, "it sees nothing")
        seen = scrape(house)
        assert seen.of("vramwatch_gpu_unreadable") == [({"reason": "released"}, 1.0)]
        assert not any(name.startswith("vramwatch_gpu_memory") for name in seen.names())
        stop(daemon)


def test_callers_that_never_finish_and_those_that_ask_without_end_delay_no_poll(house):
    house.write_config("200ms")
    with house.running() as daemon, contextlib.ExitStack() as stack:
        house.until_ready()
        for _ in range(6):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", house.port)))
            slow.sendall(b"GET /metrics HTTP/1.1\r\nX-Trickle: ")
        before, began = scrape(house)["vramwatch_polls_total"], time.monotonic()
        while time.monotonic() - began < 3.0:
            scrape(house)
        polls = scrape(house)["vramwatch_polls_total"] - before
        assert polls >= 0.5 * (time.monotonic() - began) / 0.2  # on a machine that others use too
        stop(daemon)


@pytest.mark.parametrize(
    ("mode", "said"), [(None, "http.token_file"), (0o644, "can be read by every user of this machine")]
)
def test_others_are_not_let_in_without_a_token_that_is_kept(house, tmp_path, mode, said):
    token = tmp_path / "token"
    options = "listen: '0.0.0.0:9478'"
    if mode is not None:
        token.write_text("s3same")
        token.chmod(mode)
        options += f", token_file: {token}"
    house.write_config("1s", http=f"{{{options}}}")
    done = house.say("run")
    assert done.returncode == 78
    assert said in done.stderr
    assert "s3same" not in done.stderr


def test_a_port_in_use_ends_the_start_with_1_and_names_the_option(house):
    with socket.create_server(("127.0.0.1", house.port)):
        done = house.say("run")
    assert done.returncode == 1
    assert "http.listen" in done.stderr
