"""What a person reads at three in the morning."""

import json
from dataclasses import replace
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.polls import instant
from tests.verdicts import FULL, transition
from vramwatch.core.forecast import Abstention
from vramwatch.core.forecast import Reason as NoForecast
from vramwatch.core.incidents import Reason, Severity, State, Subject
from vramwatch.core.messages import (
    LISTED,
    SCHEMA,
    Host,
    Item,
    Message,
    MessageKind,
    headline,
    plain,
    record,
    sparkline,
    subject_name,
    who,
)
from vramwatch.core.model import SubjectKind
from vramwatch.core.policy import Notice
from vramwatch.core.scenes import Scene
from vramwatch.core.units import GIB
from vramwatch.core.verdicts import Cause, Rate

SCENE = Scene(
    *("0", "NVIDIA H100 80GB HBM3", 80 * GIB, 61 * GIB, 48 * GIB, "chat", "assistants"),
    *(4104, "python3", "alice", "chat.service"),
    engine="vllm",
    model="Llama-3.3-70B",
)
LEAK = replace(FULL, scene=SCENE)
HOST = Host("gpu7", {"rack": "b4"})


def about(*items, **more):
    return Message("k1", HOST, 1_700_000_000.0, items=items, **more)


def judged(transition, **changes):
    incident = transition.incident
    return replace(transition, incident=replace(incident, judgement=replace(incident.judgement, **changes)))


def test_a_message_says_all_that_a_person_needs_and_ends_with_what_to_run_and_where():
    leak = judged(LEAK, rate=Rate(GIB / 3600, 1.7 * GIB / 3600, 2 * GIB / 3600))
    assert plain(about(Item(Notice.OPENED, leak, course=(1.0 * GIB, None, 3.0 * GIB))), UTC) == (
        "gpu7: CRITICAL  chat on GPU 0: a leak, memory runs out in 1d 59m\n"
        "\n"
        "unit chat.service, vllm serving Llama-3.3-70B, pid 4104 (python3), user alice, team assistants.\n"
        "Holds 48.0 GiB; 61.0 GiB of 80.0 GiB used on GPU 0 (NVIDIA H100 80GB HBM3).\n"
        "+1.7 GiB an hour (80% interval: +1.0 GiB to +2.0 GiB), since 2023-11-14 22:13.\n"
        "Memory runs out at 2023-11-15 23:13 (80% interval: 2023-11-15 20:26 to 2023-11-16 02:00) UTC.\n"
        "Why (floor): grew by 3 MiB in 1 h.\n"
        "A restart gives the memory back and gains as much time again; the fault is in the server.\n"
        "▁ █  1.0 GiB to 3.0 GiB\n"
        "Incident chat@gpu7\n"
        "On gpu7 run:  vramwatch why chat\n"
        "On gpu7 run:  systemctl restart chat.service"
    )


def test_an_end_says_how_long_it_lasted_and_asks_for_nothing():
    at = replace(instant(7), wall=LEAK.incident.opened + 5400)
    over = replace(
        LEAK, at=at, incident=replace(LEAK.incident, state=State.RESOLVED), reason=Reason.RESTARTED
    )
    text = plain(about(Item(Notice.RESOLVED, over)), UTC)
    assert text.startswith("gpu7: RESOLVED  chat on GPU 0: a leak, the process that grew has ended\n")
    assert "for 1h 30m" in text
    assert "systemctl" not in text


def test_what_is_repeated_says_that_it_still_stands():
    assert headline(about(Item(Notice.REPEATED, LEAK))).startswith("gpu7: STILL CRITICAL  chat on GPU 0")


def test_what_is_told_later_counts_from_then_and_says_of_when_its_figures_are():
    later = Item(Notice.REPEATED, LEAK, told_at=LEAK.at.wall + 4 * 3600)
    text = plain(about(later), UTC)
    assert text.startswith("gpu7: STILL CRITICAL  chat on GPU 0: a leak, memory runs out in 20h 59m\n")
    assert "The figures are of 2023-11-14 22:13, when it moved last." in text
    assert "The figures are of" not in plain(about(Item(Notice.OPENED, LEAK, told_at=LEAK.at.wall + 60)))


def test_causes_that_cannot_be_told_apart_are_named():
    assert "It could also be allocator fragmentation" in plain(
        about(Item(Notice.OPENED, judged(LEAK, alternatives=(Cause.FRAGMENTATION,))))
    )


def test_of_a_ghost_no_forecast_is_missed_and_nothing_is_restarted():
    ghost = judged(LEAK, cause=Cause.GHOST, rate=None, forecast=Abstention(NoForecast.NO_RATE))
    text = plain(about(Item(Notice.OPENED, ghost)))
    assert "forecast" not in text
    assert text.endswith("On gpu7 run:  fuser -v /dev/nvidia*")


@pytest.mark.parametrize(
    ("gpu", "told"),
    [
        (
            "GPU-1e2feb89",
            "vramwatch release, then nvidia-smi --gpu-reset -i GPU-1e2feb89, then vramwatch resume",
        ),
        ("MIG-1e2feb89", "only a reset of the GPU gives it back"),  # a part of a device cannot be reset alone
    ],
)
def test_what_gives_a_ghosts_memory_back_names_the_gpu_as_nvidia_smi_takes_it(gpu, told):
    ghost = judged(LEAK, cause=Cause.GHOST)
    ghost = replace(ghost, incident=replace(ghost.incident, subject=replace(ghost.incident.subject, gpu=gpu)))
    text = plain(about(Item(Notice.OPENED, ghost)))
    assert f"{told}." in text


@pytest.mark.parametrize(
    ("names", "command"),
    [
        ({"pod": "chat-0", "namespace": "prod"}, "kubectl -n prod delete pod chat-0"),
        ({"container": "chat; rm -rf /"}, "docker restart 'chat; rm -rf /'"),
        ({"unit": "user@1000.slice"}, "vramwatch why chat"),
    ],
)
def test_the_next_command_is_that_of_whoever_supervises_the_process(names, command):
    scene = replace(SCENE, unit=None)
    text = plain(about(Item(Notice.OPENED, replace(LEAK, scene=replace(scene, **names)))))
    assert text.endswith(f"On gpu7 run:  {command}")


def many(count):
    return [
        Item(
            Notice.OPENED,
            replace(transition(1, f"i{n}", State.FIRING), scene=replace(SCENE, owner=f"chat {n}")),
        )
        for n in range(count)
    ]


def test_many_incidents_are_one_message_that_counts_them_and_names_the_first():
    items = [*many(63), Item(Notice.OPENED, LEAK)]
    assert headline(about(*items)) == (
        "gpu7: 1 CRITICAL, 63 WARNING: chat 0 on GPU 0, chat 1 on GPU 0, chat 2 on GPU 0 and 61 more"
    )
    text = plain(about(*items))
    assert f"and {64 - LISTED} more\n" in text
    assert text.endswith("On gpu7 run:  vramwatch incidents --open")
    assert len(text) < 8000


def test_a_message_that_may_have_arrived_before_says_so():
    assert "may be a repetition" in plain(about(Item(Notice.OPENED, LEAK), may_be_repeat=True))


def test_a_test_is_marked_as_one():
    test = Message("k", HOST, 1.0, MessageKind.TEST, text="sent by alice")
    assert plain(test) == "gpu7: TEST  vramwatch can reach this channel\nsent by alice"


def test_of_vramwatch_itself_its_own_words_are_the_headline():
    blind = replace(LEAK, scene=None)
    incident = replace(blind.incident, subject=Subject("", SubjectKind.VRAMWATCH, "blind"))
    assert headline(about(Item(Notice.OPENED, replace(blind, incident=incident)))).startswith(
        "gpu7: CRITICAL  vramwatch: grew by 3 MiB in 1 h"
    )


def test_that_vramwatch_is_well_again_is_said_before_what_was_wrong():
    own = replace(LEAK.incident, subject=Subject("", SubjectKind.VRAMWATCH, "store"), state=State.RESOLVED)
    over = replace(LEAK, incident=own, reason=Reason.CLEARED, scene=None)
    said = "gpu7: RESOLVED  vramwatch: it is no longer so: grew by 3 MiB in 1 h"
    assert headline(about(Item(Notice.RESOLVED, over))) == said
    assert "pattern" not in plain(about(Item(Notice.RESOLVED, over)), UTC).partition("Why (")[0]


def test_what_is_not_known_of_a_process_is_left_out():
    assert who(Item(Notice.OPENED, replace(LEAK, scene=replace(Scene("0", "H100"), pid=7)))) == "pid 7"
    assert who(Item(Notice.OPENED, replace(LEAK, scene=None))) == ""
    assert subject_name(LEAK.incident.subject, None) == "chat.service on GPU GPU-00000000"


@pytest.mark.parametrize(
    ("severities", "worst"),
    [(("warning", "critical"), Severity.CRITICAL), (("warning",), Severity.WARNING)],
)
def test_a_message_is_as_severe_as_the_worst_that_is_open_in_it(severities, worst):
    items = [Item(Notice.OPENED, transition(1, severity=Severity(each))) for each in severities]
    over = replace(LEAK, incident=replace(LEAK.incident, state=State.RESOLVED))
    assert about(*items, Item(Notice.RESOLVED, over)).severity is worst


def test_the_record_is_json_of_the_schema_and_holds_the_numbers():
    told = json.loads(json.dumps(record(about(Item(Notice.OPENED, LEAK)))))
    assert (told["schema"], told["key"], told["host"]) == (
        SCHEMA,
        "k1",
        {"name": "gpu7", "labels": {"rack": "b4"}},
    )
    (incident,) = told["incidents"]
    assert (incident["id"], incident["notice"], incident["severity"]) == ("chat@gpu7", "opened", "critical")
    assert incident["scene"]["held_bytes"] == 48 * GIB
    assert incident["evidence"]["growth_bytes"] == 3145728.0
    assert incident["commands"] == ["vramwatch why chat", "systemctl restart chat.service"]


NASTY = st.text(max_size=40) | st.sampled_from(["\x1b[31mred", "a\r\nBcc: x@y", "\u202eevil", "<!channel>"])


@given(owner=NASTY, unit=NASTY, program=NASTY, host=NASTY)
def test_foreign_names_bring_no_control_characters_and_no_new_lines(owner, unit, program, host):
    scene = replace(SCENE, owner=owner, unit=unit, program=program)
    item = Item(Notice.OPENED, replace(LEAK, scene=scene))
    text = plain(Message("k", Host(host or "h"), 1.0, items=(item,)))
    assert all(char == "\n" or char.isprintable() for char in text)
    reference = plain(about(Item(Notice.OPENED, LEAK)))
    assert text.count("\n") <= reference.count("\n")


@given(course=st.lists(st.none() | st.floats(0, 1e12), max_size=60))
def test_a_sparkline_has_one_character_a_value(course):
    drawn = sparkline(course)
    known = [each for each in course if each is not None]
    assert drawn == "" if not known else len(drawn.partition("  ")[0]) <= len(course) <= len(drawn)
