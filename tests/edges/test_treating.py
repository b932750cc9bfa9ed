"""From a growth that is established to memory that came back, or to a person: the daemon and its store."""

import pytest

from tests.treated import GROWTH, KEY, Ward
from vramwatch.core.attempts import RemedyName, Result


@pytest.fixture
def ward(tmp_path):
    return Ward(tmp_path)


def test_a_worker_that_is_asked_gives_back_and_the_driver_s_figure_proves_it(ward):
    ward.live()
    (attempt,) = ward.attempts()
    assert [key for key, _ in ward.server.asked] == [KEY]
    assert attempt.apply.remedy is RemedyName.ASK
    assert attempt.result is Result.RECOVERED
    assert attempt.outcome.freed == GROWTH
    assert attempt.outcome.seconds < 2.0
    assert attempt.outcome.pause == ward.server.pause
    assert 0.25 in ward.place.waited
