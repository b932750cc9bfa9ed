"""Whose logs are followed: what the configuration takes, and what the daemon says of it."""

import pytest

from vramwatch.assembly import follow_logs
from vramwatch.config import sentence
from vramwatch.core.errors import ConfigError
from vramwatch.core.ports import Feed


def test_no_log_is_read_unless_it_is_named(configured):
    config = configured("")
    assert config.logs.units == config.logs.containers == ()
    assert follow_logs(config, Feed(None, None, None, live=True)) is None
    assert "reads no log" in sentence(config)


def test_the_daemon_says_at_its_start_whose_logs_it_follows(configured):
    said = sentence(configured("logs: {units: [vllm.service, 'llama@*.service'], containers: ['chat-*']}"))
    assert (
        "follows the journal of vllm.service, llama@*.service and the log files of containers chat-*" in said
    )
    assert "keeping numbers and no text" in said


def test_a_recording_or_a_simulation_has_no_logs(configured):
    config = configured("source: simulated\nstore: {path: /d/x.db}\nlogs: {containers: ['*']}")
    assert follow_logs(config, Feed(None, None, None, live=False)) is None
    assert "reads no log" in sentence(config)


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("llama", "a unit's name has a suffix; write llama.service"),
        ("a b.service", "no unit's name"),
        ("a.service;reboot", "no unit's name"),
        ("", "String should have at least 1 character"),
    ],
)
def test_what_is_no_units_name_is_refused_with_its_place(configured, unit, said):
    with pytest.raises(ConfigError) as caught:
        configured(f"logs:\n  units:\n    - {unit!r}\n")
    assert f"config.yaml:3:7: logs.units[0]: {said}" in str(caught.value)
