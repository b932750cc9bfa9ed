"""Every live tensor's storage, as it comes and goes: on the CPU, instead of an allocator's statistics."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass

from vramwatch.core.units import show_bytes


class Made(NamedTuple):
    """A storage that lives. ``place``: the module whose forward pass made it; empty: none did."""

    size: int
    operator: str
    place: str
    order: int  # of making


class OverBudget(torch.OutOfMemoryError):
    """More tensors live than the run may hold."""


class LiveTensors(TorchDispatchMode):
    """Counts the storages of all tensors that are made while it is entered, until they are freed.

    It sees results of operators alone: what a kernel allocates and frees within itself is not seen.
    The way of following a storage by a weak reference is that of torch.distributed._tools.mem_tracker.
    """

    def __init__(self, budget: int | None = None) -> None:
        super().__init__()
        self.now = 0  # bytes
        self.peak = 0
        self.place = ""
        self._budget = budget
        self._order = 0
        self._made: dict[int, tuple[Made, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, torch.Tensor):
                self._see(each, func)
        if self._budget is not None and self.now > self._budget:
            beyond = f"passed by {show_bytes(self.now - self._budget)} of tensors"
            raise OverBudget(
                f"the budget of {show_bytes(self._budget)} was {beyond}, the last made by {_name(func)}"
            )
        return result

    def reset_peak(self) -> None:
        self.peak = self.now

    def mark(self) -> int:
        """Return what tells storages made from now on from those made before."""
        return self._order

    def since(self, mark: int) -> Iterator[tuple[int, Made]]:
        """Yield the id and the making of each storage that lives and was made after ``mark``."""
        for key, (made, _) in list(self._made.items()):
            if made.order > mark:
                yield key, made

    def follow(self, model: torch.nn.Module) -> None:
        """Have what is made be known by the module of ``model`` whose forward pass makes it.

        Its weights count from here on also where no operator made them: those of a file are mapped.
        """
        for each in (*model.parameters(), *model.buffers()):
            self._see(each, "load")

        def enter(name: str) -> Any:
            def hook(_module: Any, _args: Any) -> None:
                self.place = name

            return hook

        for name, module in model.named_modules():
            module.register_forward_pre_hook(enter(name))
        model.register_forward_hook(lambda *_: setattr(self, "place", ""))

    def _see(self, tensor: torch.Tensor, func: Any) -> None:
        for each in plain(tensor):
            self._see_plain(each, func)

    def _see_plain(self, tensor: torch.Tensor, func: Any) -> None:
        if tensor.device.type == "meta" and not hasattr(tensor, "fake_device"):
            return
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        known = self._made.get(key)
        if known is None:
            self._order += 1
            made = Made(size, _name(func), self.place, self._order)
            self._made[key] = made, weakref.ref(storage, self._forgetting(key))
            self.now += size
        elif known[0].size != size:
            self.now += size - known[0].size
            self._made[key] = known[0]._replace(size=size), known[1]
        self.peak = max(self.peak, self.now)

    def _forgetting(self, key: int) -> Callable[[Any], None]:
        return lambda _: self._forget(key)

    def _forget(self, key: int) -> None:
        self.now -= self._made.pop(key)[0].size


def plain(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the tensors that hold the bytes of ``tensor``: itself, or those that it is made of.

    The quantised ones of torchao and quanto are wrappers of several, and their own storage, as large as if
    nothing were quantised, holds nothing.
    """
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        yield from plain(getattr(tensor, name))


def _name(func: Any) -> str:
    """Return "aten.mul" of an operator's overload."""
    return str(func).removesuffix(".default").removesuffix(".Tensor")
