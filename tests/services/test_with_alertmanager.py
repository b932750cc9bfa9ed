"""A real Alertmanager is told of incidents, and tells a receiver of them: each of them once."""

import subprocess
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.one_channel import CRITICAL, WARNING, Office, firing, resolved, sent, told
from tests.polls import START
from tests.receivers import receiving
from tests.services.alertmanager import (
    EXAMPLES,
    Peer,
    example,
    notices,
    program,
    redirected,
    started,
    telling,
)
from tests.waiting import wait_until
from vramwatch.core.incidents import Reason
from vramwatch.core.messages import Heard, Host, MessageKind
from vramwatch.core.outgoing import Delivered
from vramwatch.core.policy import Notice
from vramwatch.notifiers.alertmanager import HOLDS, Alertmanager

REFRESH = 1.0
HELD = HOLDS * REFRESH
SLACK = 3.0
"""Seconds that Alertmanager may take to notice and to tell."""


@pytest.fixture
def page():
    """The receiver that Alertmanager tells."""
    with receiving() as one:
        yield one


@pytest.fixture
def one(page, tmp_path):
    with started(Peer(tmp_path / "am", telling(page))) as (peer,):
        yield peer


class Live:
    """An office whose turns are taken as real time goes by."""

    def __init__(self, office):
        self.office = office
        self._began = time.monotonic()

    @property
    def seq(self):
        return 1 + int(time.monotonic() - self._began)

    def tell(self, *moved, notices):
        at = max(self.seq, self.office.store.next_seq())
        self.office.poll(at, *(replace(each, at=replace(each.at, seq=at)) for each in moved), notices=notices)

    def go(self, seconds):
        """Take turns for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def turn(self):
        self.office.outbox.turn(START + time.monotonic() - self._began)
        time.sleep(0.1)
        return False

    def until(self, holds):
        wait_until(lambda: holds() or self.turn())


@contextmanager
def office(path, *peers, **options):
    notifier = Alertmanager(urls=tuple(each.url for each in peers), refresh=f"{REFRESH:g}s", **options)
    with closing(Office(path / "vramwatch.db", notifier)) as opened:
        yield Live(opened)


def severities(peer):
    return sorted(each["labels"]["severity"] for each in peer.alerts())


# --- one incident -------------------------------------------------------------------------------


def test_an_incident_pages_once_stays_fresh_beyond_what_an_alert_holds_and_is_resolved_once(
    one, page, tmp_path
):
    with office(tmp_path, one) as live:
        live.tell(firing(1), notices=[Notice.OPENED])
        live.go(2 * HELD)
        (alert,) = one.alerts()
        assert datetime.fromisoformat(alert["endsAt"]) > datetime.now(UTC)
        assert notices(page) == [("page", "firing", ["chat warning firing"])]
        live.tell(resolved(20), notices=[Notice.RESOLVED])
        live.until(lambda: len(page.got) > 1)
        live.go(SLACK)
    assert notices(page)[1:] == [("page", "resolved", ["chat warning resolved"])]


def test_when_vramwatch_is_gone_its_alerts_end_and_when_it_is_back_they_fire_again(one, page, tmp_path):
    with office(tmp_path, one) as live:
        live.tell(firing(1), notices=[Notice.OPENED])
        live.until(lambda: page.got)
    wait_until(lambda: len(page.got) > 1)
    assert [status for _, status, _ in notices(page)] == ["firing", "resolved"]
    with office(tmp_path, one) as live:
        live.until(lambda: len(page.got) > 2)
    assert notices(page)[2] == ("page", "firing", ["chat warning firing"])


def test_a_change_of_severity_leaves_no_stale_alert(one, page, tmp_path):
    with office(tmp_path, one) as live:
        live.tell(firing(1), notices=[Notice.OPENED])
        live.until(lambda: page.got)
        live.tell(firing(2, severity=CRITICAL, reason=Reason.UPDATED), notices=[Notice.WORSE])
        live.until(lambda: severities(one) == ["critical"])
        live.tell(firing(3, severity=WARNING, reason=Reason.UPDATED), notices=[Notice.UPDATED])
        live.until(lambda: severities(one) == ["warning"])
        live.go(HELD)
        assert severities(one) == ["warning"]
        live.tell(resolved(4), notices=[Notice.RESOLVED])
        live.until(lambda: notices(page)[-1][1] == "resolved")
    assert one.alerts() == []


def test_an_alertmanager_that_starts_anew_learns_what_stands_with_the_next_beat(one, page, tmp_path):
    with office(tmp_path, one) as live:
        live.tell(firing(1), notices=[Notice.OPENED])
        live.until(lambda: page.got)
        one.stop()
        live.go(2 * REFRESH)
        one.start()
        assert one.alerts() == []
        live.until(one.alerts)
        assert severities(one) == ["warning"]


def test_a_silence_in_alertmanager_is_respected(one, page, tmp_path):
    add = [program("amtool"), f"--alertmanager.url={one.url}", "silence", "add"]
    why = ["--author=ops", "--comment=known", "--duration=1h", "owner=chat"]
    subprocess.run([*add, *why], check=True, capture_output=True)
    with office(tmp_path, one) as live:
        live.tell(firing(1), notices=[Notice.OPENED])
        live.until(one.alerts)
        live.go(SLACK)
        (alert,) = one.alerts()
    assert alert["status"]["state"] == "suppressed"
    assert page.got == []


def test_a_watchdog_that_is_no_longer_posted_is_told_of(page, tmp_path):
    with started(Peer(tmp_path / "am", example("servers.yml", page))) as (peer,):
        with office(tmp_path, peer, watchdog=True) as live:
            live.until(lambda: page.got)
            live.go(HELD)
        assert notices(page) == [("silence", "firing", ["VramwatchWatchdog none firing"])]
        wait_until(lambda: len(page.got) > 1)
    assert notices(page)[1] == ("silence", "resolved", ["VramwatchWatchdog none resolved"])


# --- several peers, many servers ----------------------------------------------------------------


def test_two_peers_and_a_dead_one_are_told_and_page_once(page, tmp_path):
    with receiving() as dead:
        pass
    first = Peer(tmp_path / "a", telling(page), clustered=True)
    second = Peer(tmp_path / "b", telling(page), clustered=True, joins=first.gossip)
    with started(first, second):
        wait_until(lambda: len(first.ask("/api/v2/status")["cluster"]["peers"]) == 2)
        outcome = sent(Alertmanager(urls=(dead.url, first.url, second.url)), told(firing(1)))
        assert isinstance(outcome, Delivered)
        assert f"not told: {dead.netloc}" in outcome.detail
        assert severities(first) == severities(second) == ["warning"]
        wait_until(lambda: page.got)
        time.sleep(2 * SLACK)
    assert notices(page) == [("page", "firing", ["chat warning firing"])]


def test_one_bad_roll_out_on_forty_servers_is_one_page(page, tmp_path):
    hosts = [Host(f"gpu{number}", {"rack": f"b{number % 4}"}) for number in range(40)]
    opened = {host.name: firing(1, f"chat-{host.name}", CRITICAL) for host in hosts}
    with started(Peer(tmp_path / "am", example("servers.yml", page))) as (peer,):
        notifier = Alertmanager(urls=(peer.url,))
        for host in hosts:
            sent(notifier, told(opened[host.name]), host=host)
        wait_until(lambda: page.got)
        time.sleep(SLACK)
        ((receiver, status, names),) = notices(page)
        assert (receiver, status, len(names)) == ("pager", "firing", 40)
        assert page.got[0].json["commonLabels"]["image"] == "registry.local/chat:7"
        for host in hosts:
            before = Heard(opened[host.name], opened[host.name], time.time())
            over = resolved(9, f"chat-{host.name}")
            sent(notifier, told(over, Notice.RESOLVED, heard=before), host=host)
        wait_until(lambda: notices(page)[-1][1] == "resolved")
    assert {status for _, status, _ in notices(page)[:-1]} == {"firing"}


# --- what is in deploy/ -------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yml")), ids=lambda path: path.name)
def test_amtool_finds_nothing_wrong_with_the_examples(path):
    done = subprocess.run(
        [program("amtool"), "check-config", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.parametrize(
    ("name", "labels", "receivers"),
    [
        ("servers.yml", "alertname=VramwatchIncident severity=critical owner=chat", "pager"),
        ("servers.yml", "alertname=VramwatchIncident severity=warning owner=chat", "chat"),
        ("servers.yml", "alertname=VramwatchWatchdog severity=none instance=gpu7", "silence"),
        ("teams.yml", "alertname=VramwatchIncident severity=critical team=search", "on-call,search"),
        ("teams.yml", "alertname=VramwatchIncident severity=warning team=search", "search"),
        ("teams.yml", "alertname=VramwatchIncident severity=warning namespace=ml-vision", "research"),
        ("teams.yml", "alertname=VramwatchTest severity=warning", "platform"),
    ],
)
def test_the_examples_route_alerts_to_whom_they_say(name, labels, receivers):
    asked = [program("amtool"), "config", "routes", "test", f"--config.file={EXAMPLES / name}"]
    done = subprocess.run([*asked, *labels.split()], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == receivers


def test_the_example_tells_people_who_how_much_and_what_to_run_where(page, tmp_path):
    with started(Peer(tmp_path / "am", redirected("servers.yml", page, tmp_path))) as (peer,):
        notifier = Alertmanager(urls=(peer.url,))
        for name in ("gpu1", "gpu2"):
            sent(notifier, told(firing(1, f"a-{name}")), host=Host(name))
            sent(notifier, told(firing(1, f"b-{name}", CRITICAL)), host=Host(name))
        wait_until(lambda: len(page.got) > 1)
    said = {each.path: each.json for each in page.got}
    (shown,) = said["/slack"]["attachments"]
    assert shown["title"] == "FIRING  chat on 2 GPUs"
    lines = shown["text"].splitlines()
    assert lines[0].startswith("*gpu1: WARNING  chat on GPU 0: a leak")
    assert "Why (floor): grew by 3 MiB in 1 h." in lines
    asked = lines.index("On gpu2 run:")
    assert lines[asked + 1 : asked + 3] == ["vramwatch why a-gpu2", "systemctl restart chat.service"]
    paged = said["/pagerduty"]
    assert paged["event_action"] == "trigger"
    assert paged["payload"]["summary"] == "gpu1: CRITICAL  chat on GPU 0: a leak (2 GPUs in all)"


def test_an_empty_post_and_a_test_are_taken(one):
    notifier = Alertmanager(urls=(one.url,))
    assert isinstance(sent(notifier, kind=MessageKind.HEARTBEAT), Delivered)
    assert one.alerts() == []
    assert isinstance(sent(notifier, kind=MessageKind.TEST, text="a test"), Delivered)
    assert [each["labels"]["alertname"] for each in one.alerts()] == ["VramwatchTest"]
