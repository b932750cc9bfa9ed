"""GPU memory by control group, from the dmem controller; over a composed mount."""

from tests.edges.procfs_trees import lay_out
from vramwatch.procfs import GroupMemories, read_group_memory

GPU = "00000000:65:00.0"
ID = "9f2c1e5b7a3d4c6e8f00112233445566778899aabbccddeeff00112233445566"
GIB = 1024**3


def test_units_and_containers_are_named_with_their_bytes(tmp_path):
    memories = read_group_memory(lay_out("dmem", tmp_path) / "cgroup")
    assert {path: group.used for path, group in memories.by_gpu[GPU].items()} == {
        "/system.slice": 16 * GIB,
        "/system.slice/ollama.service": 12 * GIB,
        f"/system.slice/docker-{ID}.scope": 4 * GIB,
    }
    groups = memories.by_gpu[GPU]
    assert groups["/system.slice/ollama.service"].placement.unit == "ollama.service"
    assert groups[f"/system.slice/docker-{ID}.scope"].placement.container == ID
    assert memories.by_gpu.keys() == {GPU}
    assert memories.is_complete


def test_without_the_controller_there_is_nothing_and_that_is_complete(tmp_path):
    assert read_group_memory(tmp_path) == GroupMemories({}, is_complete=True)
    assert read_group_memory(tmp_path / "nowhere") == GroupMemories({}, is_complete=True)


def test_lines_that_are_no_lines_are_passed_over(tmp_path):
    group = tmp_path / "a.service"
    group.mkdir()
    (group / "dmem.current").write_bytes(
        b"\xff\xfe\nnvidia/x/vidmem 1\nnvidia/0000:65:00.0/vidmem -1\nnvidia/0000:65:00.0/vidmem\n"
        b"nvidia/0000:B3:00.0/vidmem 7\n"
    )
    assert list(read_group_memory(tmp_path).by_gpu) == ["00000000:B3:00.0"]


def test_more_groups_than_are_looked_at_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("vramwatch.procfs.dmem._GROUPS_LIMIT", 2)
    assert not read_group_memory(lay_out("dmem", tmp_path) / "cgroup").is_complete
