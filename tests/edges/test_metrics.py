"""What /metrics tells of a poll, as a scraper reads it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.incidents import SCENE
from tests.polls import blind, gpu, holding, instant, ledger, owner, poll, tenant
from tests.scrapes import OPENMETRICS, SEEING, Scrape, ask, board, scrape, serving
from tests.verdicts import FULL, RATE, transition
from vramwatch.core.attempts import Apply, Ended, Outcome, RemedyName, Result
from vramwatch.core.incidents import State
from vramwatch.core.ladder import Hindrance, WithheldApply
from vramwatch.core.model import Container, Fault, FaultKind, Gauge, GhostKind, Missing, Pod, SlurmJob
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.units import GIB, MIB, Bytes
from vramwatch.recording.long_form import GAUGES
from vramwatch.web import metrics
from vramwatch.web.board import Queue
from vramwatch.web.catalogue import ALL

USED = "vramwatch_owner_memory_used_bytes"
LOST = Fault(FaultKind.LOST, "the GPU is lost", "nvmlDeviceGetMemoryInfo_v2", 15)


def told(*holdings, **more):
    return scrape(board(poll(1, *holdings, **more)))


# --- the memory of GPUs and owners --------------------------------------------------------------


def test_the_books_of_a_gpu_balance_in_what_is_told_of_it():
    seen = told(holding(1, Bytes(3 * GIB)), holding(2, Bytes(GIB), ghost=GhostKind.ZOMBIE))
    figures = {
        each: seen[f"vramwatch_gpu_memory_{each}_bytes"]
        for each in ("total", "used", "free", "reserved", "unattributed", "ghost")
    }
    assert figures["used"] + figures["free"] + figures["reserved"] == figures["total"] == 80 * GIB
    held = sum(value for _, value in seen.of(USED))
    assert held + figures["unattributed"] == figures["used"]
    assert figures["ghost"] == GIB


def test_what_was_not_read_is_not_told_of():
    names = told(holding(1)).names()
    assert not names & {
        "vramwatch_gpu_utilization_ratio",
        "vramwatch_gpu_temperature_celsius",
        "vramwatch_gpu_power_watts",
    }


def test_an_owner_of_whom_the_driver_withholds_a_process_has_no_sum_and_is_there():
    seen = told(holding(1), holding(2, None), holding(3, of=owner("other")))
    assert [labels["owner"] for labels, _ in seen.of(USED)] == ["other"]
    assert seen.of("vramwatch_owner_processes", owner="llama")[0][1] == 2


def test_owners_have_the_labels_that_people_look_for_them_by():
    pod = Pod("2c48913c", "chat-7d9f8c6b5-x2x9z", "prod", "server")
    told_of = tenant(
        1, owner("chat"), container=Container("9f2c", "containerd", "server"), pod=pod, unit="kubelet.service"
    )
    job = tenant(2, owner("train"), slurm=SlurmJob("4711", name="train"))
    seen = told(holding(1, tenant=told_of), holding(2, tenant=job))
    ((chat, _),) = seen.of(USED, owner="chat")
    assert chat == {
        "gpu": "0",
        "uuid": "GPU-00000000",
        "owner": "chat",
        "container": "server",
        "pod": "chat-7d9f8c6b5-x2x9z",
        "namespace": "prod",
        "unit": "kubelet.service",
    }
    ((train, _),) = seen.of(USED, owner="train")
    assert train["slurm_job"] == "4711"


def test_two_pods_of_one_owner_are_two_series_and_two_processes_of_one_pod_are_one():
    def in_pod(pid, name):
        return holding(pid, tenant=tenant(pid, owner("chat"), pod=Pod(name, name, "prod")))

    seen = told(in_pod(1, "a"), in_pod(2, "b"), in_pod(3, "b"))
    assert {labels["pod"]: value / GIB for labels, value in seen.of(USED, owner="chat")} == {"a": 1, "b": 2}


def test_series_go_with_their_process():
    seen = scrape(board(poll(1, holding(1)), poll(2)))
    assert seen.of(USED) == []
    assert seen["vramwatch_gpu_memory_used_bytes"] == 10 * MIB


def test_single_processes_are_told_of_only_if_that_was_asked_for():
    shown = board(poll(1, holding(1), holding(2, None)))
    assert "vramwatch_process_memory_used_bytes" not in scrape(shown).names()
    ((labels, value),) = scrape(shown, processes=True).of("vramwatch_process_memory_used_bytes")
    assert (labels["pid"], labels["owner"], value) == ("1", "llama", GIB)


def test_the_layers_of_an_owner_are_summed_over_its_processes():
    gauges = (
        Gauge(1, "torch_reserved_bytes", 5.0),
        Gauge(2, "torch_reserved_bytes", 7.0),
        Gauge(9, "torch_reserved_bytes", 100.0),  # of nobody who is listed
        Gauge(1, "requests_total", 3.0),
    )
    seen = told(holding(1), holding(2), gauges=gauges)
    assert seen["vramwatch_owner_torch_reserved_bytes"] == 12
    assert not any("requests_total" in name for name in seen.names())


def test_names_that_other_users_choose_break_no_line_and_are_bounded():
    hostile = 'a"\\\n# HELP vramwatch_up\x1b[31m\u202e' + 5000 * "x"
    seen = told(holding(1, of=replace(owner(), name=hostile)))
    ((labels, _),) = seen.of(USED)
    assert labels["owner"].startswith('a"\\ # HELP vramwatch_upx')
    assert len(labels["owner"]) == metrics.LONGEST_LABEL


def test_owners_beyond_the_bound_are_summed_up_and_counted(monkeypatch):
    monkeypatch.setattr(metrics, "MOST_OWNERS", 3)
    holdings = [holding(pid, Bytes((10 - pid) * GIB), of=owner(f"o{pid}")) for pid in range(1, 7)]
    boards = iter([board(poll(1, *holdings)), board(poll(2, *holdings))])
    with serving(lambda: next(boards)) as port:
        for times in (1, 2):
            seen = Scrape(ask(port)[2])
            sizes = {labels["owner"]: value / GIB for labels, value in seen.of(USED)}
            assert sizes == {"o1": 9, "o2": 8, "o3": 7, metrics.OTHERS: 6 + 5 + 4}
            ((_, cut),) = seen.of("vramwatch_cut_series_total", metric=USED)
            assert cut == 3 * times


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "a\n", "", "(others)"]),
            st.sampled_from([None, "p", "p "]),
            st.one_of(st.none(), st.integers(0, 2**40)),
        ),
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_no_series_is_told_of_twice_and_no_byte_is_lost(processes, bound):
    holdings = [
        holding(pid, held, tenant=tenant(pid, replace(owner(), name=name), unit=unit))
        for pid, (name, unit, held) in enumerate(processes, 1)
    ]
    page = metrics._Page(processes=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "MOST_OWNERS", bound)
        patch.setattr(metrics, "MOST_PROCESSES", bound)
        page.tell(board(poll(1, *holdings)), SEEING)
    samples = [each for family in page.metrics() for each in family.samples]
    assert len({(each.name, *sorted(each.labels.items())) for each in samples}) == len(samples)
    counted = [each.value for each in samples if each.name == "vramwatch_owner_processes"]
    assert sum(counted) == len(processes)
    if all(held is not None for *_, held in processes):
        assert sum(each.value for each in samples if each.name == USED) == sum(h for *_, h in processes)


def test_of_shares_and_levels_the_highest_of_an_owner_is_told():
    gauges = (Gauge(1, "engine_kv_ratio", 0.5), Gauge(2, "engine_kv_ratio", 0.9))
    assert told(holding(1), holding(2), gauges=gauges)["vramwatch_owner_engine_kv_ratio"] == 0.9


# --- incidents ----------------------------------------------------------------------------------


def test_an_incident_is_told_of_with_its_growth_and_the_time_left_until_it_is_over():
    moved = replace(FULL, at=instant(7))
    first = replace(poll(7, holding(1, of=owner("chat"))), transitions=(moved,))
    seen = scrape(board(first))
    ((labels, _),) = seen.of("vramwatch_incident")
    assert labels == {
        "incident": "chat",
        "gpu": "0",
        "uuid": "GPU-00000000",
        "subject": "owner",
        "owner": "chat.service",
        "pattern": "floor",
        "cause": "leak",
        "severity": "critical",
        "state": "firing",
    }
    assert [seen[f"vramwatch_growth{bound}_bytes_per_second"] for bound in ("_low", "", "_high")] == [
        RATE.low,
        RATE.median,
        RATE.high,
    ]
    left = moved.incident.judgement.forecast
    assert [seen[f"vramwatch_exhaustion{bound}_seconds"] for bound in ("_low", "", "_high")] == [
        each - instant(7).wall for each in (left.low, left.at, left.high)
    ]
    over = replace(moved, incident=replace(moved.incident, state=State.RESOLVED))
    seen = scrape(board(first, replace(poll(8), transitions=(over,))))
    assert "vramwatch_incident" not in seen.names()
    assert "vramwatch_growth_bytes_per_second" not in seen.names()
    moves = {labels["state"]: value for labels, value in seen.of("vramwatch_incident_transitions_total")}
    assert moves == {"firing": 1, "resolved": 1}


def test_without_a_forecast_no_time_is_told():
    seen = scrape(board(replace(poll(7), transitions=(transition(7),))))
    assert "vramwatch_incident" in seen.names()
    assert not any("exhaustion" in name for name in seen.names())


def test_the_owner_of_an_incident_has_the_name_that_its_memory_has():
    owned = owner("llama")
    moved = transition(1, owner=owned.key)
    scene = replace(SCENE, owner=owned.name)
    seen = scrape(board(replace(poll(1, holding(1)), transitions=(replace(moved, scene=scene),))))
    ((memory, _),) = seen.of(USED)
    ((incident, _),) = seen.of("vramwatch_incident")
    assert memory["owner"] == incident["owner"]


# --- blindness ----------------------------------------------------------------------------------


def test_a_blind_daemon_tells_no_figure_of_a_gpu_says_why_and_counts_the_time():
    fault = Fault(FaultKind.NO_DRIVER, "there is no driver")
    seen = scrape(board(poll(1, holding(1)), blind(2, fault), blind(12, fault)))
    assert seen["vramwatch_up"] == 0
    assert not any(name.startswith(("vramwatch_gpu_memory", "vramwatch_owner")) for name in seen.names())
    assert seen.of("vramwatch_gpu_unreadable") == [({"reason": "no_driver"}, 1.0)]
    assert seen["vramwatch_blind_seconds_total"] == 10


def test_of_two_gpus_the_one_that_is_lost_is_named_and_the_other_told_of():
    other = gpu(1)
    at = instant(1)
    seen = scrape(board(Poll(at, (ledger(at, holding(1)),), (Missing(other, LOST),))))
    assert seen["vramwatch_up"] == 1
    ((labels, _),) = seen.of("vramwatch_gpu_unreadable")
    assert labels == {"gpu": "1", "uuid": other.uuid, "reason": "gpu_lost"}
    assert seen.of("vramwatch_blind_seconds_total") == [({}, 0.0)]


def test_a_poll_that_is_stuck_leaves_nothing_that_it_saw_standing():
    seen = scrape(board(poll(1, holding(1))), vitals=replace(SEEING, age=31.0))
    assert seen["vramwatch_up"] == 0
    assert USED not in seen.names()
    assert seen["vramwatch_last_poll_timestamp_seconds"] == instant(1).wall


def test_errors_of_the_driver_are_counted_by_function_and_code_and_not_while_it_is_not_asked():
    again = replace(LOST)
    seen = scrape(board(blind(1, LOST), blind(2, LOST), blind(3, again)))
    ((labels, value),) = seen.of("vramwatch_nvml_errors_total")
    assert labels == {"function": "nvmlDeviceGetMemoryInfo_v2", "code": "15"}
    assert value == 2


def test_channels_are_told_of_by_what_waits_and_whether_they_fail():
    shown = board(poll(1), queues={"hook": Queue(3, failing=True), "mail": Queue(0, failing=False)})
    seen = scrape(shown)
    assert {labels["channel"]: value for labels, value in seen.of("vramwatch_outbox_messages")} == {
        "hook": 3,
        "mail": 0,
    }
    assert {labels["channel"]: value for labels, value in seen.of("vramwatch_channel_failing")} == {
        "hook": 1,
        "mail": 0,
    }


# --- remedies -----------------------------------------------------------------------------------

NOT_DONE = WithheldApply("chat", None, Hindrance.WORKING_SET, "it came back")


def apply(id="a1", **more):
    at = "chat", "GPU-00000000", "unit:chat.service", RemedyName.ASK, (), frozenset(), "ask it", 9, 5
    return Apply(id, *at, **more)


def test_remedies_are_told_of_by_what_they_came_to_and_what_they_freed():
    def ends(result, freed=None, id="a1"):
        return (Ended(id, 0.0, Outcome(result, freed=freed)),)

    seen = scrape(
        board(
            replace(poll(1), actions=(apply(), apply("a2", dry_run=True), NOT_DONE)),
            replace(poll(2), endings=ends(Result.RECOVERED, 7 * GIB)),
            replace(poll(3), endings=ends(Result.RETURNED, 7 * GIB)),
            replace(poll(4), endings=ends(Result.UNCERTAIN, id="of another life")),
        )
    )
    assert seen["vramwatch_remedy_attempts_total"] == 2
    results = seen.of("vramwatch_remedy_results_total")
    assert {(labels["remedy"], labels["result"]): value for labels, value in results} == {
        ("ask", "dry_run"): 1,
        ("ask", "recovered"): 1,
        ("ask", "returned"): 1,
        ("unknown", "uncertain"): 1,
    }
    ((_, freed),) = seen.of("vramwatch_remedy_freed_bytes_total", remedy="ask")
    assert freed == 7 * GIB
    assert seen.of("vramwatch_remedy_withheld_total") == [({"hindrance": "working_set"}, 1.0)]


# --- the form -----------------------------------------------------------------------------------


def everything():
    gauges = tuple(Gauge(1, quantity, 1.0) for quantity in (*metrics.of.LAYERS, *metrics.of.HIGHEST))
    one = poll(7, holding(1), gauges=gauges, utilization=0.5, temperature=50.0, power=300.0)
    tried = apply()
    ended = Ended(tried.id, 0.0, Outcome(Result.RECOVERED, freed=7))
    done = {"actions": (tried, NOT_DONE), "endings": (ended,)}
    shown = replace(
        one, **done, transitions=(FULL,), missing=(Missing(gpu(1), LOST),), pace=Pace(1.0, 5.0, 0.01)
    )
    return board(shown, queues={"hook": Queue(0, failing=False)})


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS])
def test_every_metric_comes_in_both_formats_with_its_kind_and_meaning(accept):
    seen = scrape(everything(), accept, processes=True)
    families = {each.name: each for each in seen.families if each.name.startswith("vramwatch_")}
    is_open = accept == OPENMETRICS
    for each in ALL:
        name = each.bare if is_open or each.kind == "counter" else each.name
        found = families.pop(name)
        assert found.documentation == each.help
        assert found.type == ("gauge" if each.kind == "info" and not is_open else each.kind)
        for sample in found.samples:
            assert sample.name == each.name
            assert set(sample.labels) <= set(each.labels)
    assert families == {}


def test_every_metric_is_explained_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(vramwatch_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    assert sorted(explained) == [(each.name, each.kind, " ".join(each.labels), each.help) for each in ALL]


def test_no_figure_that_a_process_can_tell_is_forgotten_but_counters():
    told = {name for name in GAUGES if not name.endswith("_total")}
    assert told <= metrics.of.LAYERS.keys() | metrics.of.HIGHEST.keys()


def test_what_the_kernel_says_of_the_daemon_is_told_by_the_names_that_every_program_uses():
    seen = told(holding(1))
    assert seen["process_resident_memory_bytes"] > 0
    assert seen["process_cpu_seconds_total"] > 0
