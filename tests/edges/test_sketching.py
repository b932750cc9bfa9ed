"""The course of an incident's subject, read from a real store beside the writer."""

from contextlib import closing
from dataclasses import replace

import pytest

from tests.incidents import item
from tests.polls import START, gpu, holding, owner, poll
from tests.verdicts import transition
from vramwatch.core.incidents import Subject
from vramwatch.core.messages import COURSE_SPAN, COURSE_STEPS, Item
from vramwatch.core.model import SubjectKind
from vramwatch.core.policy import Notice
from vramwatch.core.units import GIB, MIB, Bytes
from vramwatch.store import Store
from vramwatch.telling.sketching import STEP, Sketching

CHAT = owner("chat")


@pytest.fixture
def store(path):
    with closing(Store.open(path, "nvml", "0.1.0")) as one:
        yield one


def fill(store, hours, held=lambda at: GIB * (1 + at / 3600), hole=(0, 0)):
    """A poll a minute; ``chat`` holds ``held(seconds)``, and 10 MiB are nobody's."""
    for seq, at in enumerate(range(0, round(hours * 3600), 60), 1):
        if not hole[0] <= at < hole[1]:
            store.write(poll(seq, holding(4104, Bytes(round(held(at))), CHAT), wall=START + at))


def about(kind, key=None):
    told = transition(7)
    subject = Subject(gpu().uuid, kind, key)
    return Item(Notice.OPENED, replace(told, incident=replace(told.incident, subject=subject)))


def test_the_course_of_an_owner_is_what_it_held_in_each_step_of_six_hours(store, path):
    fill(store, 8)
    course = Sketching(path)(about(SubjectKind.OWNER, CHAT.key)).course
    assert len(course) == COURSE_STEPS
    newest = GIB * (1 + 8)
    for at, value in enumerate(course):
        middle = newest - (COURSE_SPAN - (at + 0.5) * STEP) / 3600 * GIB
        assert value == pytest.approx(middle, abs=0.03 * GIB)


def test_what_was_not_seen_is_not_known(store, path):
    fill(store, 8, hole=(3 * 3600, 4 * 3600))
    course = Sketching(path)(about(SubjectKind.OWNER, CHAT.key)).course
    unknown = [at for at, value in enumerate(course) if value is None]
    assert unknown == list(range(unknown[0], unknown[0] + 7)) or len(unknown) == 8
    assert course[0] is not None


def test_a_young_history_begins_with_what_is_not_known(store, path):
    fill(store, 1)
    course = Sketching(path)(about(SubjectKind.OWNER, CHAT.key)).course
    assert all(each is None for each in course[:40])
    assert all(each is not None for each in course[-7:])


def test_of_a_gpu_it_is_all_that_is_used_and_of_nobodys_bytes_those(store, path):
    fill(store, 6, held=lambda at: GIB)
    used = Sketching(path)(about(SubjectKind.GPU)).course
    nobodys = Sketching(path)(about(SubjectKind.UNATTRIBUTED)).course
    assert set(used) - {None} == {float(GIB + 10 * MIB)}
    assert set(nobodys) - {None} == {float(10 * MIB)}


def test_of_vramwatch_itself_and_of_whom_nobody_knows_there_is_none(store, path):
    fill(store, 1)
    assert Sketching(path)(about(SubjectKind.VRAMWATCH)).course == ()
    assert Sketching(path)(about(SubjectKind.OWNER, "unit:nobody.service")).course == ()


def test_a_store_that_cannot_be_read_costs_the_drawing_alone(tmp_path):
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database" * 1000)
    for path in (damaged, tmp_path / "none.db"):
        one = item()
        assert Sketching(path)(one) == one


def test_where_reading_takes_too_long_there_is_none(store, path):
    fill(store, 1)
    assert Sketching(path, within=-1.0)(about(SubjectKind.OWNER, CHAT.key)).course == ()
