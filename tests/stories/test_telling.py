"""From memory that runs away to a message, and back, through a daemon that is killed in the middle."""

import json
import signal
import time
from collections import Counter

import pytest

from tests.receivers import receiving
from tests.stories.test_the_daemon import House, stop, wait_until

CALM = """
seed: 1
gpus:
  - {name: NVIDIA H100 80GB HBM3, total: 81559MiB, reserved: 551MiB}
processes:
  - name: web
    argv: [/usr/bin/python3, /srv/web/serve.py]
    user: web
    uid: 1001
    unit: web.service
    gpu: 0
    memory: {context: 500MiB, preallocate: {size: 4GiB, over: 10s}}
"""

RUNAWAY = (
    CALM
    + """
  - name: finetune
    argv: [/usr/bin/python3, /srv/finetune/train.py]
    user: tuner
    uid: 1015
    unit: finetune.service
    gpu: 0
    torch: true
    load: {low: 0.075, peak: 0.075, period: 1h, service: 13s, slots: 1}
    memory: {context: 520MiB, preallocate: {size: 4GiB, over: 20s}, leak: {per_request: 150MiB}}
"""
)


@pytest.fixture
def scenario(tmp_path):
    return tmp_path / "scenario.yaml"


@pytest.fixture
def house(tmp_path, scenario):
    return House(tmp_path, {})


def configure(house, scenario, channels):
    source = f"{{simulated: {{scenario: {scenario}, speed: 1500, start: 4h}}}}"
    house.write_config(
        "5s",
        source=source,
        host="{name: gpu7}",
        alerting="{mode: tell, group_wait: 0s, group_interval: 0s}",
        channels=json.dumps(channels),
    )


def notices(receiver):
    told = [request.json for request in receiver.got]
    return [
        (each["key"], item["incident"], item["notice"], item["state"])
        for each in told
        for item in each["incidents"]
    ]


def test_growth_is_told_once_and_its_end_once_though_the_daemon_is_killed_in_between(house, scenario):
    with receiving() as receiver:
        configure(house, scenario, {"hook": {"webhook": {"url": receiver.url}}})
        scenario.write_text(RUNAWAY)
        with house.running() as daemon:
            wait_until(lambda: receiver.got, "the growth is told")
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        scenario.write_text(CALM)
        with house.running() as daemon:
            wait_until(lambda: "resolved" in [each[2] for each in notices(receiver)], "its end is told")
            time.sleep(1.0)
            stop(daemon)
    told = set(notices(receiver))  # what arrived twice arrived under the same key
    assert Counter(notice for _, _, notice, _ in told) == {"opened": 1, "resolved": 1}
    assert len({incident for _, incident, _, _ in told}) == 1
    first = receiver.got[0].json
    assert first["headline"].startswith("gpu7: CRITICAL  finetune.service on GPU 0: ")
    assert first["text"].endswith("On gpu7 run:  systemctl restart finetune.service")


def test_what_a_new_service_would_have_told_is_kept_back_while_it_observes(house, scenario):
    with receiving() as receiver:
        configure(house, scenario, {"hook": {"webhook": {"url": receiver.url}}})
        text = house.config.read_text().replace("mode: tell", "mode: observe")
        house.config.write_text(text)
        scenario.write_text(RUNAWAY)
        withheld = ""
        with house.running() as daemon:
            for line in daemon.stderr:
                if "withheld incident=" in line:
                    withheld = line
                    break
            daemon.send_signal(signal.SIGTERM)
            daemon.stderr.read()
            daemon.wait()
    assert "channel=hook notice=opened because=observe detail='observing for " in withheld
    assert receiver.got == []
