"""From memory that runs away to a message, and back, through a daemon that is killed in the middle."""

import contextlib
import json
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tests.receivers import Receiver, answering, receiving
from tests.slack_server import CHANNEL, TOKEN, Slack
from tests.stories.test_the_daemon import PATIENCE, House, stop, wait_until

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


LONG = "12h"
"""Of the simulated past: what must be waited for is over before its time goes on as a real one."""


def configure(house, scenario, channels, start="4h"):
    source = f"{{simulated: {{scenario: {scenario}, speed: 1500, start: {start}}}}}"
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
    """Return ``messages`` without those that say of themselves that they may be a repetition of another.

    Where there is no other, they were none: the kill came before the request.
    """
    told = list(messages)
    sure = [each for each in told if REPETITION not in json.dumps(each)]
    kinds = {each["text"].split()[1] for each in sure}
    return sure + [each for each in told if each not in sure and each["text"].split()[1] not in kinds]


@pytest.mark.parametrize("killed_when", ["the first hears of it", "all have heard of it"])
def test_growth_is_told_once_and_its_end_once_though_the_daemon_is_killed_in_between(
    house, scenario, killed_when
):
    with town() as (told, channels):
        configure(house, scenario, channels, start=LONG)
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
    post, *others = told.posts
    assert not others
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


# --- bad configurations ---------------------------------------------------------------------------


def faulty(house, channels):
    """Write a configuration with ``channels``, a line each from the fourth on."""
    house.config.write_text(
        f"source: simulated\nstore: {{path: {house.store}}}\nchannels:\n"
        + "".join(f"  {channel}\n" for channel in channels)
    )


@pytest.mark.parametrize("verb", ["check", "run"])
def test_faults_of_channels_end_check_and_start_with_78_and_each_is_told_with_its_place(house, verb):
    faulty(
        house,
        [
            "a: {carrier_pigeon: {loft: north}}",
            "b: {webhook: {url: hush-hush-no-address}}",
            "c: {webhook: {url_file: /nowhere/at/all}}",
            "d: {webhook: {url: 'http://127.0.0.1/', template: '{\"a\": $nonsense}'}}",
        ],
    )
    done = house.say(verb)
    assert done.returncode == 78
    for place, words in (
        ("4:7: channels.a.carrier_pigeon: ", "no such option; accepted: "),
        ("5:16: channels.b.webhook: ", "url: not an address"),
        ("6:27: channels.c.webhook.url_file: ", "/nowhere/at/all cannot be read"),
        ("7:53: channels.d.webhook.template: ", "no field $nonsense; accepted: $key, "),
    ):
        assert f"{house.config}:{place}{words}" in done.stderr
    assert "hush" not in done.stdout + done.stderr
    assert not house.store.exists()


def test_a_bad_channel_at_sighup_leaves_the_old_ones_which_tell_of_it_and_of_its_end(house, scenario):
    with receiving() as receiver:
        channels = {"hook": {"webhook": {"url": receiver.url}}}
        configure(house, scenario, channels, start=LONG)
        scenario.write_text(CALM)
        with house.running() as daemon:
            house.until_ready()
            configure(house, scenario, {**channels, "bad": {"carrier_pigeon": {}}}, start=LONG)
            daemon.send_signal(signal.SIGHUP)
            wait_until(lambda: receiver.got, "the refused configuration is told")
            configure(house, scenario, channels, start=LONG)
            daemon.send_signal(signal.SIGHUP)
            wait_until(lambda: "resolved" in [each[2] for each in notices(receiver)], "its end is told")
            said = stop(daemon)
    assert [notice for _, _, notice, _ in notices(receiver)] == ["opened", "resolved"]
    headline = receiver.got[0].json["headline"]
    assert "the configuration was kept as it was: " in headline
    assert f"{house.config}:" in headline
    assert "channels.bad.carrier_pigeon: no such option" in headline
    assert "configuration kept as it was because=" in said


# --- secrets --------------------------------------------------------------------------------------

HUSH = "hush-hush-0123456789"


def test_no_secret_is_written_anywhere_though_the_receiver_quotes_all_of_them(house, scenario):
    quoting = Quoting()
    with quoting as url:
        headers = {"Authorization": f"Bearer {HUSH}-bearer", "X-Key": f"{HUSH}-header"}
        hook = {"url": f"{url}/{HUSH}-path/in?key={HUSH}-query", "signing_secret": f"{HUSH}-signing"}
        channels = {
            "hook": {"webhook": {**hook, "headers": headers}},
            "bot": {"slack": {"token": f"xoxb-{HUSH}", "channel": CHANNEL, "api_url": url}},
            "room": {"slack": {"url": f"{url}/services/{HUSH}"}},
            "pager": {"pagerduty": {"routing_key": HUSH, "url": url}},
            "phone": {"ntfy": {"topic": f"{HUSH}-topic", "token": f"{HUSH}-token", "url": url}},
            "alerts": {"alertmanager": {"urls": [url], "username": "me", "password": HUSH}},
            "beat": {"heartbeat": {"url": f"{url}/{HUSH}", "every": "1s"}},
        }
        configure(house, scenario, channels)
        with house.config.open("a") as config:
            config.write("log: {level: debug}\n")
        scenario.write_text(RUNAWAY)
        with house.running() as daemon:
            log: list[str] = []
            reader = threading.Thread(target=lambda: log.extend(daemon.stderr))  # or its pipe fills
            reader.start()
            wait_until(lambda: len(quoting.paths) == len(channels), "every channel was tried")
            (incident,) = wait_until(lambda: _of_owners(house), "an owner's incident")
            sends = [house.say("check", "--send", name) for name in channels]
            report = house.store.with_name("report.html")
            verbs = [
                house.say("check"), house.say("check", "--print"), house.say("why", incident),
                house.say("report", incident, "-o", str(report)), house.say("doctor"), house.say("status"),
                house.say("incidents", "--format", "json"),
            ]  # fmt: skip
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(PATIENCE) == 0
            reader.join()
    written = [*log, report.read_text(), *(done.stdout + done.stderr for done in (*sends, *verbs))]
    assert any("outcome=" in line for line in log)
    assert all("HTTP 500" in done.stdout for done in sends)
    for part in ("path", "query", "bearer", "header", "token"):
        assert f"{HUSH}-{part}" in "".join(quoting.said)  # the receiver did quote them
    assert not [text for text in written if HUSH in text]
    for file in house.store.parent.glob("history.db*"):
        assert HUSH.encode() not in file.read_bytes()


def _of_owners(house):
    """The ids of the incidents of owners, of all that are kept."""
    kept = json.loads(house.say("incidents", "--since", "2000-01-01", "--format", "json").stdout)
    return [each["incident"] for each in kept if each["subject"]["kind"] == "owner"]


class Quoting:
    """A receiver that refuses everything, and quotes the whole request as it does."""

    def __init__(self):
        self.said, self.paths = [], set()

    def __enter__(self):
        self._server = receiving(self._answer)
        return self._server.__enter__().url

    def __exit__(self, *raised):
        self._server.__exit__(*raised)

    def _answer(self, exchange):
        told = exchange.request
        headers = " ".join(f"{name}: {value}" for name, value in told.headers.items())
        self.paths.add(told.path)
        self.said.append(f"{told.path} {headers}")
        answering(500, f"{told.path} {headers}"[:250])(exchange)
