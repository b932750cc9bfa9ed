"""What goes over the wire comes out as it went in, and nothing else comes out."""

import json
from dataclasses import fields
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.sdk.wire import (
    LIMIT,
    MAX_TEXT,
    STATES,
    Answer,
    Clear,
    Cleared,
    Device,
    Hello,
    Refused,
    Report,
    Welcome,
    WireError,
    decode,
    encode,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
BY_TYPE = {
    str: TEXT,
    bool: st.booleans(),
    int: st.integers(-(2**62), 2**62),
    float: st.floats(-1e15, 1e15),
    tuple[str, ...]: st.lists(TEXT, max_size=4).map(tuple),
}


def filled(kind, **given):
    """Return a strategy of ``kind``: every field of its type, None too where that means unknown."""
    hints = get_type_hints(kind)
    rest = {field.name for field in fields(kind)} - given.keys()
    return st.builds(kind, **given, **{name: of_type(hints[name]) for name in rest})


def of_type(hint):
    return BY_TYPE[hint] if hint in BY_TYPE else st.none() | BY_TYPE[int]


DEVICES = st.lists(filled(Device), max_size=4).map(tuple)
CLEARED = st.lists(filled(Cleared), max_size=4).map(tuple)
MESSAGES = st.one_of(
    filled(Hello),
    filled(Report, devices=DEVICES),
    filled(Answer, state=st.sampled_from(sorted(STATES)), cleared=CLEARED),
    filled(Welcome),
    filled(Refused),
    filled(Clear),
)


@given(MESSAGES)
def test_every_message_comes_out_as_it_went_in(message):
    assert decode(encode(message)) == message


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda it: json.dumps(it).encode())
)
def test_whatever_else_comes_is_refused_in_words_that_quote_nothing_of_it(raw):
    with pytest.raises(WireError):
        decode(raw)


@given(MESSAGES, st.integers(0, 4000))
def test_half_a_message_is_none(message, length):
    raw = encode(message)
    with pytest.raises(WireError):
        decode(raw[: min(length, len(raw) - 1)])


@pytest.mark.parametrize(
    "raw",
    [
        b'{"type":"answer","id":"a","state":"mostly"}',
        b'{"type":"report","seq":1.5}',
        b'{"type":"report","monotonic":1e999}',
        b'{"type":"report","training":1}',
        b'{"type":"report","devices":[{"allocated":1}]}',
        b'{"type":"report","devices":["GPU-1"]}',
        b'{"type":"hello","remedies":"ask"}',
        b'{"type":"hello","clears":' + json.dumps(["gc"] * 33).encode() + b"}",
        b'{"type":["hello"]}',
        b"[" * 4000,
        json.dumps({"type": "hello", "name": "x" * (MAX_TEXT + 1)}).encode(),
        b" " * LIMIT + b"{}",
    ],
)
def test_a_field_that_is_not_of_its_form_is_refused(raw):
    with pytest.raises(WireError):
        decode(raw)


def test_what_a_newer_worker_says_besides_is_passed_over():
    assert decode(b'{"type":"hello","name":"a","mood":"good"}') == Hello(name="a")


def test_a_message_that_is_too_long_is_never_sent():
    with pytest.raises(WireError, match="at most 4096"):
        encode(Hello(name="x" * 5000))


def test_the_longest_names_fit_in_any_script():
    longest = Hello(name="漢" * MAX_TEXT, model="\x00" * MAX_TEXT, group="😀" * MAX_TEXT)
    assert decode(encode(longest)) == longest


def test_half_a_character_does_not_keep_a_worker_from_enrolling():
    assert decode(encode(Hello(name="a\ud800b"))) == Hello(name="a?b")
