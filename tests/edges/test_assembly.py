"""One look at the GPUs without a daemon, by the configuration."""

import os
import subprocess
import sys

import pytest

from tests.nvml.gpu import GIB, Process
from vramwatch.assembly import look_once
from vramwatch.config import load
from vramwatch.core.model import FaultKind


@pytest.fixture
def config():
    return load(None, {}, {})


@pytest.fixture
def with_driver(driver, monkeypatch):
    for name, value in driver.environment().items():
        monkeypatch.setenv(name, value)
    return driver


def test_a_look_waits_for_the_reader_and_answers_with_every_gpu_and_who_holds_it(config, with_driver):
    with_driver.gpus[1].set_processes([Process(os.getpid(), 3 * GIB)])
    poll = look_once(config)
    assert len(poll.ledgers) == 2
    (holding,) = poll.ledgers[1].holdings
    assert (holding.pid, holding.held) == (os.getpid(), 3 * GIB)
    assert holding.tenant.facts.uid == os.getuid()
    assert not with_driver.clients()


def test_a_machine_without_a_driver_answers_so_at_once(config, with_driver):
    with_driver.fail("nvmlInit*", 9)
    poll = look_once(config)
    assert poll.ledgers == ()
    assert poll.missing[0].fault.kind is FaultKind.NO_DRIVER


SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"


@pytest.mark.parametrize(
    ("commands", "shown"),
    [
        ("full", lambda title: SECRET in title),
        ("redacted", lambda title: SECRET not in title and "--token" in title),
        ("name", lambda title: title.startswith("python")),
    ],
)
def test_as_much_of_a_command_line_is_remembered_as_the_configuration_says(with_driver, commands, shown):
    words = [sys.executable, "-c", "input()", "--token", SECRET]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as holder:
        with_driver.gpus[0].set_processes([Process(holder.pid, GIB)])
        poll = look_once(load(None, {}, {"store.commands": commands}))
        holder.communicate(b"\n")
    (holding,) = poll.ledgers[0].holdings
    assert shown(holding.tenant.facts.title)
