"""A Poll as people see it, from hand-made Polls: widths, honesty, foreign texts."""

import io
import json
import re
import unicodedata
from dataclasses import replace
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verdicts import transition
from vramwatch.cli.views.bar import COLOURS, Part, bar, marks, share_out
from vramwatch.cli.views.records import COLUMNS, gpu_records, status_record, status_rows
from vramwatch.cli.views.status import Standing, Status, status_lines
from vramwatch.cli.views.terminal import OWNER_STYLES, terminal
from vramwatch.cli.views.text import ASCII, UNICODE, columns, fit, wrap
from vramwatch.cli.views.words import BECAUSE, GHOST_STATE, explain
from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.forecast import Reason as NoForecast
from vramwatch.core.incidents import Severity, State, Subject
from vramwatch.core.model import (
    Container,
    Explanation,
    Fault,
    FaultKind,
    GhostKind,
    Gpu,
    Holding,
    Instant,
    Ledger,
    Memory,
    MemoryBasis,
    Missing,
    Owner,
    OwnerKind,
    ProcessFacts,
    ProcessKey,
    Reading,
    SeriesKey,
    SubjectKind,
    Tenant,
)
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.texts import clean
from vramwatch.core.units import GIB, MIB, Bytes, Seconds
from vramwatch.core.verdicts import Cause

AT = Instant(99, 1795406399.0, 4999.0, "boot")  # 2026-11-23 03:59:59 UTC
NOW = Instant(100, 1795406400.0, 5000.0, "boot")


def gpu(ordinal: str, parent: str | None = None) -> Gpu:
    return Gpu(f"GPU-{ordinal}-aaaa", ordinal, "NVIDIA H100 80GB HBM3", parent=parent)


def holding(
    pid: int, held: int | None, owner: str, called: str | None = None, ghost: GhostKind | None = None, **facts
) -> Holding:
    known = ProcessFacts(ProcessKey("boot", pid, 7), **facts)
    tenant = Tenant(known, Owner(owner, owner if called is None else called, OwnerKind.UNIT))
    return Holding(pid, None if held is None else Bytes(held), tenant, ghost=ghost)


def ledger(
    of: Gpu,
    *holdings: Holding,
    unattributed: int = 0,
    explanations=(),
    listed: Instant | None = AT,
    basis=MemoryBasis.V2,
) -> Ledger:
    used = sum(each.held or 0 for each in holdings) + unattributed
    reserved = 600 * MIB if basis is MemoryBasis.V2 else 0
    memory = Memory(Bytes(80 * GIB), Bytes(used), Bytes(80 * GIB - used - reserved), Bytes(reserved), basis)
    return Ledger(AT, Reading(of, memory), holdings, Bytes(unattributed), tuple(explanations), listed)


def status(*ledgers: Ledger, missing=(), pace: Pace | None = None, **known) -> Status:
    return Status(Poll(AT, ledgers, tuple(missing), (), pace), **{"now": NOW, "zone": UTC, **known})


def seen(view: Status, width: int = 100, glyphs=UNICODE) -> str:
    return "\n".join(str(each) for each in status_lines(view, width, glyphs))


BUSY = ledger(
    gpu("0"),
    holding(4242, 41 * GIB, "workload:prod/chat", "prod/chat"),
    holding(4243, 2 * GIB, "workload:prod/chat", "prod/chat"),
    holding(77, 9 * GIB, "program:1000/train.py", "alice train.py with a name that goes on and on and on"),
    holding(
        99, 2 * GIB, "unit:llama", "llama.service", GhostKind.ZOMBIE, name="llama-server", state_since=2999.0
    ),
    holding(55, None, "unit:x", "x.service"),
    unattributed=400 * MIB,
    explanations=[Explanation.WITHHELD, Explanation.MANAGED],
)


# --- what stands there --------------------------------------------------------------------------


def test_the_bar_is_divided_by_owner_with_ghost_and_reserved_parts():
    drawn = next(text for text in seen(status(BUSY), 80).splitlines() if text.startswith("ccc"))
    assert re.fullmatch(r"c{42}a{9}!!\?·{25}▒", drawn)


def test_the_processes_of_one_owner_stand_together():
    assert re.search(r"c prod/chat +43\.0 GiB +pids 4242 and 4243", seen(status(BUSY), 100))


def test_a_withheld_claim_is_not_available_and_never_zero():
    text = seen(status(BUSY))
    assert re.search(r"x x\.service +n/a +pid 55 n/a", text)
    assert "The driver does not say what pid 55 holds" in text


def test_a_ghost_names_its_last_known_owner_and_since_when():
    assert re.search(
        r"! ghost of llama.service +2\.0 GiB +pid 99, a zombie since 03:26, was llama-server",
        seen(status(BUSY), 120),
    )


def test_a_ghost_of_an_earlier_boot_has_no_since():
    old = replace(BUSY, at=replace(AT, boot_id="another"), holdings=BUSY.holdings[3:4])
    assert "a zombie, was" in seen(status(old), 120)


def test_more_claims_than_use_are_signed_and_explained_and_fill_no_more_than_what_is_used():
    shared = ledger(
        gpu("0"), holding(1, 42 * GIB, "a"), unattributed=-2 * GIB, explanations=[Explanation.SHARED]
    )
    text = seen(status(shared), 80)
    assert re.search(r"\? unattributed +-2\.0 GiB", text)
    assert "counts for its owner and again for each that imports it" in " ".join(text.split())
    assert "\n" + "a" * 40 + "·" in text


def test_the_change_over_the_last_hour_stands_beside_owner_and_gpu():
    changes = {
        SeriesKey("GPU-0-aaaa", SubjectKind.GPU, "", "used_bytes"): 1200 * MIB,
        SeriesKey("GPU-0-aaaa", SubjectKind.OWNER, "workload:prod/chat", "used_bytes"): -512 * MIB,
    }
    text = seen(status(BUSY, changes=changes, span=3600.0))
    assert "+1.2 GiB in 1h" in text
    assert re.search(r"prod/chat +43\.0 GiB +-512 MiB", text)
    assert re.search(r"alice train.py .*\n +9\.0 GiB +n/a", text)  # no history of it is no change of zero


def test_who_came_within_the_hour_is_new_and_has_no_change_that_nobody_knows():
    new = SeriesKey("GPU-0-aaaa", SubjectKind.OWNER, "workload:prod/chat", "used_bytes")
    text = seen(status(BUSY, newcomers={new}, span=3600.0))
    assert re.search(r"prod/chat +43\.0 GiB +new", text)
    assert re.search(r"alice train.py .*\n +9\.0 GiB +n/a", text)


def test_mig_instances_stand_under_their_device():
    device, first = gpu("2"), gpu("2:0", parent="GPU-2-aaaa")
    text = seen(status(ledger(gpu("10")), ledger(first), ledger(device), ledger(gpu("0"))))
    assert re.findall(r"^( *GPU \S+)", text, re.M) == ["GPU 0", "GPU 2", "  GPU 2:0", "GPU 10"]


def test_a_blind_gpu_says_since_when_and_why_and_the_others_go_on():
    fault = Fault(FaultKind.HUNG, "no answer within 5s", "nvmlDeviceGetMemoryInfo_v2", 999)
    view = status(BUSY, missing=[Missing(gpu("1"), fault)], since={"GPU-1-aaaa": NOW.wall - 2880})
    text = seen(view, 160)
    assert (
        "blind since 03:12, because the driver did not answer "
        "(GPU-1-aaaa nvmlDeviceGetMemoryInfo_v2, no answer within 5s, code 999)"
    ) in text
    assert "prod/chat" in text


def test_all_gpus_blind_come_first():
    view = status(missing=[Missing(None, Fault(FaultKind.RELEASED, "released by alice (uid 1000)"))])
    assert "All GPUs\n  blind, because an operator let go of the GPUs (released by alice" in seen(view)


def test_figures_that_stay_as_they_are_are_not_called_read_long_ago():
    """The store is told of them every half minute; they are read every second."""
    view = status(
        BUSY, pace=Pace(Seconds(1), Seconds(5), 0.001), now=replace(NOW, boottime=NOW.boottime + 14)
    )
    assert seen(view).startswith("nothing new for 15s, since 03:59:59; read every 1s\n")


def test_an_old_reading_says_its_age_once():
    assert seen(status(BUSY, now=replace(NOW, boottime=5720.0))).count("12m 1s") == 1


@pytest.mark.parametrize(
    ("standing", "heading"),
    [
        (Standing.PRESENT, ["read 12m 1s ago, at 03:59:59, every 1s"]),
        (
            Standing.STOPPED,
            [
                "The daemon was stopped at 03:59:59; start it with: vramwatch run",
                "read 12m 1s ago, at 03:59:59",
            ],
        ),
        (
            Standing.SILENT,
            [
                "The daemon has written nothing for 12m 1s; if it has ended, start it with: vramwatch run",
                "read at 03:59:59",
            ],
        ),
        (Standing.RECORDED, ["From a recording: none of this is the present", "read at 03:59:59"]),
        (
            Standing.CATCHING_UP,
            ["Simulated, catching up with the present: 12m 1s behind", "read at 03:59:59, every 1s"],
        ),
    ],
)
def test_how_the_daemon_stands_is_said_first_and_the_age_once(standing, heading):
    pace = Pace(Seconds(1), Seconds(5), 0.001)
    view = status(BUSY, pace=pace, standing=standing, now=replace(NOW, boottime=5720.0))
    assert seen(view).splitlines()[: len(heading) + 1] == [*heading, ""]


def test_a_pace_that_was_lowered_is_of_no_account_once_the_daemon_has_stopped():
    slow = Pace(Seconds(5), Seconds(60), 0.0049, "process lists take long")
    assert "more slowly" not in seen(status(BUSY, pace=slow, standing=Standing.STOPPED))


def test_a_release_promises_no_return_once_the_daemon_has_stopped():
    released = Missing(None, Fault(FaultKind.RELEASED, "released by alice (uid 1000) until 04:15:00"))
    view = status(BUSY, missing=[released], since={None: NOW.wall - 2880}, standing=Standing.STOPPED)
    assert "All GPUs\n  blind from 03:12 to the end, because an operator let go of the GPUs\n" in seen(view)


def test_a_wall_clock_that_was_set_back_makes_no_reading_younger():
    assert "read 1s ago" in seen(status(BUSY, now=replace(NOW, wall=AT.wall - 9000)))


def test_a_reading_ahead_of_this_clock_is_not_called_fresh():
    assert "ahead of this machine's clock" in seen(
        status(BUSY, now=replace(NOW, boot_id="b", wall=AT.wall - 90))
    )


def test_a_process_list_older_than_the_memory_says_so():
    lagging = replace(BUSY, listed=replace(AT, seq=50, boottime=AT.boottime - 60))
    assert "its process list is 1m older than its memory figures" in seen(status(lagging))


@pytest.mark.parametrize("explanations", [(), (Explanation.NO_LIST,)])
def test_a_source_without_process_lists_says_so_once(explanations):
    bare = ledger(gpu("0"), unattributed=GIB, explanations=explanations, listed=None)
    assert seen(status(bare)).lower().count("no process list was ever read") == 1


def test_a_pace_lowered_by_the_budget_is_said():
    slow = Pace(Seconds(5), Seconds(60), 0.0049, "process lists take long")
    text = " ".join(seen(status(BUSY, pace=slow)).split())
    assert "memory every 5s, process lists every 1m): process lists take long; 0.49% of the time" in text


def test_an_old_driver_has_no_figure_for_what_it_reserves():
    assert re.search(r"▒ reserved +n/a", seen(status(ledger(gpu("0"), basis=MemoryBasis.V1))))


@pytest.mark.parametrize("explanation", Explanation)
def test_every_explanation_is_a_sentence(explanation):
    assert re.fullmatch(r"[A-Z].{20,}\.", explain(explanation, BUSY))


def test_every_fault_and_every_ghost_has_its_words():
    assert set(BECAUSE) == set(FaultKind)
    assert set(GHOST_STATE) == set(GhostKind)


# --- any terminal, any text ---------------------------------------------------------------------

FOREIGN = st.text(max_size=60) | st.sampled_from(
    [
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07x",
        "[red]x[/red]",
        "日本語のモデル",
        "a\nb\r\tc",
        "\u202egnp.exe",
        "\ud800",
        "",
    ]
)


@given(name=FOREIGN, width=st.integers(1, 200), glyphs=st.sampled_from([UNICODE, ASCII]))
def test_no_line_is_wider_than_the_terminal_and_none_carries_a_control_character(name, width, glyphs):
    owned = ledger(
        gpu("0"), holding(123456, 41 * GIB, name, name), holding(7, 2 * GIB, "g", name, GhostKind.GONE)
    )
    below = ledger(Gpu("MIG-1", "0:0", name, parent="GPU-0-aaaa"), holding(8, None, name, name))
    lines = status_lines(status(owned, below, span=3600.0), width, glyphs)
    for each in lines:
        assert columns(str(each)) <= max(width, 40)
        assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in str(each))


@given(text=st.text(max_size=60), width=st.integers(0, 40))
def test_a_fitted_text_is_never_too_wide_and_a_short_one_stays(text, width):
    assert columns(fit(text, width, "…")) <= width or not width
    assert fit(text, 200, "…") == text


def test_a_long_name_keeps_both_its_ends():
    assert fit("prod/chat-completions-server-7", 16, "…") == "prod/cha…erver-7"


def test_a_name_without_room_beside_its_figures_has_a_line_of_its_own():
    named = ledger(
        gpu("0"),
        holding(1, 41 * GIB, "chat", "chat"),
        holding(2, 2 * GIB, "l", "model-server-launcher", GhostKind.GONE),
    )
    text = seen(status(named, span=3600.0), 40)
    assert re.search(r"  ! ghost of model-server-launcher\n +2\.0 GiB", text)
    assert re.search(r"  c chat +41\.0 GiB", text)


def test_a_name_longer_than_any_line_loses_its_middle():
    named = ledger(gpu("0"), holding(1, 41 * GIB, "k", "prod/" + "x" * 90 + "-server-7"))
    assert re.search(r"  \w prod/x+…x+-server-7\n +41\.0 GiB", seen(status(named), 60))


@given(text=FOREIGN)
def test_cleaning_is_done_once_and_for_all(text):
    assert clean(clean(text)) == clean(text)


def test_escape_sequences_leave_no_rest():
    assert clean("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x07 \x9b2Jend") == "red link end"


def test_what_looks_like_markup_is_shown_as_it_is():
    named = ledger(gpu("0"), holding(1, GIB, "k", "[bold]x[/bold] :smile:"))
    stream = Tty()
    target = terminal(stream, {"TERM": "xterm-256color"})
    target.show(status_lines(status(named), 80, UNICODE))
    assert "[bold]x[/bold] :smile:" in re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colour_and_no_color_or_a_pipe_gets_plain_text():
    lines = status_lines(status(BUSY), 80, UNICODE)
    written = {}
    for name, stream, environment in (
        ("terminal", Tty(), {"TERM": "xterm"}),
        ("no colour", Tty(), {"TERM": "xterm", "NO_COLOR": "1"}),
        ("dumb", Tty(), {"TERM": "dumb"}),
        ("pipe", io.StringIO(), {"TERM": "xterm"}),
    ):
        terminal(stream, environment).show(lines)
        written[name] = stream.getvalue()
    assert "\x1b[" in written.pop("terminal")
    assert not any("\x1b" in text for text in written.values())


def test_an_encoding_that_is_not_utf_8_gets_ascii():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    target = terminal(stream, {})
    named = ledger(gpu("0"), holding(1, 41 * GIB, "k", "日本 model"))
    target.show(status_lines(status(named), 60, target.glyphs))
    text = raw.getvalue().decode("ascii")
    assert "?? model" in text
    assert re.search(r"^m+\.+#$", text, re.M)


# --- bars and marks -----------------------------------------------------------------------------


@given(st.lists(st.integers(1, 80 * GIB), min_size=1, max_size=40), st.integers(40, 200))
def test_a_bar_is_filled_exactly_and_shows_every_part(sizes, width):
    shared = share_out(sizes, width)
    assert sum(shared) == width
    assert min(shared) >= 1


@given(st.lists(st.integers(0, 80 * GIB), max_size=80), st.integers(1, 60))
def test_a_bar_is_never_wider_than_asked(sizes, width):
    drawn = bar([Part("x", size) for size in sizes], width)
    assert columns(str(drawn)) == (width if any(sizes) else 0)


@given(st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=62))
def test_no_two_owners_share_a_letter(keys):
    given_marks = marks(Owner(key, key, OwnerKind.UNIT) for key in keys)
    assert len({mark.letter for mark in given_marks.values()}) == len(keys)
    assert all(0 <= mark.colour < COLOURS == len(OWNER_STYLES) for mark in given_marks.values())


def test_an_owner_keeps_its_mark_when_another_comes():
    chat, train = Owner("a", "chat", OwnerKind.UNIT), Owner("b", "train", OwnerKind.UNIT)
    assert marks([chat])["a"] == marks([train, chat])["a"]


# --- data ---------------------------------------------------------------------------------------


def test_data_carries_units_and_withholds_what_is_not_known():
    record = json.loads(
        json.dumps(status_record(status(BUSY, missing=[Missing(gpu("1"), Fault(FaultKind.LOST, ""))])))
    )
    assert record["time"] == AT.wall
    assert record["time_iso"] == "2026-11-23T03:59:59.000Z"
    first, second = record["gpus"]
    assert (
        first["used_bytes"]
        == sum(h["used_bytes"] or 0 for h in first["holdings"]) + first["unattributed_bytes"]
    )
    assert [h["used_bytes"] for h in first["holdings"] if h["pid"] == 55] == [None]
    assert first["change_bytes"] is None
    assert [h["ghost"]["since"] for h in first["holdings"] if h["ghost"]] == [AT.wall - 2000]
    assert second["missing"]["reason"] == "gpu_lost"
    assert "used_bytes" not in second


def test_rows_are_one_value_each_and_empty_where_it_is_withheld():
    rows = [dict(zip(COLUMNS, each, strict=True)) for each in status_rows(status(BUSY))]
    held = {each["pid"]: each["value"] for each in rows if each["pid"]}
    assert held == {4242: 41 * GIB, 4243: 2 * GIB, 77: 9 * GIB, 99: 2 * GIB, 55: ""}
    assert {each["subject_kind"] for each in rows if each["pid"] == 99} == {"ghost"}
    assert {each["quantity"] for each in rows if each["subject_kind"] == "gpu"} == {
        "used_bytes", "total_bytes", "free_bytes", "reserved_bytes"
    }  # fmt: skip


def test_one_line_of_ndjson_is_one_gpu():
    records = gpu_records(status(BUSY, ledger(gpu("1"))))
    assert [record["ordinal"] for record in records] == ["0", "1"]
    assert all(record["time"] == AT.wall for record in records)


# --- what is open ---------------------------------------------------------------------------------


def opened(id, severity, state=State.FIRING, hours=None, **more):
    end = None if hours is None else NOW.wall + 3600.0 * hours
    forecast = Abstention(NoForecast.NO_RATE) if end is None else Exhaustion(end, end - 600.0, end + 600.0)
    told = transition(AT, id, state, f"unit:{id}.service", severity=severity, forecast=forecast, **more)
    subject = replace(told.incident.subject, gpu="GPU-0-aaaa")
    return replace(told, incident=replace(told.incident, subject=subject))


def test_open_incidents_are_told_before_the_gpus_the_most_urgent_first():
    shown = seen(
        status(
            BUSY,
            incidents=(
                opened("seen", Severity.WARNING, State.PENDING, 1.0),
                opened("days", Severity.WARNING, hours=30.0, pattern="level_return"),
                opened("soon", Severity.CRITICAL, hours=0.5, pattern="fast_path"),
                opened("spike", Severity.WARNING, rate=None, pattern="spike", cause=Cause.SPIKE),
            ),
        ),
        width=150,
    ).splitlines()
    told = shown[2 : shown.index("", 2)]
    assert told == [
        "CRITICAL  soon.service on GPU 0: a leak (fast_path), +4.2 MiB an hour, memory runs out between "
        "04:20 and 04:40 (80% interval)",
        "WARNING  days.service on GPU 0: a leak (level_return), +4.2 MiB an hour, memory runs out between "
        "2026-11-24 09:50 and 2026-11-24 10:10 (80% interval)",
        "WARNING  spike.service on GPU 0: a spike (spike)",
        "pending  seen.service on GPU 0: a leak (floor), +4.2 MiB an hour, memory runs out between 04:50 and "
        "05:10 (80% interval)",
    ]
    assert any(each.startswith("GPU 0") for each in shown)


def test_an_end_that_has_passed_is_one_that_was_to_come():
    shown = seen(status(BUSY, incidents=(opened("late", Severity.CRITICAL, hours=-0.1),)), width=150)
    assert "memory was to run out between 03:44 and 04:04 (80% interval)" in shown


def test_of_one_that_somebody_has_in_hand_it_is_said_who():
    told = opened("soon", Severity.CRITICAL, hours=0.5)
    view = replace(status(BUSY, incidents=(told,)), acknowledged={"soon": "anna as root (uid 0)"})
    assert "(80% interval), acknowledged by anna as root (uid 0)\n" in seen(view, width=200)


def test_of_many_open_incidents_the_most_urgent_are_told_and_the_others_counted():
    told = tuple(opened(f"chat-{number:02}", Severity.WARNING, hours=number + 1.0) for number in range(9))
    shown = seen(status(BUSY, incidents=told), width=160)
    assert "chat-05.service" in shown
    assert "chat-06.service" not in shown
    assert "and 3 more open incidents" in shown


def test_a_trouble_of_vramwatch_itself_is_told_in_its_own_words():
    told = opened("blind", Severity.WARNING, rate=None, pattern="blind", cause=Cause.UNKNOWN)
    own = replace(told.incident, subject=Subject("", SubjectKind.VRAMWATCH, "blind"))
    shown = seen(status(BUSY, incidents=(replace(told, incident=own),)))
    assert "WARNING  vramwatch: grew by 3 MiB in 1 h\n" in shown


def test_where_nothing_is_open_nothing_is_said_of_it():
    assert seen(status(BUSY)).splitlines()[1] == ""
    assert seen(status(BUSY)).splitlines()[2].startswith("GPU 0")


# --- what is hidden ------------------------------------------------------------------------------


def test_what_proc_hides_of_those_who_are_there_stands_line_by_line_with_the_command_that_reveals_it():
    unnamed = holding(7, GIB, "container:3f2a", uid=1000, container=Container("3f2a" * 16, "docker"))
    ghost = holding(9, GIB, "unit:x", "x", GhostKind.ZOMBIE)
    known = holding(8, GIB, "slurm:train", uid=1000, environment={"SLURM_JOB_NAME": "train"})
    of = ledger(gpu("0"), unnamed, known, ghost)
    said = seen(status(of, revealing="do this"))
    assert said.endswith(
        "Hidden in the profile observe; do this tells it:\n"
        "  the name of container 3f2a3f2a3f2a, pid 7\n"
        "  who keeps the memory of the ghost pid 9\n"
        "  the environment of pid 7: the name of a Slurm job, the rank"
    )
    assert "Hidden" not in seen(status(of))
    assert "Hidden" not in seen(status(ledger(gpu("0"), known), revealing="do this"))


def test_a_path_and_a_command_are_never_broken():
    """So that they can be copied: a hyphen is no place to break at, and a long word stands alone."""
    path = "/var/lib/some-host/trial-of-today/vramwatch.db"
    words = f"Ask it with vramwatch status --store {path} in another shell"
    assert any(path in str(each) for each in wrap(words, 50, 4))
    assert any(str(each).strip() == path for each in wrap(words, 20, 2))


def test_that_remedies_are_off_is_said_with_who_did_it_and_what_ends_it():
    shown = seen(status(remedies_off="switched off by anna"))
    assert "Remedies are off (switched off by anna); vramwatch remedies on ends that." in shown
    assert "Remedies" not in seen(status())
