"""How many GPUs the driver says the machine has."""

from vramwatch.procfs.gpus import gpus_of_the_machine


def test_the_driver_has_a_folder_for_each_gpu(tmp_path):
    for address in ("0000:01:00.0", "0000:41:00.0"):
        (tmp_path / "driver/nvidia/gpus" / address).mkdir(parents=True)
    assert gpus_of_the_machine(str(tmp_path)) == 2


def test_without_the_drivers_folder_nobody_knows(tmp_path):
    assert gpus_of_the_machine(str(tmp_path)) is None
