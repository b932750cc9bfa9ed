"""Which GPU a run of the probe may use."""

from tests.polls import gpu, holding, instant, ledger
from vramwatch.core.room import Need, NoRoom, Room, find_room
from vramwatch.core.units import GIB, Bytes

NEED = Need(None, Bytes(2 * GIB), Bytes(4 * GIB))


def two(first, second):
    """Two GPUs of 80 GiB on which so much is held, in GiB."""
    return [
        ledger(instant(1), holding(7, Bytes(held * GIB)), on=gpu(number))
        for number, held in enumerate((first, second))
    ]


def test_the_gpu_with_the_most_free_memory_is_taken():
    found = find_room(NEED, two(40, 10), ())
    assert isinstance(found, Room)
    assert found.gpu.ordinal == "1"


def test_a_gpu_on_which_an_incident_fires_is_left_alone():
    assert find_room(NEED, two(40, 10), {gpu(1).uuid}).gpu.ordinal == "0"
    assert find_room(NEED, two(40, 10), {gpu(0).uuid, gpu(1).uuid}).why.startswith("an incident fires")


def test_what_is_to_be_left_is_left():
    said = find_room(NEED, two(75, 76), ())
    assert isinstance(said, NoRoom)
    assert "free on GPU 0; a run may take 2.0 GiB, and 4.0 GiB are to be left" in said.why


def test_the_gpu_that_is_named_is_taken_by_ordinal_or_uuid_or_none_is():
    for name in ("0", gpu(0).uuid):
        assert find_room(Need(name, NEED.budget, NEED.spare), two(40, 10), ()).gpu.ordinal == "0"
    assert find_room(Need("7", NEED.budget, NEED.spare), two(40, 10), ()).why == "GPU 7 cannot be read"
    assert find_room(NEED, [], ()).why == "no GPU can be read"
