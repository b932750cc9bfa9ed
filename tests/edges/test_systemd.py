"""What a service says to systemd, over a real datagram socket."""

import os
import socket

from vramwatch.systemd import Systemd


def environment(notify, **more):
    return {"NOTIFY_SOCKET": str(notify.path), **more}


def test_without_systemd_nothing_is_said_and_nothing_fails():
    systemd = Systemd({})
    systemd.ready()
    systemd.turn("1 GPU", "last poll 03:12:00", 1.0, now=100.0)
    systemd.stopping()


def test_no_child_inherits_the_address(notify):
    left = environment(notify, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()), HOME="/root")
    Systemd(left)
    assert left == {"HOME": "/root"}


def test_every_turn_feeds_the_watchdog_while_polls_come_as_slowly_as_it_allows(notify):
    systemd = Systemd(environment(notify, WATCHDOG_USEC="30000000"))
    for _ in range(3):
        systemd.turn("1 GPU", "last poll 03:12:00", 8.0, now=100.0)
    assert notify.hear().count("WATCHDOG=1") == 3


def test_fast_turns_do_not_wake_systemd_each_time(notify):
    systemd = Systemd(environment(notify, WATCHDOG_USEC="30000000"))
    for _ in range(50):
        systemd.turn("1 GPU", "last poll 03:12:00", 0.2, now=100.0)
    assert notify.hear().count("WATCHDOG=1") == 1


def test_a_pace_slower_than_the_watchdog_asks_it_for_more_time(notify):
    systemd = Systemd(environment(notify, WATCHDOG_USEC="30000000"))
    systemd.turn("1 GPU", "last poll 03:12:00", 600.0, now=100.0)
    assert notify.hear()[:2] == ["WATCHDOG_USEC=1800000000", "WATCHDOG=1"]


def test_the_watchdog_of_another_process_is_not_fed(notify):
    systemd = Systemd(environment(notify, WATCHDOG_USEC="30000000", WATCHDOG_PID="1"))
    systemd.turn("1 GPU", "last poll 03:12:00", 1.0, now=100.0)
    assert notify.hear() == ["STATUS=1 GPU, last poll 03:12:00"]


def test_the_sentence_is_said_at_once_when_it_changes_and_not_for_every_poll(notify):
    systemd = Systemd(environment(notify))
    systemd.turn("2 GPUs, 0 open incidents", "last poll 03:12:00", 1.0, now=100.0)
    systemd.turn("2 GPUs, 0 open incidents", "last poll 03:12:01", 1.0, now=100.0)
    systemd.turn("blind since 03:12:02", "last poll 03:12:02", 1.0, now=100.0)
    assert notify.hear() == [
        "STATUS=2 GPUs, 0 open incidents, last poll 03:12:00",
        "STATUS=blind since 03:12:02, last poll 03:12:02",
    ]


def test_a_reload_says_since_when_as_notify_reload_wants_it(notify):
    systemd = Systemd(environment(notify))
    systemd.reloading()
    systemd.ready()
    first, since, last = notify.hear()
    assert (first, last) == ("RELOADING=1", "READY=1")
    assert int(since.removeprefix("MONOTONIC_USEC=")) > 0


def test_an_abstract_address_is_spoken_to():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"vramwatch-test-{os.getpid()}"
        manager.bind(f"\0{name}")
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert manager.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_is_logged_once_and_the_service_goes_on(tmp_path, caplog):
    systemd = Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    systemd.ready()
    systemd.stopping()
    assert [record.getMessage() for record in caplog.records] == [
        "systemd was not told because='[Errno 2] No such file or directory'"
    ]
