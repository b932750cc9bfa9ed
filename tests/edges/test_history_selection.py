"""``vramwatch history``: whose series, and spans of many hours."""

import json
import re
from contextlib import closing
from dataclasses import replace

import pytest

from tests.histories import ask, whole
from tests.polls import START, holding, instant, owner, poll, tenant
from vramwatch.core.model import Container, EngineFacts, Pod, SlurmJob
from vramwatch.core.units import GIB, Bytes, Seconds
from vramwatch.store import Store

CHAT, TRAIN = owner("chat"), owner("train")


pytestmark = pytest.mark.usefixtures("in_utc")


# --- whose processes ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """One process in a pod of alice's, one in a container, one job, one unit."""
    path = tmp_path_factory.mktemp("mixed") / "vramwatch.db"
    tenants = (
        tenant(1, CHAT, user="alice", uid=1000, pod=Pod("uid-1", "chat-7d9f-x2x", "prod")),
        tenant(2, CHAT, user="bob", uid=1001, container=Container("c0ffee", "docker", "web")),
        tenant(3, TRAIN, user="alice", uid=1000, slurm=SlurmJob("4711", name="sweep")),
        replace(tenant(4, TRAIN, unit="llama.service"), engine=EngineFacts("vllm")),
    )
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        for seq in range(1, 20):
            store.write(
                poll(seq, *(holding(each.facts.key.pid, Bytes(GIB), tenant=each) for each in tenants))
            )
    return path


@pytest.mark.parametrize(
    ("arguments", "pids"),
    [
        (["--user", "alice"], [1, 3]),
        (["--user", "1001"], [2]),
        (["--pod", "prod/chat-*"], [1]),
        (["--pod", "chat-7d9f-x2x"], [1]),
        (["--container", "web"], [2]),
        (["--job", "4711"], [3]),
        (["--job", "sw*"], [3]),
        (["--unit", "llama.service"], [4]),
        (["--engine", "vllm"], [4]),
        (["--user", "alice", "--owner", "train"], [3]),
    ],
)
def test_processes_go_by_user_pod_container_job_unit_and_engine(mixed, arguments, pids):
    lines = whole(mixed, *arguments, "--format", "ndjson").stdout.splitlines()
    assert sorted(json.loads(line)["series"]["pid"] for line in lines) == pids


def test_nobody_of_that_name_says_so(mixed):
    assert "such a process was not seen here" in whole(mixed, "--user", "mallory", code=2).stderr


# --- long spans ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Six hours, a reading each 20 s: chat grows; train is there from 1 h 0 min 20 s to 3 h 0 min 20 s."""
    path = tmp_path_factory.mktemp("long") / "vramwatch.db"
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        for seq in range(1, 6 * 180):
            chat = holding(10, Bytes(10 * GIB + seq * GIB // 180), CHAT)
            train = [holding(20, Bytes(5 * GIB), TRAIN)] if 180 < seq <= 540 else []
            store.write(poll(seq, chat, *train, wall=START + seq * 20))
            if seq % 180 == 0:
                while store.tend(instant(seq, START + seq * 20), Seconds(1.0)):
                    pass
    return path


def test_in_a_long_span_comings_and_goings_are_still_told_to_the_second(long):
    (chat, train) = (
        json.loads(line)["points"]
        for line in whole(long, "--owner", "*", "--format", "ndjson").stdout.splitlines()
    )
    assert len(chat) == 6 * 180 - 1
    assert [(point["time"] - START, point["used_bytes"]) for point in train] == [
        (181 * 20, 5 * GIB),
        (541 * 20, None),
    ]
    text = whole(long).stdout
    assert re.search(r"train .*\n    came 23:13; ended 01:13$", text, re.M)


def test_steps_of_hours_hold_every_reading_once(long):
    (series,) = json.loads(whole(long, "--owner", "chat", "--step", "1h", "--format", "json").stdout)
    steps = series["steps"]
    assert [step["time"] % 3600 for step in steps] == [0] * 7
    assert sum(step["count"] for step in steps) == 6 * 180 - 1
    assert [step["last_bytes"] for step in steps] == sorted(step["last_bytes"] for step in steps)
    assert steps[-1]["last_bytes"] == 10 * GIB + 1079 * GIB // 180


@pytest.mark.parametrize("arguments", [["--step", "2h"], ["--plot"], []])
def test_a_span_may_begin_within_a_step(long, arguments):
    since = START + 5000
    text = ask(long, "--since", str(since), "--owner", "chat", *arguments).stdout
    assert "from 11.4 GiB to 16.0 GiB (+4.6 GiB), peak 16.0 GiB" in text
