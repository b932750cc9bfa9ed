"""The past that the daemon stored, judged again: of samples, of minutes, by another configuration."""

import json
import shutil
from contextlib import closing
from datetime import UTC
from math import inf

import pytest
from click.testing import CliRunner

from vramwatch import assembly
from vramwatch.cli import main
from vramwatch.config import load
from vramwatch.core.incidents import Severity
from vramwatch.core.ports import Feed
from vramwatch.core.records import moment
from vramwatch.core.units import Seconds, show_seconds
from vramwatch.core.wording import clock
from vramwatch.daemon import Daemon
from vramwatch.scenario.clock import SimulatedClock
from vramwatch.scenario.schema import load_scenario
from vramwatch.scenario.server import UPTIME, Server
from vramwatch.sources.simulated import _Reads
from vramwatch.store import History, Remark, RemarkKind, Retention, Store
from vramwatch.store.desk import Desk

HOUR = 3600.0
MIDNIGHT = 1_700_006_400.0
HOURS = 12

SCENARIO = """
gpus:
  - {name: NVIDIA L40S, total: 46068MiB, reserved: 599MiB}
processes:
  - name: train
    argv: [/usr/bin/python3, train.py, --resume]
    user: alice
    uid: 1001
    gpu: 0
    load: {low: 0.5, peak: 6, period: 2h, service: 8s, slots: 64}
    memory:
      context: 600MiB
      preallocate: {size: 8GiB, over: 80s}
      leak: {per_hour: 900MiB}
      spikes: {size: 3GiB, every: 10m, lasts: 90s}
  - name: chat
    argv: [/usr/bin/python3, serve.py]
    user: alice
    uid: 1001
    unit: chat.service
    gpu: 0
    memory: {context: 600MiB, preallocate: {size: 9GiB, over: 80s}}
"""

OWNERS = """
owners:
  - {name: training, match: {command: "*train.py*"}}
  - {name: talk, match: {unit: "chat.*"}}
"""


pytestmark = pytest.mark.usefixtures("in_utc")


def lived(folder, name, raw, configuration="", hours=HOURS):
    """Run the daemon over a simulated server for so many hours; samples are kept for ``raw`` seconds."""
    scenario, config_path, path = (folder / f"{name}.{kind}" for kind in ("scenario", "yaml", "db"))
    scenario.write_text(SCENARIO)
    config_path.write_text(f"poll: {{interval: 5s, list_interval: 20s}}\n{configuration}")
    config = load(config_path, {}, {})
    server = _Reads(Server(load_scenario(scenario), 3, "simulated", booted=MIDNIGHT - UPTIME))
    span = Seconds(hours * HOUR)
    clock = SimulatedClock(
        begin=MIDNIGHT, boot_id="simulated", first_seq=1, speed=inf,
        start=span, end=Seconds(span - 1), monotonic=lambda: 0.0,
    )  # fmt: skip
    feed = Feed(source=server, people=server, clock=clock, live=False)
    with closing(Store.open(path, "simulated", "test", Retention(raw=Seconds(raw)))) as store:
        Daemon(feed, assembly.assemble(config, feed, {}), assembly.watch(config), store).run()
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return lived(tmp_path_factory.mktemp("whole"), "whole", 7 * 24 * HOUR)


@pytest.fixture(scope="module")
def aged(tmp_path_factory):
    """Of which only the last hour is kept in samples."""
    return lived(tmp_path_factory.mktemp("aged"), "aged", HOUR)


def replayed(path, *arguments, since=-1.0):
    command = ["replay", "--store", path, "--since", MIDNIGHT + since * HOUR, *arguments]
    result = CliRunner().invoke(main, list(map(str, command)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def moves(path, *arguments):
    return [json.loads(line) for line in replayed(path, "--format", "ndjson", *arguments).stdout.splitlines()]


def kept(path):
    with closing(History.open(path)) as history:
        return history.incidents(0.0, 2e9)


def configured(folder, text):
    file = folder / "other.yaml"
    file.write_text(text)
    return file


def compared(text):
    """Return the rows of the table: the subject, what was said, what is said now."""
    lines = text.splitlines()
    (title,) = (line for line in lines if "as it was said" in line)
    was, now = title.index("as it was said"), title.index("as this configuration says")
    rows = lines[lines.index(title) + 1 :]
    return [(row[:was].strip(), row[was:now].strip(), row[now:].strip()) for row in rows]


# --- from samples, and from minutes ---------------------------------------------------------------


def test_what_the_daemon_said_is_said_again_of_its_samples(whole):
    said = [(each.at.wall, each.incident.id, str(each.incident.state)) for each in kept(whole)]
    assert [state for _, _, state in said][:2] == ["pending", "firing"]
    assert [(each["time"], each["incident"], each["state"]) for each in moves(whole)] == said


def test_of_minutes_alone_the_same_growth_is_found_at_the_same_rate_within_minutes(aged):
    said, again = kept(aged), moves(aged)
    assert [str(each.incident.state) for each in said] == [each["state"] for each in again]
    for was, now in zip(said, again, strict=True):
        judged = was.incident.judgement
        assert (str(judged.cause), judged.pid) == (now["cause"], now["pid"])
        assert now["time"] == pytest.approx(was.at.wall, abs=300)
        assert now["rate_bytes_per_hour"] == pytest.approx(judged.rate.median * HOUR, rel=0.05)


def test_the_report_says_up_to_when_minutes_alone_were_there(whole, aged):
    said = "Up to 2023-11-15 09:59 no samples are kept: each minute is judged by its least, most and last."
    assert said in replayed(aged).stdout.splitlines()
    assert "no samples are kept" not in replayed(whole).output
    for form in (["--format", "ndjson"], ["--summary"]):
        told = replayed(aged, *form)
        assert told.stderr == f"vramwatch: {said}\n"
        assert "no samples" not in told.stdout


# --- another configuration ------------------------------------------------------------------------


def test_another_configuration_stands_beside_what_the_daemon_said(whole, tmp_path):
    stricter = configured(tmp_path, "detection: {warn_horizon: 3h, critical_within: 1h}\n")
    ((subject, was, now),) = compared(replayed(whole, "--config", stricter).stdout)
    assert subject == "train.py on GPU 0"
    assert was.startswith("warning 2023-11-15 0")
    assert now.startswith("seen 2023-11-15 0")


def test_what_fired_before_the_span_and_stood_is_part_of_what_was_said(whole, tmp_path):
    file = configured(tmp_path, "detection: {warn_horizon: 3h, critical_within: 1h}\n")
    ((_, whole_was, _),) = compared(replayed(whole, "--config", file).stdout)
    ((subject, was, _),) = compared(replayed(whole, "--config", file, since=HOURS - 1).stdout)
    assert (subject, was) == ("train.py on GPU 0", whole_was)


def test_where_nothing_was_said_the_other_configuration_still_stands_beside_it(tmp_path):
    quiet = lived(tmp_path, "quiet", 7 * 24 * HOUR, "detection: {warn_horizon: 1h, critical_within: 1h}\n", 9)
    with closing(History.open(quiet)) as history:
        began = next(each.at.wall for each in history.incidents(0.0, 2e9))
    file = configured(tmp_path, "detection: {warn_horizon: 7d}\n")
    rows = compared(replayed(quiet, "--config", file).stdout)
    assert [(was.split()[0], now.split()[0]) for _, was, now in rows] == [("seen", "warning")]
    assert began > MIDNIGHT


def test_processes_count_for_the_owners_that_the_other_configuration_gives_them(whole, tmp_path):
    told = replayed(whole, "--config", configured(tmp_path, OWNERS))
    rows = {subject: (was, now) for subject, was, now in compared(told.stdout)}
    assert rows["train.py on GPU 0"][1] == "nothing"
    assert rows["training on GPU 0"] == ("nothing", rows["train.py on GPU 0"][0])


def test_without_a_configuration_on_the_command_line_processes_keep_their_owners(tmp_path):
    path = lived(tmp_path, "named", 7 * 24 * HOUR, OWNERS, 5)
    assert {each["subject"]["owner"] for each in moves(path)} == {"rule:training"}
    plain = moves(path, "--config", configured(tmp_path, "owners: []\n"))
    assert {each["subject"]["owner"] for each in plain} == {"program:1001/train.py"}


def test_a_rule_on_commands_that_cannot_be_compared_is_told_of_in_one_line(whole, tmp_path):
    rules = 'owners:\n  - {name: resumed, match: {command: "*--resume-from*", user: alice}}\n'
    told = replayed(whole, "--config", configured(tmp_path, rules), "--format", "ndjson")
    assert told.stderr == (
        "vramwatch: owners: the arguments of 2 processes are not stored; the commands in 'resumed' were "
        "compared with titles alone\n"
    )
    by_unit = configured(tmp_path, 'owners:\n  - {name: talk, match: {unit: "chat.*"}}\n')
    assert replayed(whole, "--config", by_unit).stderr == ""


# --- what people have marked ----------------------------------------------------------------------


@pytest.fixture
def marked(whole, tmp_path):
    """Return what marks the only incident, in a copy of the store, and returns the copy's path."""

    def mark(*kinds):
        path = tmp_path / "marked.db"
        shutil.copy(whole, path)
        (incident,) = {each.incident.id for each in kept(path)}
        with closing(Store.open(path, "simulated", "test", Retention(raw=Seconds(7 * 24 * HOUR)))) as store:
            for kind in kinds:
                Desk(store).write_remark(Remark(incident, MIDNIGHT, kind, "anna", "", Severity.WARNING))
        return path

    return mark


@pytest.fixture
def quieter(tmp_path):
    return configured(tmp_path, "detection: {warn_horizon: 3h, critical_within: 1h}\n")


def test_a_configuration_is_held_against_what_people_have_marked(whole, marked, quieter):
    path = marked(RemarkKind.FALSE_ALARM)
    (opened, fired) = (each.at.wall for each in kept(whole)[:2])
    lines = replayed(path, "--config", quieter).stdout.splitlines()
    assert lines[-2:] == [
        "Of 1 incident marked as a false alarm it fires for 0:",
        f"    train.py on GPU 0, opened {clock(opened, UTC)}: does not fire",
    ]
    as_it_was = replayed(path).stdout.splitlines()
    assert as_it_was[-2:] == [
        "Of 1 incident marked as a false alarm it fires for 1:",
        f"    train.py on GPU 0, opened {clock(opened, UTC)}: fires {clock(fired, UTC)}, as it did",
    ]
    assert "marked" not in replayed(whole).stdout


def test_of_several_words_on_one_incident_the_newest_counts(marked):
    path = marked(RemarkKind.FALSE_ALARM, RemarkKind.TRUE_ALARM, RemarkKind.ACK)
    told = replayed(path, "--summary").stdout.splitlines()
    assert told[1:] == ["  Of 1 incident marked as a true alarm it fires for 1."]


def test_programs_get_an_object_for_each_marked_incident_after_the_transitions(whole, marked, quieter):
    path = marked(RemarkKind.TRUE_ALARM)
    first, fired = kept(whole)[:2]
    *transitions, score = moves(path)
    assert transitions == moves(whole)
    assert score == {
        "incident": first.incident.id,
        "gpu": first.incident.subject.gpu,
        "subject": {"kind": "owner", "owner": "program:1001/train.py"},
        "marked": "true_alarm",
        **moment("opened", first.at.wall),
        **moment("fired", fired.at.wall),
        **moment("fires", fired.at.wall),
        "later_seconds": 0.0,
    }
    lost = moves(path, "--config", quieter)[-1]
    assert (lost["fired"], lost["fires"], lost["later_seconds"]) == (fired.at.wall, None, None)
    summary = json.loads(replayed(path, "--summary", "--format", "json").stdout)
    assert [each.get("marked") for each in summary] == [None, "true_alarm"]
    assert "true_alarm" not in replayed(path, "--format", "csv").stdout


def test_a_true_alarm_that_comes_later_is_told_with_by_how_much(marked, tmp_path):
    path = marked(RemarkKind.TRUE_ALARM)
    later = configured(tmp_path, "detection: {warn_horizon: 16h}\n")
    score = moves(path, "--config", later)[-1]
    told = replayed(path, "--config", later).stdout.splitlines()[-1]
    assert score["later_seconds"] > 60
    assert told.endswith(f", {show_seconds(score['later_seconds'])} later")


# --- what was forgotten ---------------------------------------------------------------------------


@pytest.fixture
def forgotten(whole, tmp_path):
    """A copy in which nothing is known of the trainer, and its bytes stand as nobody's."""
    path = shutil.copy(whole, tmp_path / "forgotten.db")
    command = ["forget", "--store", str(path), "--owner", "*train*", "--yes"]
    assert CliRunner().invoke(main, command, catch_exceptions=False).exit_code == 0
    return path


def test_bytes_of_somebody_who_was_forgotten_are_no_growth_that_nobody_holds(forgotten):
    assert not moves(forgotten)
    said = replayed(forgotten)
    assert (
        "GPU 0 somebody's history was deleted: growth of nobody's bytes from before is left out"
        in said.stderr
    )


def test_history_tells_that_something_was_deleted_and_of_nobody_by_name(forgotten):
    since, until = str(MIDNIGHT), str(MIDNIGHT + HOURS * HOUR)
    command = ["history", "--store", str(forgotten), "--since", since, "--until", until]
    told = CliRunner().invoke(main, command, catch_exceptions=False).stdout
    assert "somebody's history was deleted; of before, those bytes stand as nobody's" in told
    assert "train" not in told
