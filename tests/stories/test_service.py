"""The daemon as systemd sees it, over a real notify socket."""

import signal

import pytest

from tests.ports import free_port
from tests.stories.test_the_daemon import House, stop


@pytest.fixture
def house(tmp_path, driver, notify):
    supervised = {"NOTIFY_SOCKET": str(notify.path), "WATCHDOG_USEC": "1000000"}
    return House(tmp_path, {**driver.environment(), **supervised})


def test_a_driver_that_hangs_is_said_in_the_status_while_the_watchdog_is_fed_and_the_process_stays(
    house, driver, notify
):
    with house.running() as daemon:
        ready = notify.until("READY=1")
        seeing = notify.until("STATUS=2 GPUs, 0 open incidents, last poll", ready)
        driver.hang("nvmlDeviceGetMemoryInfo_v2")
        blind = notify.until("STATUS=blind since", seeing)
        for _ in range(3):
            blind = notify.until("WATCHDOG=1", blind)
        assert daemon.poll() is None
        driver.clear_faults()
        notify.until("STATUS=2 GPUs", blind)
        stop(daemon)
    assert "STOPPING=1" in notify.hear()


def test_a_channel_that_cannot_be_told_anything_is_said_in_the_status(house, notify):
    url = f"http://127.0.0.1:{free_port()}/"
    house.write_config("1s", channels=f"{{hook: {{webhook: {{url: '{url}'}}}}}}")
    with house.running() as daemon:
        ready = notify.until("READY=1")
        told = notify.until("STATUS=2 GPUs, ", ready)
        while "channel hook cannot be told anything" not in notify.said[told - 1]:
            told = notify.until("STATUS=2 GPUs, ", told)
        stop(daemon)


def test_a_reload_is_announced_and_ends_ready_even_when_the_file_is_bad(house, notify):
    with house.running() as daemon:
        ready = notify.until("STATUS=2 GPUs", notify.until("READY=1"))
        house.write_config("nonsense")
        daemon.send_signal(signal.SIGHUP)
        notify.until("READY=1", notify.until("RELOADING=1", ready))
        assert "configuration kept as it was" in stop(daemon)
