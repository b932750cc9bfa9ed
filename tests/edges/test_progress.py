"""How far a run is, as one row of a terminal."""

from hypothesis import given
from hypothesis import strategies as some

from vramwatch.cli.progress import course


def test_half_done_after_ten_seconds_takes_ten_more() -> None:
    assert course("reference: request 2 of 3", 0.5, 10.0) == (
        "[##########----------]  50% reference: request 2 of 3, about 10s left"
    )


def test_the_very_begin_foretells_nothing() -> None:
    assert course("importing torch", 0.0, 3.0) == "[--------------------]   0% importing torch"


def test_where_nobody_knows_the_end_what_has_passed_is_told() -> None:
    assert course("batch 8, try 3", None, 12.0) == "batch 8, try 3, 12s so far"


@given(share=some.floats(0, 1), seconds=some.floats(0, 10**5))
def test_the_bar_is_always_as_long(share, seconds) -> None:
    assert course("it", share, seconds).index("]") == 21
