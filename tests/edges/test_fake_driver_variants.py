"""Test drivers of other years."""

import pynvml
import pytest

from tests.nvml import state
from tests.nvml.client import LIST, LIST_CALL, MEMORY, MEMORY_CALL, attached
from tests.nvml.driver import VARIANTS, FakeDriver
from tests.nvml.gpu import GIB, MIB, Process

EXPORTED = "[name for name in {names} if hasattr(nvmlLib, name)]"
AFTER_R470 = {
    MEMORY_CALL,
    *(f"nvmlDeviceGet{kind}RunningProcesses_v3" for kind in state.LISTS),
}
AFTER_R535 = {"nvmlDeviceGetRunningProcessDetailList", "nvmlDeviceGetTemperatureV"}


@pytest.mark.parametrize(
    ("variant", "missing"),
    [
        ("R470", AFTER_R470 | AFTER_R535),
        ("R535", AFTER_R535),
        ("R580", set()),
        ("R610", set()),
        ("ROWS16", set()),
    ],
)
def test_each_driver_exports_what_it_had(variant: str, missing: set[str]) -> None:
    with FakeDriver(variant, gpus=1) as driver, attached(driver) as client:
        exported = client.ask(EXPORTED.format(names=list(state.FUNCTIONS)))
        assert set(state.FUNCTIONS) - set(exported) == missing
        assert client.ask("nvmlSystemGetDriverVersion()") == VARIANTS[variant][0]


def test_on_r470_the_new_calls_are_missing_as_pynvml_says_it() -> None:
    with FakeDriver("R470", gpus=1) as driver, attached(driver) as client:
        driver.gpus[0].set_processes([Process(10, GIB)])
        assert client.code(MEMORY) == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
        client.send(LIST)
        assert client.receive()["error"] == "NVMLLibraryMismatchError"
        used = client.ask("nvmlDeviceGetMemoryInfo(h)")["used"]
        assert used == GIB + 512 * MIB
        assert client.ask("nvmlDeviceGetComputeRunningProcesses_v2(h)")[0]["pid"] == 10


@pytest.mark.parametrize(("variant", "row_size"), [("R535", 32), ("R580", 24), ("ROWS16", 16)])
def test_rows_of_the_third_list_are_as_long_as_that_driver_wrote_them(variant: str, row_size: int) -> None:
    with FakeDriver(variant, gpus=1) as driver, attached(driver) as client:
        driver.gpus[0].set_processes([Process(10, GIB), Process(11, 2 * GIB)])
        pid_at = "(b := (c_char * 256)(), nvmlLib.{}(h, byref(c_uint(8)), b), b.raw.find(11))[2]"
        assert client.ask(pid_at.format(LIST_CALL)) == row_size
        assert client.ask(pid_at.format("nvmlDeviceGetComputeRunningProcesses_v2")) == 24
        assert client.ask(pid_at.format("nvmlDeviceGetComputeRunningProcesses")) == 16
        seen = [row["pid"] for row in client.ask(LIST)]
        assert (seen == [10, 11]) == (row_size == 24)  # pynvml reads rows of 24 bytes


@pytest.mark.parametrize(("variant", "all_pids"), [("R580", None), ("R610", [10, 11, 12])])
def test_the_detail_list_tells_the_kinds_apart_and_newer_drivers_give_all_at_once(
    variant: str, all_pids: list[int] | None
) -> None:
    detail = "nvmlDeviceGetRunningProcessDetailList(h, nvmlProcessDetailList_v1, {})"
    with FakeDriver(variant, gpus=1) as driver, attached(driver) as client:
        driver.gpus[0].set_processes(
            [Process(10, GIB), Process(11, GIB, ("graphics",)), Process(12, GIB, ("compute", "mps"))]
        )
        seen = [[row["pid"] for row in client.ask(detail.format(mode))] for mode in range(3)]
        assert seen == [[10, 12], [11], [12]]
        if all_pids is None:
            assert client.code(detail.format(3)) == pynvml.NVML_ERROR_INVALID_ARGUMENT
        else:
            assert [row["pid"] for row in client.ask(detail.format(3))] == all_pids


def test_an_unknown_driver_is_refused() -> None:
    with pytest.raises(ValueError, match="R470, R535"):
        FakeDriver("R999")
