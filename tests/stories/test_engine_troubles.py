"""What an engine says of itself over HTTP, through the whole daemon, down to the incident and ``why``."""

import json
import os
from dataclasses import dataclass, field

import pytest
from click.testing import CliRunner

from tests.asking_engines import GAUGED, ours
from tests.engine_pages import page
from tests.receivers import answering, receiving
from tests.treated import Place, Server
from vramwatch.assembly import engines
from vramwatch.cli import main
from vramwatch.config.detection import DetectionOptions
from vramwatch.core.attribution import Surroundings
from vramwatch.core.cadence import Rates
from vramwatch.core.incidents import Terms as IncidentTerms
from vramwatch.core.owners import OwnerRule
from vramwatch.core.ports import Feed
from vramwatch.core.units import GIB, Seconds
from vramwatch.daemon import Daemon
from vramwatch.gauging import Gauging, Terms
from vramwatch.judging.watch import Watch
from vramwatch.pipeline import Pipeline
from vramwatch.store import Store

MINUTE, HALF_HOUR, HOURS = 60.0, 30, 60


@dataclass
class Engine(Place):
    """An engine that is this very process, on a simulated card; a minute passes a poll."""

    argv: tuple = ()
    says: object = None  # minute -> the page from then on
    receiver: object = None
    gauging: Gauging = field(init=False)

    def __post_init__(self):
        self.gauging = Gauging(GAUGED, Terms(Seconds(5.0)), clock=lambda: 5000.0 + self.time)
        self.tenant = ours((*self.argv, "--port", str(self.receiver.port)))

    def wait(self, interval):
        if self.polls <= 0:
            return None
        self.polls -= 1
        self.receiver.script = answering(200, self.says(int(self.time // MINUTE)))
        self.time += MINUTE
        self.gauging.look()
        return self.now()

    def facts(self, pids, at):
        return dict.fromkeys(pids, self.tenant.facts)


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Return the incident that a day with such pages comes to, and what ``why`` says of it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "vramwatch.db"

    def live(argv, says, hours):
        with receiving() as receiver:
            server = Server(held={os.getpid(): 60 * GIB}, hellos={})
            place = Engine(server, hours * HOURS, argv=argv, says=says, receiver=receiver)
            feed = Feed(place, place, place, live=False)
            pipeline = Pipeline(
                feed,
                engines=engines(),
                rules=(OwnerRule({"command": "*"}, "chat"),),
                rates=Rates(),
                owners={},
                surroundings=Surroundings(hidden_pids=False),
                insides=(place.gauging,),
            )
            watch = Watch(DetectionOptions().detectors.on(), IncidentTerms())
            Daemon(feed, pipeline, watch, Store.open(path, "hand", "test")).run()
        found = json.loads(say("incidents", "--format", "json"))
        return [(each, say("why", each["incident"])) for each in found]

    def say(*words):
        result = CliRunner().invoke(main, [*words, "--store", str(path)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return " ".join(result.stdout.split()) if words[0] == "why" else result.stdout

    return live


def vllm(share, running, waiting):
    """Return vLLM's page of such a pool; its bytes are not told by it."""
    return (
        page("vllm-0.33.txt")
        .replace("0.9875", f"{share:g}")
        .replace('"qwen3-8b"} 12.0', f'"qwen3-8b"}} {running}')
        .replace('"qwen3-8b"} 5.0', f'"qwen3-8b"}} {waiting}')
    )


def leaking(minute):
    """Of every half hour nothing runs in the last ten minutes, and each time 2 % more is not given back."""
    lost = 0.02 * (minute // HALF_HOUR)
    return vllm(lost + 0.3, 3, 0) if minute % HALF_HOUR < 20 else vllm(lost, 0, 0)


def test_a_pool_that_is_used_though_nothing_runs_is_told_as_a_share_where_its_bytes_are_unknown(told):
    ((incident, why),) = told(("vllm", "serve", "m"), leaking, 9)
    assert incident["pattern"] == "pool_leak"
    assert incident["state"] == "firing"
    assert "of the pool while nothing runs or waits rose by" in why
    assert "% in " in why
    assert "growth_ratio" in incident["evidence"]


def test_a_pool_that_gives_everything_back_is_not_spoken_of(told):
    assert (
        told(("vllm", "serve", "m"), lambda minute: vllm(0.3, 3, 0) if minute % 30 < 20 else vllm(0, 0, 0), 9)
        == []
    )


def test_requests_that_wait_for_a_full_pool_come_down_to_why(told):
    ((incident, why),) = told(
        ("vllm", "serve", "m"), lambda m: vllm(0.99, 9, 4) if m > 60 else vllm(0.2, 1, 0), 4
    )
    assert incident["pattern"] == "pool_pressure"
    assert "requests wait for a full pool: 4 now" in why


def ollama(*models):
    told = [{"name": name, "size": size * GIB, "size_vram": on_gpu * GIB} for name, size, on_gpu in models]
    return json.dumps({"models": told})


def test_models_that_do_not_fit_the_gpu_together_are_told_in_sum(told):
    page_of_two = ollama(("big", 40, 30), ("small", 20, 20))
    ((incident, why),) = told(("ollama", "serve"), lambda _: page_of_two, 2)
    assert incident["pattern"] == "spilled"
    assert "10.0 GiB of the 60.0 GiB that it has loaded lie in the host's memory" in why
