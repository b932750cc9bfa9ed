"""``vramwatch history --growth``: who grew, how fast, and what was said of it, over real stores."""

import csv
import io
import json
from contextlib import closing

import pytest

from tests.histories import ask
from tests.polls import BOOT, START, holding, ledger, owner
from tests.verdicts import transition
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Reason, Severity, State
from vramwatch.core.model import Instant
from vramwatch.core.poll import Poll
from vramwatch.core.units import GIB, MIB, Bytes, Seconds
from vramwatch.core.verdicts import Cause
from vramwatch.store import Store, moments

HOUR = 3600.0
MIDNIGHT = 1_700_006_400.0  # a whole hour of the clock
CHAT, TRAIN = owner("chat"), owner("train")


pytestmark = pytest.mark.usefixtures("in_utc")


def written(path, minutes, holdings_at, moves=None, every=10):
    """A poll every so many minutes since midnight; ``moves``: minute -> what ``transition`` is told."""
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        for minute in range(0, minutes, every):
            wall = MIDNIGHT + minute * 60
            at = Instant(minute + 1, wall, wall - START, BOOT)
            told = tuple(transition(at, **each) for each in (moves or {}).get(minute, ()))
            store.write(Poll(at, (ledger(at, *holdings_at(minute)),), transitions=told))
        while store.tend(at, Seconds(60.0)):
            pass
    return path


def growing(minute):
    """A floor that rises by 60 MiB an hour, under bursts of 4 GiB; beside it one that stands still."""
    burst = 4 * GIB if minute % 60 >= 20 else 0
    return (
        holding(10, Bytes(10 * GIB + minute * MIB + burst), CHAT),
        holding(20, Bytes(5 * GIB), TRAIN),
    )


def grown(path, *arguments, since=0.0, until=None):
    """Return the objects by the owner's name; None: the unattributed bytes."""
    span = ["--since", str(MIDNIGHT + since * HOUR)]
    span += [] if until is None else ["--until", str(MIDNIGHT + until * HOUR)]
    told = json.loads(ask(path, *span, "--growth", "--format", "json", *arguments).stdout)
    return {each["owner_name"]: each for each in told}


def text(path, *arguments):
    return ask(path, "--since", str(MIDNIGHT), "--growth", *arguments).stdout


# --- how fast -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [6, 24, 100])
def test_the_slope_is_that_of_the_floor_whatever_bursts_stand_on_it(path, hours):
    chat = grown(written(path, hours * 60, growing))["chat"]
    assert chat["slope_bytes_per_hour"] == pytest.approx(60 * MIB, rel=0.05)
    low, high = chat["slope_low_bytes_per_hour"], chat["slope_high_bytes_per_hour"]
    assert low <= chat["slope_bytes_per_hour"] <= high


def test_what_stands_still_has_a_slope_of_nothing(path):
    train = grown(written(path, 24 * 60, growing))["train"]
    figures = ("slope_bytes_per_hour", "slope_low_bytes_per_hour", "slope_high_bytes_per_hour")
    assert [train[each] for each in figures] == [0.0, 0.0, 0.0]


def test_of_too_few_floors_no_slope_is_told_and_never_a_zero(path):
    brief = written(path, 24 * 60, lambda minute: growing(minute)[: 2 if minute >= 21 * 60 else 1])
    train = grown(brief)["train"]
    assert train["growth_bytes"] == 5 * GIB
    figures = ("slope_bytes_per_hour", "slope_low_bytes_per_hour", "slope_high_bytes_per_hour")
    assert [train[each] for each in figures] == [None, None, None]
    lines = text(brief).splitlines()
    (row,) = (place for place, line in enumerate(lines) if "train" in line)
    assert lines[row + 1] == "    - an hour"


def test_people_read_the_slope_with_its_interval(path):
    exact = written(path, 24 * 60, lambda minute: [holding(10, Bytes(10 * GIB + minute * MIB), CHAT)])
    assert "\n    +60.0 MiB an hour (80% interval: +60.0 MiB to +60.0 MiB)\n" in text(exact)


def test_the_slope_of_another_quantity_is_in_its_unit(path):
    written(path, 24 * 60, growing)
    (total,) = grown(path, "--quantity", "total_bytes").values()
    assert total["slope_bytes_per_hour"] == 0.0


def test_over_a_long_span_no_samples_are_unpacked_but_those_at_its_ends(path, monkeypatch):
    written(path, 30 * 24 * 60, growing, every=30)
    unpacked = []
    decode = moments.decode_part
    monkeypatch.setattr(moments, "decode_part", lambda *told: unpacked.append(1) or decode(*told))
    assert grown(path)["chat"]["slope_bytes_per_hour"] == pytest.approx(60 * MIB, rel=0.05)
    assert len(unpacked) < 24


# --- what was said --------------------------------------------------------------------------------

SEEN = {"id": "a1", "state": State.PENDING}
FIRING = {"id": "a1", "state": State.FIRING, "severity": Severity.CRITICAL, "reason": Reason.ESTABLISHED}
OVER = {"id": "a1", "state": State.RESOLVED, "reason": Reason.CLEARED}


@pytest.fixture
def told(path):
    """Chat is seen in hour 2, fires in hour 4, and is over in hour 8; nobody's bytes are seen in hour 20."""
    nobodys = {"id": "b2", "owner": None, "cause": Cause.GHOST}
    return written(path, 24 * 60, growing, {120: [SEEN], 240: [FIRING], 480: [OVER], 1200: [nobodys]})


def test_the_verdict_is_how_the_subjects_incident_stood_at_the_end_of_the_span(told):
    assert grown(told, until=6)["chat"]["verdict"] == {
        "time": MIDNIGHT + 4 * HOUR,
        "time_iso": "2023-11-15T04:00:00.000Z",
        "incident": "a1",
        "state": "firing",
        "severity": "critical",
        "cause": "leak",
    }
    assert grown(told)["chat"]["verdict"]["state"] == "resolved"
    assert grown(told)["train"]["verdict"] is None
    assert grown(told)[None]["verdict"]["cause"] == "ghost"


def test_an_incident_that_goes_on_from_before_the_span_is_its_verdict_and_one_that_was_over_is_not(told):
    assert grown(told, since=5, until=7)["chat"]["verdict"]["state"] == "firing"
    assert grown(told, since=9)["chat"]["verdict"] is None
    assert grown(told, until=1)["chat"]["verdict"] is None


def test_of_two_incidents_the_newer_one_is_told(path):
    again = {"id": "c3", "state": State.PENDING, "cause": Cause.LOAD}
    written(path, 24 * 60, growing, {120: [FIRING], 480: [OVER], 600: [again]})
    assert grown(path)["chat"]["verdict"]["incident"] == "c3"


def test_a_process_has_the_verdict_that_names_its_pid(path):
    written(path, 24 * 60, growing, {120: [{**FIRING, "pid": 10}]})
    assert grown(path, "--pid", "10")["chat"]["verdict"]["incident"] == "a1"
    other = written(path.with_name("other.db"), 24 * 60, growing, {120: [{**FIRING, "pid": 11}]})
    assert grown(other, "--pid", "10")["chat"]["verdict"] is None


def test_people_read_the_verdict_below_the_figures(told):
    assert "\n    resolved, warning: a leak (incident a1)\n" in text(told)
    now = ask(told, "--since", str(MIDNIGHT), "--until", str(MIDNIGHT + 6 * HOUR), "--growth").stdout
    assert "\n    firing, critical: a leak (incident a1)\n" in now


def test_people_read_when_memory_ends_that_grows_still(path):
    ends = MIDNIGHT + 60 * HOUR
    written(path, 24 * 60, growing, {120: [{**FIRING, "forecast": Exhaustion(ends, ends, ends)}]})
    assert "a leak, memory runs out 2023-11-17 12:00 (incident a1)" in " ".join(text(path).split())


def test_rows_of_csv_and_lines_of_ndjson_tell_slope_and_verdict_too(told):
    rows = csv.DictReader(io.StringIO(text(told, "--format", "csv")))
    by_owner = {row["owner"]: row for row in rows}
    chat, train = by_owner[CHAT.key], by_owner[TRAIN.key]
    known = grown(told)["chat"]
    assert float(chat["slope_per_hour"]) == known["slope_bytes_per_hour"]
    assert float(chat["slope_low_per_hour"]) == known["slope_low_bytes_per_hour"]
    assert float(chat["slope_high_per_hour"]) == known["slope_high_bytes_per_hour"]
    assert [chat[each] for each in ("incident", "state", "severity", "cause")] == [
        "a1", "resolved", "warning", "leak",
    ]  # fmt: skip
    assert [train[each] for each in ("incident", "state", "severity", "cause")] == [""] * 4
    lines = [json.loads(line) for line in text(told, "--format", "ndjson").splitlines()]
    assert known in lines


@pytest.mark.parametrize("width", [60, 72])
def test_on_a_narrow_terminal_it_is_not_the_name_that_gives_way(told, monkeypatch, width):
    monkeypatch.setattr("vramwatch.cli.views.terminal.PIPED_WIDTH", width)
    assert [each for each in text(told).splitlines() if each.startswith("GPU 0  chat ")]
