"""Laws over every remedy that is found: off until configured, a plan at first, idle without anybody."""

import pytest
from pydantic import ValidationError

from tests.core.test_ladder import case
from vramwatch.config.remedies import RemediesOptions
from vramwatch.core.attempts import RemedyName
from vramwatch.core.ladder import NEVER, TABLE
from vramwatch.core.parties import Party, Unfit
from vramwatch.core.verdicts import Cause
from vramwatch.families import discover
from vramwatch.remedying import Remedy

FOUND = discover("vramwatch.remedies")
NEEDED = {"command": {"argv": ("/bin/true",), "owners": ("other",)}}


@pytest.fixture(params=sorted(FOUND))
def remedy(request):
    return FOUND[request.param](**NEEDED.get(request.param, {}))


def test_every_rung_of_the_ladder_is_a_file():
    assert set(FOUND) == set(RemedyName)


def test_nothing_is_on_by_default():
    assert RemediesOptions().remedies() == ()


def test_a_remedy_is_called_what_its_file_is_and_only_plans_at_first(remedy):
    assert isinstance(remedy, Remedy)
    assert FOUND[remedy.remedy] is type(remedy)
    assert remedy.is_dry


def test_a_remedy_never_changes_once_it_is_read(remedy):
    with pytest.raises(ValidationError):
        remedy.mode = "apply"


def test_without_anybody_there_is_nothing_to_do(remedy):
    assert isinstance(remedy.offer(case(), Party(None)), Unfit)


def test_every_cause_has_a_row_or_is_never_acted_on():
    assert TABLE.keys() | NEVER.keys() == set(Cause)
    assert TABLE.keys().isdisjoint(NEVER)


def test_a_remedy_stands_in_the_table_for_some_cause(remedy):
    assert any(remedy.remedy in rungs for rungs in TABLE.values())
