"""What log lines say about memory that ran out."""

import json
import re
from pathlib import Path
from re import _constants, _parser

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core import oom_lines
from vramwatch.core.oom_lines import LARGEST, LINE_LIMIT, TRIGGERS, OomKind, parse

FIXTURES = Path(__file__).parent.parent / "fixtures" / "oom_lines.yaml"
SENTENCES = {each["it"]: each for each in yaml.safe_load(FIXTURES.read_text(encoding="utf-8"))}


def words_and_numbers(report):
    engine = {"engine": report.engine} if report.engine else {}
    return {"kind": report.kind.value, **engine, **report.numbers()}


def line_of(what):
    return SENTENCES[what]["line"]


@pytest.mark.parametrize("what", SENTENCES)
def test_a_sentence_of_an_engine_is_read_as_its_numbers(what):
    line, expected = line_of(what), SENTENCES[what]["expected"]
    for written in (line, f"(Worker_TP0 pid=77) \x1b[31m{line}\x1b[0m  and more"):
        report = parse(written)
        assert report is not None
        assert words_and_numbers(report) == expected


@pytest.mark.parametrize("what", SENTENCES)
def test_every_sentence_says_from_which_release_its_words_are(what):
    assert SENTENCES[what]["origin"] == "composed"
    assert re.search(r"\d+\.\d+", SENTENCES[what]["source"])


def test_there_is_a_sentence_of_every_kind():
    assert {each["expected"]["kind"] for each in SENTENCES.values()} == {kind.value for kind in OomKind}


@pytest.mark.parametrize("what", SENTENCES)
def test_every_sentence_holds_a_trigger_also_when_it_is_escaped(what):
    assert any(trigger in json.dumps({"log": line_of(what)}).encode() for trigger in TRIGGERS)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "all is well",
        "Out of memory: Killed process 4104 (python) total-vm:1048576kB",  # of the kernel, about host memory
        # vLLM 0.33.0, v1/worker/gpu_worker.py: told at every start
        "Free memory on device (70.1/79.14 GiB) on startup. Desired GPU memory utilization is (0.9, 72 GiB).",
        # XLA's allocator: it goes on
        "Allocator (GPU_0_bfc) ran out of memory trying to allocate 3.37GiB with freed_by_count=0. The "
        "caller indicates that this is not a failure, but this may mean that there could be gains",
        "Preemptions: 7",
        "RESOURCE_EXHAUSTED: too many requests",
        "except torch.cuda.OutOfMemoryError:",
    ],
)
def test_a_line_about_something_else_is_no_report(line):
    assert parse(line) is None


def test_what_stands_beyond_the_limit_of_a_line_is_not_looked_at():
    line = line_of("llama.cpp")
    assert parse(" " * (LINE_LIMIT - len(line)) + line) is not None
    assert parse(" " * LINE_LIMIT + line) is None


@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=200),
    st.sampled_from(sorted(SENTENCES)),
    st.data(),
)
def test_whatever_is_written_around_and_into_a_sentence_numbers_stay_within_bounds(noise, what, data):
    line = line_of(what)
    at = data.draw(st.integers(0, len(line)))
    report = parse(line[:at] + noise + line[at:])
    if report is not None:
        assert all(0 <= value <= LARGEST for value in report.numbers().values())


@given(st.from_regex(r"[0-9٠-٩]{1,40}(\.[0-9]{1,30})?", fullmatch=True))
def test_a_figure_of_any_length_is_bounded_or_not_read(digits):
    report = parse(f"CUDA out of memory. Tried to allocate {digits} GiB. GPU 0 has a total capacity of")
    assert report is not None
    assert report.tried is None or 0 <= report.tried <= LARGEST


def test_a_report_has_room_for_numbers_and_words_of_ours_alone():
    canary = "hunter2"
    for what in SENTENCES:
        assert canary not in repr(parse(f"{canary} {line_of(what)} {canary}"))


def expressions():
    """Every expression of the module, in whatever table it stands."""

    def within(value):
        if isinstance(value, re.Pattern):
            yield value
        elif isinstance(value, oom_lines._Sentence):
            yield value.words
        elif isinstance(value, tuple):
            for each in value:
                yield from within(each)
        elif isinstance(value, dict):
            yield from within(tuple(value.values()))

    return [pattern for value in vars(oom_lines).values() for pattern in within(value)]


ASCII = [chr(code) for code in range(128)]


def characters(code, argument):
    """The ASCII characters that one element that takes one character takes."""
    if code is _constants.LITERAL:
        return {chr(argument)}
    assert code is _constants.IN
    return {each for each in ASCII if any(_is_in(each, part) for part in argument)}


def _is_in(character, part):
    code, argument = part
    if code is _constants.RANGE:
        return argument[0] <= ord(character) <= argument[1]
    if code is _constants.CATEGORY:
        assert argument is _constants.CATEGORY_DIGIT
        return character.isdigit()
    return code is _constants.LITERAL and ord(character) == argument


def firsts(parsed, after):
    """The characters with which a match of ``parsed`` can begin, ``after`` being those that may follow it."""
    for code, argument in reversed(parsed):
        if code is _constants.MAX_REPEAT:
            least, _, inner = argument
            after = firsts(list(inner), after) | (after if least == 0 else set())
        elif code is _constants.SUBPATTERN:
            after = firsts(list(argument[3]), after)
        elif code is _constants.BRANCH:
            after = set().union(*(firsts(list(branch), after) for branch in argument[1]))
        else:
            after = characters(code, argument)
    return after


def check_that_nothing_is_tried_twice(parsed, after):
    """Every repetition is bounded, and what follows it begins with what it cannot take: so where one ends is
    settled by the text, and to give characters back never helps."""
    for place, (code, argument) in enumerate(parsed):
        following = firsts(parsed[place + 1 :], after)
        if code is _constants.SUBPATTERN:
            check_that_nothing_is_tried_twice(list(argument[3]), following)
        elif code is _constants.BRANCH:
            for branch in argument[1]:
                check_that_nothing_is_tried_twice(list(branch), following)
        elif code is _constants.MAX_REPEAT:
            _, most, inner = argument
            assert most is not _constants.MAXREPEAT
            assert most == 1 or len(inner) == 1
            assert not firsts(list(inner), set()) & following
            check_that_nothing_is_tried_twice(list(inner), following)
        else:
            assert code in (_constants.LITERAL, _constants.IN)


@pytest.mark.parametrize("pattern", expressions(), ids=lambda pattern: pattern.pattern[:40])
def test_the_work_on_a_line_is_bounded_by_its_length(pattern):
    """No clock: at each of at most 4096 places an expression takes at most so many steps."""
    parsed = _parser.parse(pattern.pattern)
    check_that_nothing_is_tried_twice(list(parsed), set())
    assert parsed.getwidth()[1] < 256
