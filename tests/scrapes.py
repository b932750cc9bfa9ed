"""Scrapes: what /metrics answers, read by the parsers of prometheus_client."""

import http.client
from contextlib import contextmanager

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from vramwatch.web.board import Board, Tally
from vramwatch.web.health import Vitals
from vramwatch.web.server import Shown, WebServer

SEEING = Vitals(polls=7, readings=7, age=0.4, stuck_after=30.0)
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def board(*polls, **more):
    """Return what is shown after ``polls``."""
    tally = Tally()
    for each in polls:
        tally.turn(each)
    return tally.board(**more)


@contextmanager
def serving(shown=None, *, vitals=SEEING, token=None, processes=False):
    """Serve a Board (None: an empty one), or what a function returns, on a port of its own."""
    tell = shown if callable(shown) else lambda: shown or Board()
    opened = WebServer("127.0.0.1", 0, Shown(lambda: vitals, tell, token, processes))
    try:
        yield opened.port
    finally:
        opened.close()


def ask(port, path="/metrics", **headers):
    """Return status, headers and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": f"127.0.0.1:{port}", **headers})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


class Scrape:
    """One answer: ``series`` holds every sample, each by its name and its labels."""

    def __init__(self, text, read=read_text):
        self.families = list(read(text))
        told = [each for family in self.families for each in family.samples]
        self.series = {(each.name, *sorted(each.labels.items())): each.value for each in told}
        assert len(self.series) == len(told), "a series is told of twice"

    def __getitem__(self, name):
        """Return the value of the one series of ``name``."""
        ((_, value),) = self.of(name)
        return value

    def of(self, name, **labels):
        """Return labels and value of every series of ``name`` that has ``labels``."""
        found = [(dict(key[1:]), value) for key, value in self.series.items() if key[0] == name]
        return [each for each in found if labels.items() <= each[0].items()]

    def names(self):
        return {key[0] for key in self.series}


def scrape(shown, accept="", **options):
    with serving(shown, **options) as port:
        status, headers, text = ask(port, Accept=accept)
    assert status == 200, text
    is_open = headers["Content-Type"].startswith("application/openmetrics-text")
    return Scrape(text, read_openmetrics if is_open else read_text)
