"""``vramwatch replay``: what would have been said of a recording, or of the past."""

import csv
import gzip
import io
import json
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC

import pytest
from click.testing import CliRunner

from tests.polls import START, gpu, holding, owner, poll
from tests.verdicts import transition
from vramwatch import assembly
from vramwatch.cli import main
from vramwatch.cli.views.text import plain
from vramwatch.cli.views.verdict import compared_lines, verdict_lines
from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.forecast import Reason as NoForecast
from vramwatch.core.incidents import Incident, Judgement, Reason, Severity, State, Subject, Terms, Transition
from vramwatch.core.model import SubjectKind
from vramwatch.core.units import GIB, MIB, Bytes
from vramwatch.core.verdicts import Cause, Evidence, Rate, RuledOut
from vramwatch.core.wording import forecast_words
from vramwatch.judging.watch import Watch
from vramwatch.store import Store

HEADER = "time,gpu,pid,used_bytes,total_bytes,owner"
SMI = "timestamp, index, uuid, memory.used [MiB], memory.total [MiB], utilization.gpu [%]"
HOUR = 3600.0
DAY = 24 * HOUR


pytestmark = pytest.mark.usefixtures("in_utc")


class Growth(Watch):
    """Takes every growth of an owner by 1 GiB for a leak: pending, then firing, resolved once it shrinks."""

    def __init__(self):
        super().__init__({}, Terms())
        self.first = {}
        self.state = {}

    def turn(self, poll):
        return tuple(move for ledger in poll.ledgers for move in self.look(poll.at, ledger))

    def look(self, at, ledger):
        for each in ledger.holdings:
            who = (ledger.gpu.uuid, each.tenant.owner.key)
            grown = (each.held - self.first.setdefault(who, each.held)) // GIB
            before, opened = self.state.get(who, (0, at.wall))
            if grown == before:
                continue
            self.state[who] = grown, opened if before else at.wall
            state = State.RESOLVED if not grown else State.PENDING if grown == 1 else State.FIRING
            reason = {State.RESOLVED: Reason.CLEARED, State.PENDING: Reason.SEEN}.get(
                state, Reason.ESTABLISHED
            )
            yield Transition(at, incident(who, self.state[who][1], state, grown, each.pid), reason)


def incident(who, opened, state, grown, pid):
    severity = Severity.CRITICAL if grown >= 3 else Severity.WARNING
    judgement = Judgement(
        pattern="steady_growth",
        cause=Cause.LEAK,
        severity=severity,
        evidence=Evidence("It grew at every look", {"growth_bytes": grown * GIB}, opened, opened + 60, 9),
        rate=Rate(GIB / HOUR, 2 * GIB / HOUR, 3 * GIB / HOUR),
        forecast=Abstention(NoForecast.THIN)
        if grown < 3
        else Exhaustion(START + DAY, START, START + 2 * DAY),
        ruled_out=(RuledOut(Cause.LOAD, "requests did not rise", {"requests": 3.0}),),
        pid=pid,
        others=("spike",),
    )
    return Incident(
        f"{who[1]}@{opened:.0f}", Subject(who[0], SubjectKind.OWNER, who[1]), opened, state, judgement
    )


@pytest.mark.parametrize(
    ("forecast", "budget", "words"),
    [
        (Exhaustion(START, START, START), None, "Memory runs out at 2023-11-14 22:13"),
        (
            Exhaustion(START, START, START),
            40 * GIB,
            "The budget of 40.0 GiB runs out at 2023-11-14 22:13",
        ),
        (Abstention(NoForecast.FITS), None, "No forecast: it levels off below the GPU's capacity"),
        (Abstention(NoForecast.FITS), 40 * GIB, "No forecast: it levels off below its budget"),
    ],
)
def test_it_is_said_whether_the_gpu_or_a_budget_will_be_exhausted(forecast, budget, words):
    numbers = {} if budget is None else {"budget_bytes": float(budget)}
    judgement = replace(
        incident(("GPU-a", "rule:chat"), START, State.FIRING, 3, 7).judgement,
        forecast=forecast,
        evidence=Evidence("it grew", numbers, START, START, 1),
    )
    assert forecast_words(judgement, False, UTC, 0.0).startswith(words)


@pytest.fixture
def growth(monkeypatch):
    monkeypatch.setattr(assembly, "watch", lambda _: Growth())


def written(folder, *lines, name="log.csv"):
    file = folder / name
    file.write_text("\n".join(lines) + "\n")
    return file


def recorded(folder, *sizes, name="log.csv", every=60, pid=7, begin=START):
    """One GPU with one process of the owner chat, which holds so many GiB at each look."""
    rows = []
    for place, size in enumerate(sizes):
        at = begin + place * every
        rows += [f"{at},GPU-a,,{size * GIB + MIB},{80 * GIB},", f"{at},GPU-a,{pid},{size * GIB},,rule:chat"]
    return written(folder, HEADER, *rows, name=name)


def replay(*arguments, code=0):
    result = CliRunner().invoke(main, ["replay", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def lines(*arguments):
    return [json.loads(each) for each in replay("--format", "ndjson", *arguments).stdout.splitlines()]


# --- what is said --------------------------------------------------------------------------------


def test_every_transition_is_one_object_a_line_in_replayed_time(growth, tmp_path):
    file = recorded(tmp_path, 5, 6, 7, 8, 5)
    pending, firing, critical, resolved = lines(file)
    assert pending == {
        "time": START + 60,
        "time_iso": "2023-11-14T22:14:20.000Z",
        "gpu": "GPU-a",
        "pid": 7,
        "subject": {"kind": "owner", "owner": "rule:chat"},
        "incident": f"rule:chat@{START + 60:.0f}",
        "pattern": "steady_growth",
        "state": "pending",
        "severity": "warning",
        "cause": "leak",
        "rate_bytes_per_hour": pytest.approx(2 * GIB),
        "exhaustion": None,
        "abstention": "thin_evidence",
        "evidence": {
            "growth_bytes": GIB,
            "sentence": "It grew at every look",
            "since": START + 60,
            "until": START + 120,
            "count": 9,
        },
        "reason": "seen",
        "ruled_out": [{"cause": "load", "sentence": "requests did not rise", "requests": 3.0}],
        "others": ["spike"],
        "alternatives": [],
    }
    assert [each["state"] for each in (firing, critical, resolved)] == ["firing", "firing", "resolved"]
    assert critical["severity"] == "critical"
    assert critical["exhaustion"] == {"at": START + DAY, "low": START, "high": START + 2 * DAY}
    assert resolved["time"] == START + 240


def test_several_files_are_judged_each_by_itself_and_named_as_they_were_given(growth, tmp_path):
    one = recorded(tmp_path, 5, 6, 7, name="one.csv")
    two = recorded(tmp_path, 9, 10, name="two.csv", begin=START + 1)
    said = lines(one, two)
    assert [each.pop("file") for each in said] == [str(one), str(one), str(two)]
    assert said == lines(one) + lines(two)


def test_the_first_part_of_a_file_gives_the_first_lines_of_the_whole(growth, tmp_path):
    whole, part = (5, 6, 7, 8, 5, 6), (5, 6, 7, 8)
    said = lines(recorded(tmp_path, *whole))
    assert lines(recorded(tmp_path, *part, name="part.csv")) == said[:3]


def test_json_is_one_list_and_csv_a_row_a_transition(growth, tmp_path):
    file = recorded(tmp_path, 5, 6, 7, 8)
    assert json.loads(replay("--format", "json", file).stdout) == lines(file)
    rows = list(csv.DictReader(io.StringIO(replay("--format", "csv", file).stdout)))
    assert [(row["file"], row["state"], row["severity"]) for row in rows] == [
        (str(file), "pending", "warning"),
        (str(file), "firing", "warning"),
        (str(file), "firing", "critical"),
    ]
    assert rows[0]["exhaustion_at"] == ""
    assert float(rows[2]["exhaustion_at"]) == START + DAY
    assert rows[2]["evidence"] == "It grew at every look"


def test_people_read_how_each_incident_went_and_ended(growth, tmp_path):
    text = replay(recorded(tmp_path, 5, 6, 7, 8, 5)).stdout
    assert "1 GPU, 10 rows, 2023-11-14 22:13 .. 2023-11-14 22:17 UTC (4m)" in text
    assert "CRITICAL  chat on GPU 0: a leak" in text
    assert "+2.0 GiB an hour (80% interval: +1.0 GiB to +3.0 GiB), pid 7." in text
    assert "Opened 2023-11-14 22:14, fired 2023-11-14 22:15, resolved 2023-11-14 22:17: " in text
    assert "steady_growth: It grew at every look." in text
    assert "Seen by spike too." in text
    assert "Memory would have run out at 2023-11-15 22:13 (80% interval: " in text
    assert "Not load: requests did not rise." in text


def test_people_read_that_an_incident_was_over_in_between():
    moves = [
        transition(seq, state=state, reason=reason)
        for seq, state, reason in (
            (60, State.FIRING, Reason.ESTABLISHED),
            (70, State.FIRING, Reason.UPDATED),
            (120, State.RESOLVED, Reason.CLEARED),
            (180, State.FIRING, Reason.ESTABLISHED),
        )
    ]
    said = " ".join(plain(verdict_lines(moves, {}, DAY, 120, UTC)).split())
    assert (
        "fired 2023-11-14 22:14, resolved 2023-11-14 22:15: the pattern is gone, "
        "fired again 2023-11-14 22:16, not resolved by the end." in said
    )


def test_people_read_of_a_growth_that_is_back_what_it_was_and_what_it_is_now():
    def told(seq, state, reason, hours):
        ends = START + hours * HOUR
        return transition(seq, state=state, reason=reason, forecast=Exhaustion(ends, ends, ends))

    moves = [
        told(60, State.FIRING, Reason.ESTABLISHED, 2),
        told(120, State.RESOLVED, Reason.RESTARTED, 2),
        told(180, State.PENDING, Reason.RETURNED, 9),
    ]
    said = " ".join(plain(verdict_lines(moves, {}, DAY, 120, UTC, until=START + HOUR)).split())
    assert "the process that grew has ended, seen again 2023-11-14 22:16, pending at the end." in said
    assert "Memory would have run out at 2023-11-15 00:13 (" in said
    assert "It is there again, pending: +" in said
    assert (
        "Memory runs out at 2023-11-15 07:13 (80% interval: 2023-11-15 07:13 to 2023-11-15 07:13), 8h" in said
    )


def test_beside_each_other_stands_how_often_it_fired_too():
    moves = [
        transition(seq, state=state, reason=reason)
        for seq, state, reason in (
            (60, State.FIRING, Reason.ESTABLISHED),
            (120, State.RESOLVED, Reason.CLEARED),
            (180, State.FIRING, Reason.RETURNED),
        )
    ]
    said = plain(compared_lines(moves, moves[:1], {}, 120, UTC))
    assert "warning 2023-11-14 22:14, leak, 2 times" in said
    assert said.count("times") == 1


def test_what_goes_on_at_the_end_is_told_so_with_why_there_is_no_forecast(growth, tmp_path):
    text = replay(recorded(tmp_path, 5, 6, 7)).stdout
    assert "WARNING  chat on GPU 0" in text
    assert "not resolved by the end" in text
    assert "No forecast: too little was seen" in text


def test_what_was_only_seen_did_not_fire(growth, tmp_path):
    text = replay(recorded(tmp_path, 5, 6)).stdout
    assert "seen  chat on GPU 0: a leak" in text
    assert "never fired" in text
    assert "Nothing fired in 1 GPU-minute." in text


def test_where_nothing_grows_people_read_that_and_over_how_long(growth, tmp_path):
    text = replay(recorded(tmp_path, *[5] * 25, every=3600)).stdout
    assert "No growth that ends in out-of-memory in 1 GPU-day." in text
    assert "says little" not in text
    assert replay("--format", "ndjson", recorded(tmp_path, 5, 5)).stdout == ""


def test_silence_over_minutes_is_said_to_say_little(growth, tmp_path):
    assert "in 1 GPU-minute. So short a time says little." in replay(recorded(tmp_path, 5, 5)).stdout


def test_a_log_of_nvidia_smi_is_all_that_it_takes(tmp_path):
    rows = [
        f"2026/01/31 {hour:02}:00:00.000, 0, GPU-1, {9000 + hour} MiB, 81559 MiB, 3 %" for hour in range(24)
    ]
    text = replay("--tz", "Europe/Berlin", written(tmp_path, SMI, *rows)).stdout
    assert "1 GPU, 24 rows, 2026-01-31 00:00 .. 2026-01-31 23:00 CET (23h)" in text
    assert "out-of-memory in 23 GPU-hours." in text


def test_of_memory_that_a_log_does_not_tell_nothing_is_judged_and_people_read_why(tmp_path):
    unread = [f"2026/01/31 00:{minute:02}:00.000, 0, GPU-1, [N/A], 81559 MiB, 3 %" for minute in range(12)]
    read = [f"2026/01/31 01:{minute:02}:00.000, 0, GPU-1, 9000 MiB, 81559 MiB, 3 %" for minute in range(3)]
    blind = replay("--tz", "UTC", written(tmp_path, SMI, *unread)).stdout
    assert "GPU 0 could not be read 12 times: memory.used is [N/A].\n" in blind
    assert "No memory was read, so nothing is judged.\n" in blind
    assert "No growth" not in blind
    partly = replay("--tz", "UTC", written(tmp_path, SMI, *unread, *read)).stdout
    assert "GPU 0 could not be read 12 times" in partly
    assert "Nothing fired in 2 GPU-minutes" in partly


def test_gpus_that_were_let_go_of_are_told_as_released_and_not_as_failures(tmp_path):
    rows = [
        *(f"{10 * step},0,,1000000000,80000000000," for step in range(4)),
        *(f"{10 * step},,,,,gap:released" for step in range(4, 8)),
        *(f"{10 * step},0,,1000000000,80000000000," for step in range(8, 12)),
    ]
    text = replay(written(tmp_path, "time,gpu,pid,used_bytes,total_bytes,event", *rows)).stdout
    assert "All GPUs were released once, for 40s.\n" in text
    assert "could not be read" not in text


def test_people_read_how_long_memory_lasts_after_the_last_reading(growth, tmp_path):
    text = " ".join(replay(recorded(tmp_path, 5, 6, 7, 8)).stdout.split())
    assert "Memory runs out at 2023-11-15 22:13 (80% interval: " in text
    assert "), 23h 57m after the last reading." in text


def test_a_packed_recording_and_standard_input_are_read_alike(growth, tmp_path):
    plain = recorded(tmp_path, 5, 6, 7)
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert lines(packed) == lines(plain)
    command = [sys.executable, "-m", "vramwatch", "replay", "-"]
    done = subprocess.run(command, input=plain.read_text(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("-\n1 GPU, 6 rows")
    assert done.stderr == ""


@pytest.mark.parametrize("header", [HEADER, SMI])
@pytest.mark.parametrize("output_format", ["text", "ndjson"])
def test_a_recording_of_a_header_alone_is_refused_for_silence_would_look_like_an_all_clear(
    tmp_path, header, output_format
):
    file = written(tmp_path, header)
    result = replay("--format", output_format, file, code=2)
    assert f"{file}:1: no row stands below the header; there is nothing to judge" in result.stderr
    assert result.stdout == ""


# --- --summary -----------------------------------------------------------------------------------


def test_the_summary_counts_episodes_a_gpu_week_with_the_interval_of_poisson(growth, tmp_path):
    quiet = recorded(tmp_path, *[5] * 169, every=3600)
    assert replay("--summary", quiet).stdout == (
        f"{quiet}: 0 episodes (0 warning, 0 critical) in 1 GPU-weeks: 0 a GPU-week (95 %: 0 to 3.69)\n"
    )
    (told,) = lines("--summary", quiet)
    assert told["gpu_weeks"] == 1.0
    assert told["episodes_per_gpu_week_high"] == pytest.approx(3.6889, abs=1e-3)


def test_alarms_within_an_hour_are_one_episode_as_severe_as_the_worst(growth, tmp_path):
    near = recorded(tmp_path, 5, 7, 5, 8, 5, every=1800, name="near.csv")
    far = recorded(tmp_path, 5, 7, 5, 5, 5, 5, 7, every=1800, name="far.csv")
    first, second, both = lines("--summary", near, far)
    assert (first["file"], first["warning"], first["critical"]) == (str(near), 0, 1)
    assert (second["file"], second["warning"], second["critical"]) == (str(far), 2, 0)
    assert (both["file"], both["episodes"]) == ("all", 3)
    assert both["gpu_weeks"] == pytest.approx((4 + 6) * 1800 / (7 * DAY))
    (row, *_) = csv.DictReader(io.StringIO(replay("--summary", "--format", "csv", near).stdout))
    assert row["critical"] == "1"


# --- what cannot be judged -------------------------------------------------------------------------

BRIEF = "too little to judge: seen for less than 30m after a warm-up of 30m."
BLIND = (
    "too little to judge: neither utilisation nor running requests are told, and less than a day was seen."
)


def watched(folder, lives, *, duty="", hours=6, gpus=("GPU-a",)):
    """A row a minute for each GPU and its processes; ``lives``: pid -> minutes of its life, GiB at each."""
    rows = []
    for minute in range(hours * 60):
        for uuid in gpus:
            held = {pid: size(minute) for pid, (begin, end, size) in lives.items() if begin <= minute < end}
            at = f"{START + minute * 60},{uuid}"
            rows.append(f"{at},,{(sum(held.values()) + 1) * GIB},{80 * GIB},,{duty}")
            rows += [f"{at},{pid},{size * GIB},,rule:chat," for pid, size in held.items()]
    return written(folder, f"{HEADER},utilization", *rows)


def sawtooth(minute):
    return 10 + minute % 7


def told(*arguments):
    """Return the report on one line."""
    return " ".join(replay(*arguments).stdout.split())


def test_what_was_seen_too_briefly_is_no_all_clear(tmp_path):
    text = told(recorded(tmp_path, 5, 5))
    assert f"Nothing fired in 1 GPU-minute. So short a time says little. chat on GPU 0: {BRIEF}" in text
    assert "No growth" not in text


def test_without_utilisation_what_moves_cannot_be_judged_within_a_day(tmp_path):
    assert f"Nothing fired in 5.98 GPU-hours. chat on GPU 0: {BLIND}" in told(
        watched(tmp_path, {7: (0, 999, sawtooth)})
    )


@pytest.mark.parametrize(
    ("size", "duty", "hours"), [(sawtooth, "0.5", 6), (lambda _: 10, "", 6), (sawtooth, "", 25)]
)
def test_with_utilisation_or_where_nothing_moves_or_after_a_day_silence_is_an_all_clear(
    tmp_path, size, duty, hours
):
    text = told(watched(tmp_path, {7: (0, 9999, size)}, duty=duty, hours=hours))
    assert "No growth that ends in out-of-memory" in text
    assert "too little" not in text


def test_an_owner_all_of_whose_lives_were_brief_cannot_be_judged(tmp_path):
    brief = {10 + n: (40 * n, 40 * n + 38, sawtooth) for n in range(9)}
    assert f"chat on GPU 0: {BRIEF}" in told(watched(tmp_path, brief, duty="0.5"))
    one_lasted = brief | {50: (0, 200, sawtooth)}
    assert "too little" not in told(watched(tmp_path, one_lasted, duty="0.5"))


def test_of_a_log_without_processes_the_gpu_is_what_cannot_be_judged(tmp_path):
    rows = [
        f"2026/01/31 00:{minute:02}:00.000, 0, GPU-1, {9000 + minute} MiB, 81559 MiB, 3 %"
        for minute in range(50)
    ]
    assert f"GPU 0: {BRIEF}" in told(written(tmp_path, SMI, *rows))


def test_of_many_that_lack_the_same_the_first_are_named_and_the_rest_counted(tmp_path):
    many = watched(tmp_path, {7: (0, 9, sawtooth)}, hours=1, gpus=[f"GPU-{n}" for n in range(6)])
    named = ", ".join(f"chat on GPU {n}" for n in range(4))
    assert f"{named} and 2 more: {BRIEF}" in told(many)


def test_the_summary_says_too_of_whom_there_was_too_little(tmp_path):
    file = recorded(tmp_path, 5, 5)
    lines_of_it = replay("--summary", file).stdout.splitlines()
    assert lines_of_it[0].startswith(f"{file}: 0 episodes")
    assert lines_of_it[1:] == [f"  chat on GPU 0: {BRIEF}"]


# --- bad input -----------------------------------------------------------------------------------


def test_nothing_is_said_of_files_one_of_which_cannot_be_read_to_its_end(growth, tmp_path):
    good = recorded(tmp_path, 5, 6, 7)
    bad = written(tmp_path, *good.read_text().splitlines(), "never,GPU-a,,1,2,", name="bad.csv")
    for form in ("text", "ndjson"):
        result = replay("--format", form, good, bad, code=2)
        assert result.stdout == ""
        assert f"{bad}:8: time is 'never'" in result.stderr


def test_a_pipe_too_is_read_to_its_end_before_anything_is_said(tmp_path):
    text = recorded(tmp_path, 5, 6, 7).read_text() + "never,GPU-a,,1,2,\n"
    command = [sys.executable, "-m", "vramwatch", "replay", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "/dev/stdin:8: time is 'never'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "nothing to replay"),
        (("--until", "now"), "nothing to replay"),
        (("FILE", "--since", "14d"), "write one of both"),
        (("FILE", "--store", "x.db"), "write one of both"),
        (("--since", "14d", "--tz", "UTC"), "--tz is for logs"),
        (("FILE", "--tz", "Nowhere/Land"), "'Nowhere/Land' is no time zone"),
        (("missing.csv",), "missing.csv: No such file"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(tmp_path, arguments, why):
    file = str(recorded(tmp_path, 5, 6))
    result = replay(*(file if each == "FILE" else each for each in arguments), code=2)
    assert why in result.stderr
    assert result.stdout == ""


def test_a_bad_configuration_ends_with_78(tmp_path):
    config = written(tmp_path, "pol: {}", name="config.yaml")
    assert "config.yaml:1" in replay("--config", config, recorded(tmp_path, 5), code=78).stderr


# --- the store's history -------------------------------------------------------------------------


@pytest.fixture
def store_path(tmp_path):
    path = tmp_path / "vramwatch.db"
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        for seq, size in enumerate((5, 5, 6, 7, 8, 8, 8), 1):
            store.write(poll(seq, holding(7, Bytes(size * GIB), of=owner("chat"))))
    return path


def test_stored_history_is_judged_like_a_recording(growth, store_path):
    said = lines("--store", store_path, "--since", str(START))
    assert [(each["time"] - START, each["state"]) for each in said] == [
        (3, "pending"),
        (4, "firing"),
        (5, "firing"),
    ]
    assert said[0]["gpu"] == gpu().uuid
    text = replay("--store", store_path, "--since", str(START)).stdout
    assert "CRITICAL  chat.service on GPU 0: a leak" in text or "CRITICAL  chat on GPU 0: a leak" in text


def test_history_is_judged_between_since_and_until(growth, store_path):
    said = lines("--store", store_path, "--since", str(START + 3), "--until", str(START + 4))
    assert [each["state"] for each in said] == ["pending"]


def test_a_store_that_cannot_be_used_ends_with_74(tmp_path):
    assert replay("--store", tmp_path / "none.db", "--since", "14d", code=74).stdout == ""


def test_of_a_time_without_readings_it_is_said_when_there_are_some(store_path):
    result = replay("--store", store_path, "--since", "2020-01-01", "--until", "2020-01-02")
    assert "No reading is in it" in result.stdout
    assert "no reading between" in result.stderr
    assert "the store has readings between" in result.stderr


def test_a_store_that_is_handed_in_as_a_recording_is_named_as_what_it_is(store_path):
    refused = replay(store_path, code=2)
    assert f"this is a store, and no recording; write --store {store_path} --since 14d" in refused.stderr


def test_no_bar_is_drawn_where_standard_error_is_no_terminal(growth, tmp_path):
    assert replay(recorded(tmp_path, 5, 6, 7)).stderr == ""


def test_a_gpu_that_never_holds_a_mib_is_doubted_to_count_bytes(tmp_path):
    log = tmp_path / "mib.csv"
    rows = (f"{1_700_000_000 + 10 * i},GPU-0,,{9000 + i},{81559 * MIB}," for i in range(20))
    log.write_text("\n".join([HEADER, *rows]))
    result = CliRunner().invoke(main, ["replay", str(log)])
    assert result.exit_code == 0
    said = (
        "used_bytes of GPU 0 never exceeds 9019, less than any program takes; if it counts MiB, write bytes"
    )
    assert said in result.stderr
