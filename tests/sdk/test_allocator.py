"""PyTorch's allocator, as the SDK reads it: without importing it, and without making a context."""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from vramwatch.sdk.allocator import TorchCuda

ID = "6e3b1c5a-0000-0000-0000-00000000000"


def pool(current, peak=None):
    """One entry of ``memory_stats_as_nested_dict``: by pool, then current and peak."""
    return {
        "all": {"current": current, "peak": current if peak is None else peak, "allocated": 0, "freed": 0}
    }


def statistics(allocated, reserved, **more):
    return {
        "allocated_bytes": pool(allocated, allocated + 5),
        "reserved_bytes": pool(reserved),
        "active_bytes": pool(allocated + 1),
        "inactive_split_bytes": pool(2),
        "requested_bytes": pool(allocated - 1),
        "num_alloc_retries": 3,
        "num_ooms": 1,
        **more,
    }


class Cuda:
    """torch.cuda. Composed: torch 2.13, ``torch/cuda/__init__.py``, ``memory.py``, ``graphs.py``."""

    def __init__(self, devices, *, initialized=True, forked=False):
        self._devices, self._initialized, self._forked = devices, initialized, forked
        self.current, self.calls = 0, []

    def is_initialized(self):
        return self._initialized

    def _is_in_bad_fork(self):
        return self._forked

    def device_count(self):
        return len(self._devices)

    def memory_stats_as_nested_dict(self, index):
        return self._touched("stats", self._devices[index])

    def mem_get_info(self, index):
        return self._touched("free", (1000 * (index + 1), 10_000))

    def get_device_properties(self, index):
        return self._touched("properties", SimpleNamespace(uuid=f"{ID}{index}"))

    def is_current_stream_capturing(self):
        return self._touched("capturing", True)

    @contextmanager
    def device(self, index):
        before, self.current = self.current, index
        yield
        self.current = before

    def synchronize(self, index):
        self._touched(f"synchronize {index} with {self.current} current", None)

    def empty_cache(self):
        self._touched("empty", None)

    def _touched(self, what, value):
        assert self._initialized, f"{what} would make a context"
        assert not self._forked, f"{what} in a child"
        self.calls.append(what)
        return value


@pytest.fixture
def torch(monkeypatch):
    """Give what puts a ``torch`` among the modules that the application has imported."""

    def imported(*devices, **how):
        cuda = Cuda(devices, **how)
        module = SimpleNamespace(cuda=cuda, is_grad_enabled=lambda: True)
        monkeypatch.setitem(sys.modules, "torch", module)
        return cuda

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return imported


@pytest.mark.parametrize("how", [None, {"initialized": False}, {"forked": True}])
def test_without_a_context_of_this_process_there_is_nothing_to_tell_or_to_do(torch, how, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    if how is not None:
        torch(statistics(10, 20), **how)
    allocator = TorchCuda()
    assert allocator.devices() == ()
    assert allocator.uuid_of("cuda:0") is None
    assert not allocator.is_capturing()
    assert allocator.available() == ()
    allocator.empty_cache()
    assert "torch" not in sys.modules or how is not None


def test_a_torch_that_is_still_being_imported_has_no_figures(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    allocator = TorchCuda()
    assert allocator.devices() == ()
    assert not allocator.is_grad_enabled()


def test_its_figures_come_from_one_call_a_device(torch):
    cuda = torch(statistics(10, 20))
    (device,) = TorchCuda().devices()
    assert device.uuid == f"GPU-{ID}0"
    assert (device.allocated, device.reserved, device.active) == (10, 20, 11)
    assert (device.inactive_split, device.requested, device.peak) == (2, 9, 15)
    assert (device.alloc_retries, device.ooms, device.graph_pools) == (3, 1, None)
    assert cuda.calls == ["stats", "properties"]


def test_private_pools_are_added_up_where_torch_tells_them(torch):
    torch(statistics(10, 20, reserved_bytes_by_private_pools={(0, 1): pool(3), (0, 2): pool(4)}))
    (device,) = TorchCuda().devices()
    assert device.graph_pools == 7


def test_figures_that_an_older_torch_does_not_tell_are_not_known(torch):
    torch({"reserved_bytes": pool(5)})
    (device,) = TorchCuda().devices()
    assert (device.reserved, device.allocated, device.ooms) == (5, None, None)


def test_gpus_that_this_process_never_used_are_left_alone(torch):
    cuda = torch(statistics(1, 2), {}, statistics(0, 0))
    allocator = TorchCuda()
    assert [device.uuid for device in allocator.devices()] == [f"GPU-{ID}0"]
    allocator.empty_cache()
    assert not [call for call in cuda.calls if call.startswith(("synchronize 1", "synchronize 2"))]


def test_every_gpu_in_use_is_waited_for_as_the_current_one_before_anything_is_emptied(torch):
    cuda = torch(statistics(1, 2), statistics(3, 4))
    TorchCuda().empty_cache()
    done = [call for call in cuda.calls if call != "stats"]
    assert done == ["synchronize 0 with 0 current", "synchronize 1 with 1 current", "empty"]
    assert cuda.current == 0


@pytest.mark.parametrize(
    ("visible", "uuid"),
    [
        ("", f"GPU-{ID}0"),
        ("2,0", f"GPU-{ID}0"),
        ("MIG-1111,MIG-2222", "MIG-1111"),
        ("GPU-6e3b", f"GPU-{ID}0"),
    ],
)
def test_a_mig_instance_has_the_name_that_made_it_visible(torch, visible, uuid, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    torch(statistics(1, 2))
    assert TorchCuda().uuid_of("cuda:0") == uuid


def test_tensors_elsewhere_are_on_no_gpu(torch):
    torch(statistics(1, 2))
    assert TorchCuda().uuid_of("cpu") is None
    assert TorchCuda().uuid_of("cuda") == f"GPU-{ID}0"


def test_a_capture_of_this_thread_is_seen(torch):
    torch(statistics(1, 2))
    assert TorchCuda().is_capturing()


def test_what_can_still_be_taken_is_what_the_driver_has_free_and_segments_without_a_live_block(torch):
    torch(statistics(10, 50), statistics(20, 20))
    assert TorchCuda().available() == (1000 + 50 - (10 + 1) - 2, 2000)


def test_of_a_gpu_that_is_not_in_use_nobody_asks_what_is_free(torch):
    cuda = torch(statistics(0, 0), statistics(20, 20))
    assert TorchCuda().available() == (2000,)
    assert cuda.calls.count("free") == 1
