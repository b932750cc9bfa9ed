"""Who may enrol as a worker: what the configuration takes, and what the daemon says of it."""

from pathlib import Path

import pytest

from vramwatch.assembly import receive
from vramwatch.config import sentence
from vramwatch.core.errors import ConfigError
from vramwatch.core.ports import Feed

CONTROL = Path("/run/vramwatch/control.sock")


def test_the_socket_stands_beside_the_control_socket_unless_it_is_named(configured):
    assert configured("").workers.place(CONTROL) == Path("/run/vramwatch/enrol.sock")
    named = configured("workers: {socket: /run/workers/e.sock}")
    assert named.workers.place(CONTROL) == Path("/run/workers/e.sock")


def test_groups_and_users_are_names_or_numbers(configured):
    workers = configured("workers: {group: 1001, users: [alice, 1000]}").workers
    assert (workers.group, workers.users) == ("1001", ("alice", "1000"))


def test_the_daemon_says_at_its_start_who_may_enrol(configured):
    assert "lets workers of root and of its own user enrol;" in sentence(configured(""))
    said = sentence(configured("workers: {group: inference, users: [alice, 1000]}"))
    assert "enrol, and members of group inference named alice, 1000;" in said
    assert "lets no worker enrol" in sentence(configured("workers: {enabled: false}"))


@pytest.mark.parametrize(
    ("text", "live"),
    [
        ("workers: {enabled: false}", True),
        ("source: simulated\nstore: {path: /d/x.db}", False),
        ("source: replay\nstore: {path: /d/x.db}", False),
    ],
)
def test_nobody_enrols_where_it_is_off_or_nothing_is_of_this_machine(configured, tmp_path, text, live):
    config = configured(text)
    assert receive(config, Feed(None, None, None, live=live), tmp_path / "control.sock") is None
    assert not (tmp_path / "enrol.sock").exists()
    if config.source_name == "replay":
        return
    assert "lets no worker enrol" in sentence(config)


def test_what_one_user_may_have_is_at_most_what_all_may(configured, tmp_path):
    config = configured("workers: {limit: 3}")
    reception = receive(config, Feed(None, None, None, live=True), tmp_path / "control.sock")
    try:
        assert reception._bounds.per_user == 3
    finally:
        reception.close()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("limit: 0", "workers.limit"),
        ("report_interval: 1h", "write a duration from 1s to 1m"),
        ("socket: enrol.sock", "a relative path"),
        ("users: alice", "workers.users"),
        ("uids: [1]", "workers.uids"),
    ],
)
def test_what_it_does_not_take_is_refused_with_its_place(configured, option, said):
    with pytest.raises(ConfigError) as caught:
        configured(f"workers:\n  {option}\n")
    assert "config.yaml:2:" in str(caught.value)
    assert said in str(caught.value)
