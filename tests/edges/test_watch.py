"""The watch while it runs: what a changed configuration does to what it remembers and has said."""

import logging

import pytest

from tests.edges.test_daemon import Hand, blind, make, told
from tests.servers import fired, leaking, play, poll, seconds, watch
from vramwatch.cli.reloading import Reload
from vramwatch.config import load
from vramwatch.config.detection import DetectionOptions
from vramwatch.core.incidents import Reason, State, Terms
from vramwatch.core.model import EventKind

LEAK = tuple(leaking(count=900, each=8.0))


def without(*names):
    return {name: each for name, each in DetectionOptions().detectors.on().items() if name not in names}


def whole_watch(count):
    """A watch that has seen ``count`` minutes of a leak, and what it said."""
    judge = watch()
    return judge, play(LEAK[:count], judge)


def rest(judge, count):
    """Have the rest of the leak judged, and return what is said."""
    return [
        moved for seq, moment in enumerate(LEAK[count:], count + 1) for moved in judge.turn(poll(seq, moment))
    ]


def firing_at():
    """The minute after the one in which the leak is told of first."""
    return round(seconds(fired(play(LEAK))[0]) / 60) + 2


# --- other options ------------------------------------------------------------------------------


def test_a_reload_of_the_same_options_changes_nothing_that_is_said():
    count = firing_at()
    judge, said = whole_watch(count)
    judge.reconfigure(DetectionOptions().detectors.on(), Terms())
    assert said + rest(judge, count) == play(LEAK)


def test_a_reload_keeps_windows_so_that_what_was_switched_on_again_finds_at_once_what_had_gathered():
    count = firing_at()
    judge = watch()
    judge.reconfigure({}, Terms())
    assert play(LEAK[:count], judge) == []
    judge.reconfigure(DetectionOptions().detectors.on(), Terms())
    first, *_ = rest(judge, count)
    assert seconds(first) <= (count + 15) * 60
    assert first.reason is Reason.SEEN


def test_an_open_incident_stays_open_where_one_of_its_detectors_is_still_on():
    count = firing_at()
    judge, said = whole_watch(count)
    judged = said[-1].incident.judgement
    assert judged.others
    judge.reconfigure(without(judged.pattern), Terms())
    assert rest(judge, count) == []
    judge.reconfigure({}, Terms())
    (moved,) = judge.turn(poll(len(LEAK) + 1, LEAK[-1]))  # it was open until now
    assert (moved.incident.id, moved.reason) == (said[-1].incident.id, Reason.SWITCHED_OFF)


def test_an_incident_that_rests_on_detectors_switched_off_alone_is_resolved_at_the_next_poll():
    count = firing_at()
    judge, said = whole_watch(count)
    judged = said[-1].incident.judgement
    judge.reconfigure(without(judged.pattern, *judged.others), Terms())
    (moved,) = judge.turn(poll(count + 1, LEAK[count]))
    assert moved.incident.state is State.RESOLVED
    assert moved.reason is Reason.SWITCHED_OFF
    assert moved.incident.id == said[-1].incident.id


def test_what_was_switched_off_is_also_resolved_after_a_restart_with_the_changed_options():
    count = firing_at()
    judge, said = whole_watch(count)
    judged = said[-1].incident.judgement
    later = watch()
    later.reconfigure(without(judged.pattern, *judged.others), Terms())
    later.restore(judge.checkpoint())
    (moved,) = later.turn(poll(count + 1, LEAK[count]))
    assert moved.reason is Reason.SWITCHED_OFF


def test_a_detector_switched_on_again_opens_the_same_incident_again():
    count = firing_at()
    judge, said = whole_watch(count)
    judge.reconfigure({}, Terms())
    judge.turn(poll(count + 1, LEAK[count]))
    judge.reconfigure(DetectionOptions().detectors.on(), Terms())
    first, *_ = rest(judge, count + 1)
    assert first.reason is Reason.RETURNED
    assert first.incident.id == said[-1].incident.id


# --- SIGHUP -------------------------------------------------------------------------------------


@pytest.fixture
def reloaded(tmp_path):
    """What SIGHUP does with a configuration file that has become another; returns its watch and events."""
    level = logging.getLogger().level

    def reload(text, judge):
        file, path = tmp_path / "config.yaml", tmp_path / "history.db"
        file.write_text("{}")
        daemon = make(Hand([(0.0, blind()), (1.0, blind())], wall=judge._clockwork.before.wall), path, judge)
        again = Reload(
            daemon,
            daemon._pipeline,
            judge,
            None,
            None,
            None,
            None,
            load(file, {}, {}),
            lambda: load(file, {}, {}),
        )
        file.write_text(text)
        daemon.call(again)
        daemon.run()
        return [each for each in told(path) if each.kind in (EventKind.RELOADED, EventKind.RELOAD_REFUSED)]

    yield reload
    logging.getLogger().setLevel(level)


def test_sighup_takes_up_detectors_and_terms_and_says_so(reloaded):
    count = firing_at()
    judge, said = whole_watch(count)
    off = ", ".join(f"{name}: off" for name in DetectionOptions().detectors.on())
    (event,) = reloaded(f"detection: {{detectors: {{{off}}}}}", judge)
    assert event.kind is EventKind.RELOADED
    assert "detection" in event.detail
    assert rest(judge, count) == []
    assert said[-1].incident.state is State.FIRING


def test_sighup_with_a_fault_in_detection_keeps_the_detectors_as_they_were(reloaded):
    count = firing_at()
    judge, said = whole_watch(count)
    (event,) = reloaded("detection: {detectors: {staircase: 5}}", judge)
    assert event.kind is EventKind.RELOAD_REFUSED
    assert "detection.detectors.staircase: neither options nor off" in event.detail
    assert said + rest(judge, count) == play(LEAK)
