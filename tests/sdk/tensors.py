"""Tensors and caches as PyTorch and transformers make them, as far as the SDK looks at them.

Composed: torch 2.13 (``untyped_storage``, ``__tensor_flatten__``), transformers 5.24 (``cache_utils.py``).
"""

import itertools


class Storage:
    _addresses = itertools.count(1)

    def __init__(self, size):
        self._cdata = next(self._addresses)
        self._size = size

    def nbytes(self):
        return self._size


class Tensor:
    """``elements`` of ``itemsize`` bytes; of a view: of ``storage``, which may be longer."""

    def __init__(self, elements, itemsize=2, *, storage=None, device="cuda:0", requires_grad=False):
        self._elements, self._itemsize = elements, itemsize
        self._storage = storage or Storage(elements * itemsize)
        self.device = device
        self.requires_grad = requires_grad

    def numel(self):
        return self._elements

    def element_size(self):
        return self._itemsize

    def untyped_storage(self):
        return self._storage

    def view(self, elements):
        return Tensor(elements, self._itemsize, storage=self._storage, device=self.device)


class Quantised(Tensor):
    """A subclass that wraps: its own storage is not what is held (``torch.utils._python_dispatch``)."""

    def __init__(self, elements):
        super().__init__(elements)
        self._data, self._scale = Tensor(elements // 2, 1), Tensor(4, 4)

    def __tensor_flatten__(self):
        return ["_data", "_scale"], None


class Layer:
    """A full-attention layer (DynamicLayer): keys and values, a counter, and things that are no cache."""

    def __init__(self, keys=None, values=None, **more):
        self.keys, self.values = keys, values
        self.is_initialized = keys is not None
        self.cumulative_length = Tensor(1, 8)
        self.config = type("Config", (), {"weights": Tensor(1_000_000)})()
        vars(self).update(more)

    def reset(self):
        self.cumulative_length = Tensor(1, 8)


class Cache:
    def __init__(self, *layers):
        self.layers = list(layers)


def full_cache(layers=2, elements=100, device="cuda:0", requires_grad=False):
    """A cache of 2 x ``layers`` x ``elements`` x 2 bytes."""

    def one():
        return Tensor(elements, device=device, requires_grad=requires_grad)

    return Cache(*(Layer(one(), one()) for _ in range(layers)))
