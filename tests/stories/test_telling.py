"""From memory that runs away to a message, and back, through a daemon that is killed in the middle."""

import contextlib
import json
import signal
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tests.receivers import Receiver, receiving
from tests.slack_server import CHANNEL, TOKEN, Slack
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


REPETITION = "May be a repetition"
"""What a message says that a kill may have sent twice, to a receiver that knows no keys."""


@contextlib.contextmanager
def town():
    """A webhook, a small Slack and an Alertmanager's API, and the channels that tell them all."""
    with receiving() as hook, receiving() as alerts, Slack() as slack:
        bot = {"token": TOKEN, "channel": CHANNEL, "api_url": slack.api}
        channels = {
            "hook": {"webhook": {"url": hook.url}},
            "bot": {"slack": bot},
            "room": {"slack": {"url": slack.hook}},
            "alerts": {"alertmanager": {"urls": [alerts.url], "refresh": "1s"}},
        }
        yield Town(hook, alerts, slack), channels


@dataclass(frozen=True)
class Town:
    hook: Receiver
    alerts: Receiver
    slack: Slack

    @property
    def posts(self):
        """What the bot has posted beside threads, and is no repetition that says so."""
        return first_ones(each for each in self.slack.called("chat.postMessage") if "thread_ts" not in each)

    @property
    def room(self):
        return first_ones(self.slack.called("hook"))

    @property
    def standing(self):
        """The alerts that Alertmanager would have firing now, by their labels."""
        newest = {}
        for request in list(self.alerts.got):
            newest |= {tuple(sorted(each["labels"].items())): each for each in request.json}
        now = datetime.now(UTC)
        return [labels for labels, each in newest.items() if datetime.fromisoformat(each["endsAt"]) > now]

    def is_told(self):
        return self.hook.got and self.posts and self.room and self.standing

    def is_over(self):
        is_over = [any(each.startswith("gpu7: RESOLVED") for each in said) for said in self.headlines()]
        return all(is_over) and not self.standing

    def headlines(self):
        """What each receiver but Alertmanager was told."""
        hook = [request.json["headline"] for request in list(self.hook.got)]
        bot = [*self.slack.called("chat.postMessage"), *self.slack.called("chat.update")]
        return hook, *([each["text"] for each in said] for said in (bot, self.slack.called("hook")))


def first_ones(messages):
    return [each for each in messages if REPETITION not in json.dumps(each)]


@pytest.mark.parametrize("killed_when", ["the first hears of it", "all have heard of it"])
def test_growth_is_told_once_and_its_end_once_though_the_daemon_is_killed_in_between(
    house, scenario, killed_when
):
    with town() as (told, channels):
        configure(house, scenario, channels)
        scenario.write_text(RUNAWAY)
        is_time = told.is_told if killed_when.startswith("all") else lambda: told.hook.got
        with house.running() as daemon:
            wait_until(is_time, f"{killed_when} before the kill")
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        scenario.write_text(CALM)
        with house.running() as daemon:
            wait_until(told.is_over, "its end is told to all")
            time.sleep(1.5)  # longer than alerts are refreshed
            stop(daemon)
        assert told.standing == []
    _assert_the_webhook_heard_of_each_once(told.hook)
    _assert_slack_shows_it_once(told, whole=killed_when.startswith("all"))
    opened = {json.dumps(each["labels"]) for request in told.alerts.got for each in request.json}
    assert len({json.loads(each)["incident"] for each in opened}) == 1


def _assert_the_webhook_heard_of_each_once(hook):
    heard = set(notices(hook))  # what arrived twice arrived under the same key
    counts = Counter(notice for _, _, notice, _ in heard)
    assert (counts["opened"], counts["resolved"]) == (1, 1)
    assert set(counts) <= {"opened", "worse", "updated", "resolved"}
    assert len({incident for _, incident, _, _ in heard}) == 1
    first = hook.got[0].json
    assert first["headline"].startswith("gpu7: CRITICAL  finetune.service on GPU 0: ")
    assert first["text"].endswith("On gpu7 run:  systemctl restart finetune.service")


def _assert_slack_shows_it_once(told, whole):
    """The bot has one message, which reads as things stand; the room has an opening and an end.

    ``whole``: all had heard of it before the kill; else an opening may have been overtaken by its end.
    """
    (post,) = told.posts
    newest = (told.slack.called("chat.update") or [post])[-1]
    assert newest["text"].startswith("gpu7: RESOLVED")
    replies = first_ones(each for each in told.slack.called("chat.postMessage") if "thread_ts" in each)
    said = Counter(each["text"].split()[1] for each in told.room)
    assert said["RESOLVED"] == 1
    if whole:
        assert post["text"].startswith("gpu7: CRITICAL")
        assert len([each for each in replies if each["text"].startswith("gpu7: RESOLVED")]) == 1
        assert said["CRITICAL"] == 1
    else:
        assert said["CRITICAL"] <= 1


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
