"""How the layers of a traced cache are shown; no torch is needed."""

from vramwatch.cli.views.kv import Row, kinds_of

SLIDING = Row("window of 16", 15, (15_360, 65_536), (15_360, 16_384), 15_360)
FULL = Row("all tokens", 83, (65_536, 65_536), (84_992, 84_992), 84_992)


def test_layers_that_take_turns_are_one_kind_each() -> None:
    assert list(kinds_of([SLIDING, FULL, SLIDING, FULL])) == [
        ("each of the 2 layers like layer 0", 0),
        ("each of the 2 layers like layer 1", 1),
    ]


def test_equal_layers_in_a_row_are_named_from_first_to_last() -> None:
    assert list(kinds_of([FULL, *[SLIDING] * 3])) == [("layer 0", 0), ("each of layers 1 to 3", 1)]
