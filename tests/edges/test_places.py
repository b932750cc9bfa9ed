"""Where the receivers of notifiers listen, so that a sandbox that keeps the daemon from them is found out."""

import pytest

from vramwatch.notifiers.alertmanager import Alertmanager
from vramwatch.notifiers.email import Email
from vramwatch.notifiers.heartbeat import Heartbeat
from vramwatch.notifiers.journal import Journal
from vramwatch.notifiers.ntfy import Ntfy
from vramwatch.notifiers.pagerduty import Pagerduty
from vramwatch.notifiers.slack import Slack
from vramwatch.notifiers.syslog import Syslog

MAIL = {"host": "smtp.example.com", "sender": "a@example.com", "to": ["b@example.com"]}


@pytest.mark.parametrize(
    ("notifier", "places"),
    [
        (Ntfy(topic="a"), (("ntfy.sh", 443, "https"),)),
        (Ntfy(topic="a", url="http://push.lab:8080"), (("push.lab", 8080, "http"),)),
        (Pagerduty(routing_key="r"), (("events.pagerduty.com", 443, "https"),)),
        (Email(**MAIL), (("smtp.example.com", 587, ""),)),
        (Email(**MAIL, tls="implicit"), (("smtp.example.com", 465, ""),)),
        (Email(**MAIL, tls="none", port=2525), (("smtp.example.com", 2525, ""),)),
        (Syslog(address="log.example.com:6514", transport="tcp"), (("log.example.com", 6514, ""),)),
        (Syslog(address="log.example.com:514"), ()),  # no connection says whether anybody listens
        (Syslog(), ()),
        (Slack(url="https://hooks.slack.com/services/T0/B0/hush"), (("hooks.slack.com", 443, "https"),)),
        (Slack(token="xoxb-1-hush", channel="C0123456789"), (("slack.com", 443, "https"),)),
        (
            Alertmanager(urls=("http://am-0:9093", "https://am-1.example.com")),
            (("am-0", 9093, "http"), ("am-1.example.com", 443, "https")),
        ),
        (Heartbeat(url="https://hc.example.com/hush"), (("hc.example.com", 443, "https"),)),
        (Journal(), ()),
    ],
)
def test_a_notifier_says_where_its_receivers_listen(notifier, places):
    assert notifier.places() == places
