"""A real Prometheus scrapes the simulated server: its rule fires, and Alertmanager receives it."""

import json
import re
import runpy

import pytest

from tests.receivers import receiving
from tests.scrapes import ask
from tests.services.alertmanager import ROOT, Peer, example, notices, started
from tests.services.prometheus import RULES, Prometheus, promtool, simulated_server
from tests.waiting import wait_until
from vramwatch.web.catalogue import ALL

CAUGHT_UP = 300.0
"""Seconds in which the simulated server has come to the present on a busy machine."""

pytestmark = pytest.mark.timeout(2 * CAUGHT_UP)


def port_of(address):
    return int(address.rpartition(":")[2])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a daemon whose simulated server leaks now."""
    channels = {"hook": {"webhook": {"url": "http://127.0.0.1:9/"}}}
    folder = tmp_path_factory.mktemp("simulated")
    with simulated_server(folder, http={"processes": True}, channels=channels) as address:
        wait_until(lambda: has_leak(address), "the leak fires", patience=CAUGHT_UP, every=0.2)
        yield address


def has_leak(address):
    try:
        text = ask(port_of(address))[2]
    except OSError:
        return False
    return re.search(r'^vramwatch_incident\{.*owner="finetune.service".*state="firing"', text, re.MULTILINE)


@pytest.fixture(scope="module")
def prometheus(server, tmp_path_factory):
    one = Prometheus(tmp_path_factory.mktemp("prometheus") / "one", server)
    with one.running():
        wait_until(lambda: one.query("count_over_time(vramwatch_up[1m]) > 3"), "it has scraped", every=0.2)
        yield one


def test_promtool_finds_nothing_to_complain_of_in_a_scrape(server):
    done = promtool("check", "metrics", input=ask(port_of(server))[2])
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words", [("check", "rules", "rules.yml"), ("check", "config", "prometheus.yml")], ids=" ".join
)
def test_promtool_finds_nothing_wrong_with_the_examples(words):
    done = promtool(*words, cwd=RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_do_what_their_tests_say():
    done = promtool("test", "rules", "rules_test.yml", cwd=RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test():
    def alerts(name, key):
        return set(re.findall(rf"{key}: (Vramwatch\w+)", (RULES / name).read_text(encoding="utf-8")))

    assert alerts("rules.yml", "alert") == alerts("rules_test.yml", "alertname")


def test_prometheus_scrapes_openmetrics_and_knows_kind_and_meaning_of_what_it_was_told(prometheus):
    known = prometheus.metadata()
    of_ours = {each.name: each for each in ALL} | {each.bare: each for each in ALL}
    told = {name: each for name, each in known.items() if name.startswith("vramwatch_")}
    assert len(told) > 25
    for name, each in told.items():
        assert (each["type"], each["help"]) == (of_ours[name].kind, of_ours[name].help)


def test_the_books_balance_in_prometheus(prometheus):
    sums = prometheus.query(
        "vramwatch_gpu_memory_used_bytes - vramwatch_gpu_memory_unattributed_bytes"
        " - on (instance, uuid) sum by (instance, uuid) (vramwatch_owner_memory_used_bytes)"
    )
    assert len(sums) == 4
    assert {value for _, value in sums} == {0.0}


def test_the_shipped_rule_fires_on_the_leak_and_alertmanager_receives_it(server, tmp_path):
    with receiving() as page, started(Peer(tmp_path / "am", example("servers.yml", page))) as (peer,):
        one = Prometheus(tmp_path / "prometheus", server, tells=[peer.netloc])
        with one.running():
            wait_until(lambda: leaks(peer), "Alertmanager has the alert", patience=60.0, every=0.2)
            wait_until(lambda: any(kind == "pager" for kind, *_ in notices(page)), "the page", every=0.2)
        (alert,) = leaks(peer)
    labels, said = alert["labels"], alert["annotations"]
    assert (labels["alertname"], labels["severity"]) == ("VramwatchIncident", "critical")
    assert labels["instance"] == server
    assert said["summary"] == f"{server}: finetune.service on GPU {labels['gpu']}"
    assert said["description"].startswith("Cause autograd, found by fast_path. Grows by ")
    assert "Memory ends in" in said["description"]
    assert said["command"] == f"vramwatch why {labels['incident']}"


def leaks(peer):
    return [each for each in peer.alerts() if each["labels"].get("owner") == "finetune.service"]


def test_a_scraper_needs_the_token_where_one_is_set(tmp_path):
    token = tmp_path / "token"
    token.write_text("s3same", encoding="utf-8")
    token.chmod(0o600)
    with simulated_server(tmp_path / "house", http={"token_file": str(token)}) as address:
        one = Prometheus(tmp_path / "without", address)
        with one.running():
            wait_until(lambda: one.query("up == 0"), "it is refused", every=0.2)
        other = Prometheus(tmp_path / "with", address, token=token)
        with other.running():
            wait_until(lambda: other.query("vramwatch_up == 1"), "it is answered", every=0.2)


# --- the dashboards -----------------------------------------------------------------------------

DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
NOT_SIMULATED = {
    "vramwatch_gpu_temperature_celsius",
    "vramwatch_gpu_power_watts",
    "vramwatch_gpu_unreadable",
    "vramwatch_nvml_errors_total",
    "vramwatch_owner_kv_retained_bytes",
    "vramwatch_remedy_results_total",
    "vramwatch_remedy_freed_bytes_total",
    "vramwatch_remedy_withheld_total",
}
"""Metrics that a healthy simulated server has no series of."""


OWNERS = ("finetune.service", "prod/draft")
"""One who leaks, and one who tells of a KV cache."""


def chosen(query, server, owner="", incident=""):
    """Return ``query`` with what somebody has chosen in Grafana."""
    values = {"instance": server, "owner": owner, "incident": incident, "__rate_interval": "10s"}
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], query)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_a_dashboard_is_answered_by_prometheus(path, server, prometheus):
    ((labels, _),) = prometheus.query('vramwatch_incident{owner="finetune.service",state="firing"}')
    panels = json.loads(path.read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) > 5
    for query in queries:
        names = set(re.findall(r"vramwatch_\w+", query))
        assert names <= {each.name for each in ALL}, query
        answers = [prometheus.query(chosen(query, server, owner, labels["incident"])) for owner in OWNERS]
        assert any(answers) or names & NOT_SIMULATED, f"{query}: nothing"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_choice_of_a_dashboard_has_values(path, server, prometheus):
    choices = json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]
    assert choices[0]["type"] == "datasource"
    for each in choices[1:]:
        metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", each["query"]["query"]).groups()
        values = prometheus.query(f"group by ({label}) ({chosen(metric, server)})")
        assert values, each["name"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_fits_the_grid_and_asks_the_chosen_prometheus(path):
    told = json.loads(path.read_text(encoding="utf-8"))
    panels = told["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    taken = set()
    for each in panels:
        place = each["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, each["title"]
        taken |= cells
        assert {target["datasource"]["uid"] for target in each["targets"]} == {"${datasource}"}
    asked = {
        name
        for each in panels
        for target in each["targets"]
        for name in re.findall(r"\$(\w+)", target["expr"])
    }
    assert asked - {"__rate_interval"} <= {each["name"] for each in told["templating"]["list"]}


def test_the_dashboards_are_what_their_program_writes():
    program = runpy.run_path(str(ROOT / "deploy" / "grafana" / "dashboards.py"))
    written = {each.name: program["text_of"](each) for each in program["DASHBOARDS"]}
    assert written == {path.stem: path.read_text(encoding="utf-8") for path in DASHBOARDS}
