"""``report``: an incident as a page of its own."""

import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner

from tests.edges.test_incident_verbs import EVIDENCE, ID, LEAK, PAST
from tests.telling import house, move
from vramwatch.cli import main
from vramwatch.cli.gathering import OWNER, Curve, gather
from vramwatch.cli.views.report_page import Origin, page
from vramwatch.core.messages import Host
from vramwatch.core.units import GIB
from vramwatch.store import History, Step


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("VRAMWATCH_CONFIG", raising=False)
    with house(tmp_path) as there:
        there.life(PAST, 16)
        yield there


def report(service, *options, code=0, id="c0f"):
    file = service.folder / "report.html"
    words = ["report", id, "-o", str(file), *options, "--config", str(service.folder / "config.yaml")]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return file.read_text() if code == 0 else result.output


class Page(HTMLParser):
    """Which tags stand in a page, whether they are closed, and what its text is."""

    VOID = frozenset({"meta"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_report_tells_what_is_known_and_every_tag_in_it_is_closed(service):
    page = Page(report(service))
    assert page.open == []
    for told in (
        "CRITICAL chat on GPU 0: a leak",
        f"{ID}@gpu7",
        "memory held at rest rose by 2.0 GiB in 3h",
        "its process has run for 9h",
        "Who held what when it opened",
        "hook",
        "delivered",
        "detection:",
    ):
        assert told in " ".join(page.text.split())
    assert {"svg", "table"} <= page.tags


def test_the_forecast_is_drawn_from_where_memory_stood_to_where_it_ends(service):
    text = report(service)
    assert text.count('class="band forecast"') == text.count('class="line forecast"') == 1


def figure(folder, words, *curves, **told):
    """The figure whose title has ``words`` in the report of a growth that was ``told`` so."""
    with house(folder) as there:
        there.life({5: (move(**LEAK | told),)}, 16)
    with closing(History.open(there.store)) as history:
        case = gather(history, history.casebook.chain(ID))
    at = (case.newest.at.wall - 1, case.newest.at.wall)
    drawn = [
        Curve(name, quantity, tuple(Step(wall, 1, held, held, held, held) for wall in at))
        for name, quantity, held in curves
    ]
    text = page(replace(case, curves=(*case.curves, *drawn)), Origin(Host("gpu7"), "test", 0.0, ""), UTC)
    (found,) = [each for each in re.findall("<figure>.*?</figure>", text, re.S) if words in each]
    assert text.count('class="line forecast"') == found.count('class="line forecast"')
    return found


def test_the_forecast_of_a_budget_is_drawn_where_its_owner_rises_towards_it(tmp_path):
    evidence = replace(EVIDENCE, numbers={**EVIDENCE.numbers, "budget_bytes": 20.0 * GIB})
    drawn = figure(tmp_path, "all together", (OWNER, "used_bytes", 17.0 * GIB), evidence=evidence)
    assert drawn.count('class="line forecast"') == 1
    assert "its budget: 20.0 GiB" in drawn


def test_the_forecast_of_a_pool_is_drawn_among_the_layers_of_its_process(tmp_path):
    kept = ("pid 4711", "engine_kv_bytes", 3.0 * GIB)
    size = ("pid 4711", "engine_pool_bytes", 12.0 * GIB)
    drawn = figure(tmp_path, "pid 4711", kept, size, pattern="pool_leak", pid=4711)
    assert drawn.count('class="line forecast"') == 1


def test_a_report_made_long_after_the_last_move_says_of_when_its_figures_are(service):
    service.life({}, 16, every=600.0)
    told = " ".join(Page(report(service)).text.split())
    assert "The figures are of 2023-11-14 22:13, when it moved last" in told
    assert "Who held what at the newest poll" in told
    assert "memory runs out in 2h 46m" not in told


def test_a_report_loads_nothing_and_runs_nothing(service):
    text = report(service)
    assert not re.search(r"<script|<link|<img|<iframe|src=|href=|url\(|@import", text)
    assert "default-src 'none'" in text


def test_a_secret_of_the_configuration_stands_in_no_report(service):
    assert service.receiver.url not in report(service)
    assert "url: '********'" in Page(report(service)).text


def test_names_that_others_chose_are_text_and_never_markup(service, tmp_path):
    config = service.folder / "config.yaml"
    config.write_text(config.read_text().replace("name: gpu7", "name: '<img src=x onerror=alert(1)>'"))
    text = report(service)
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_a_redacted_report_names_nobody_and_no_place_and_says_the_same(service):
    text = report(service, "--redact")
    for name in ("chat.service", "alice", "gpu7", "hook", str(service.folder), "GPU-hand"):
        assert name not in text
    assert "detection:" not in text
    assert "memory held at rest rose by 2.0 GiB in 3h" in text
    assert re.search(r"owner-\d+ on GPU 0: a leak", text)


def test_a_redacted_report_leaves_out_what_people_wrote_and_receivers_answered(tmp_path):
    def acknowledge(there):
        return there.ask("ack", incident=ID, note="the lab of Ada asked for it")

    with house(tmp_path) as there:
        there.receiver.answers(200, "queued for bertha")
        there.life(PAST, 16, {6: acknowledge})
        assert "Ada" in report(there)
        text = report(there, "--redact")
    assert "Ada" not in text
    assert "bertha" not in text
    assert "(left out)" in text


def test_an_incident_that_is_not_kept_is_a_fault_of_usage(service):
    assert "no incident" in report(service, id="ffff", code=2)


def test_a_file_that_cannot_be_written_is_said_with_its_reason(service):
    words = ["report", "c0f", "-o", "/nonexistent/r.html", "--config", str(service.folder / "config.yaml")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "/nonexistent/r.html: cannot be written (No such file or directory)" in result.output
