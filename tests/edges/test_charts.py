"""Charts of incidents: what is drawn, and that a child draws it which the daemon survives."""

import struct
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest

from tests.incidents import COURSE, MADE, SCENE, item
from vramwatch import charts
from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.forecast import Reason as NoForecast
from vramwatch.core.messages import COURSE_STEPS
from vramwatch.core.policy import Notice
from vramwatch.core.units import GIB, MIB
from vramwatch.extras import ExtraError, ExtraTimeout, ask, is_installed

needs_matplotlib = pytest.mark.skipif(
    not is_installed("matplotlib"),
    reason="NOT TESTED: charts as they are drawn; install the extra: pip install 'vramwatchd[charts]'",
)


def picture(one, **more):
    return charts.picture(one, "gpu7", MADE, more.pop("zone", UTC))


def test_the_gpu_is_full_for_its_subject_where_others_leave_no_room():
    assert charts.full_at(item()) == 50 * GIB  # 80 in all, of which others hold 30
    assert charts.full_at(item(scene=None)) is None
    assert picture(item(course=COURSE))["full"] == 50.0


def test_the_cone_reaches_to_the_late_bound_and_time_is_shown_up_to_there():
    drawn = picture(item(course=COURSE))
    assert drawn["cone"] == [3600.0, 5400.0, 9000.0]
    assert drawn["span"] == [-21600.0, pytest.approx(9900.0)]
    assert drawn["words"].splitlines() == ["memory runs out 21:56", "(80% interval: 21:26 to 22:56)"]


def test_an_end_that_is_days_away_does_not_squeeze_the_past():
    far = Exhaustion(MADE + 3 * 86400.0, MADE + 2 * 86400.0, MADE + 5 * 86400.0)
    drawn = picture(item(course=COURSE, forecast=far))
    assert drawn["span"][1] == charts.LEAST_AHEAD
    assert drawn["words"].startswith("memory runs out 18 Nov 20:26")


def test_what_is_over_or_has_no_forecast_has_no_cone():
    for one in (
        item(Notice.RESOLVED, course=COURSE),
        item(course=COURSE, forecast=Abstention(NoForecast.THIN)),
        item(course=COURSE, forecast=Exhaustion(MADE - 9.0, MADE - 9.0, MADE - 9.0)),
    ):
        assert picture(one)["cone"] == []


def test_small_memory_is_told_in_mebibytes():
    course = tuple(100.0 * MIB for _ in range(COURSE_STEPS))
    drawn = picture(item(course=course, scene=None))
    assert (drawn["unit"], set(drawn["held"])) == ("MiB", {100.0})


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8))]
)
def test_ticks_stand_at_whole_hours_of_the_clock_that_people_read(zone):
    ticks = picture(item(course=COURSE), zone=zone)["ticks"]
    assert len(ticks) >= 3
    assert all(word.endswith(":00") for _, word in ticks)


def test_without_a_course_there_is_nothing_to_draw():
    assert charts.chart(item(), "gpu7", MADE) is None
    assert charts.chart(item(course=(None,) * COURSE_STEPS), "gpu7", MADE) is None


def test_without_the_extra_there_is_no_chart(monkeypatch):
    monkeypatch.setattr(charts, "is_installed", lambda library: False)
    assert charts.chart(item(course=COURSE), "gpu7", MADE) is None


@pytest.mark.parametrize("fault", [ExtraError("ended with 1"), ExtraTimeout("no answer within 30 s")])
def test_a_child_that_fails_costs_the_chart_alone(monkeypatch, fault):
    def fail(*_):
        raise fault

    monkeypatch.setattr(charts, "is_installed", lambda library: True)
    monkeypatch.setattr(charts, "ask", fail)
    assert charts.chart(item(course=COURSE), "gpu7", MADE) is None


def test_a_child_that_takes_too_long_is_ended(monkeypatch, tmp_path):
    from vramwatch import extras

    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ExtraTimeout):
        ask("slow", b"", 0.3)


def test_a_child_that_ends_badly_says_so_without_what_it_was_given(monkeypatch, tmp_path):
    from vramwatch import extras

    (tmp_path / "bad.py").write_text("import sys; raise ValueError(sys.stdin.read())")
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ExtraError) as caught:
        ask("bad", b"a secret", 10.0)
    assert str(caught.value) == "the child ended with 1"


def test_nothing_of_the_daemon_imports_what_the_extras_bring():
    program = (
        "import sys, vramwatch.assembly, vramwatch.config; from vramwatch.families import discover; "
        "discover('vramwatch.notifiers'); print([m for m in sys.modules if m.split('.')[0] in "
        "('matplotlib', 'apprise', 'numpy', 'PIL', 'subprocess_apprise')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@needs_matplotlib
@pytest.mark.parametrize("name", ["chat", "$\\frac{", "<!channel>", "日本語", "x" * 600])
def test_a_chart_is_a_png_that_a_phone_can_show_whatever_the_subject_is_called(name):
    course = (*COURSE[:20], None, None, *COURSE[22:])
    drawn = charts.chart(item(course=course, scene=replace(SCENE, owner=name)), "gpu7", MADE, UTC)
    assert drawn is not None
    assert struct.unpack(">II", drawn[16:24]) == (900, 562)
    assert len(drawn) < 200_000
