"""What a worker does on the GPU: healthy work of every kind, and each way in which its memory grows.

In a rehearsal (``stage.is_small``) sizes are divided by SMALLER; the shape of what happens is the same.
"""

import collections
import ctypes
import inspect
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.gpu.stage import Mirrored, Stage
from vramwatch.probe.experiment import Experiment
from vramwatch.probe.models import build, config_of
from vramwatch.sdk.caches import measure
from vramwatch.sdk.tracking import cache_of

MIB = 2**20
SMALLER = 64
SEED = 0


def context(stage: Stage) -> None:
    """The CUDA context alone. Whether modules are loaded lazily, CUDA_MODULE_LOADING says."""
    tensor = torch.zeros(1, device=stage.device)
    stage.did("made the context")
    stage.rest()
    del tensor


def first_matmul(stage: Stage) -> None:
    """Rests, then the first matrix product, with which cuBLAS takes its workspace."""
    a = _square(stage)
    stage.did("made the context")
    _pause(stage, 10.0)
    a @ a
    stage.memory.wait()
    stage.did("first matmul")
    stage.rest()


def graph_capture(stage: Stage) -> None:
    """A CUDA graph, whose private pool stays; in a rehearsal a pool that stays."""
    a = _square(stage)
    a @ a
    stage.memory.wait()
    _pause(stage, 10.0)
    if stage.device.type == "cuda":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept: Any = [a @ a for _ in range(8)]
    else:
        graph, kept = None, [a @ a for _ in range(8)]
    stage.did("captured a graph")
    while stage.is_on():
        if graph is not None:
            graph.replay()
            stage.memory.wait()
        stage.served()
        _pause(stage, 0.5)
    del kept


def many_streams(stage: Stage) -> None:
    """A matrix product on each of 16 streams: a workspace for each."""
    a = _square(stage)
    stage.memory.wait()
    for number in range(16):
        _pause(stage, 0.5)
        if stage.device.type == "cuda":
            with torch.cuda.stream(torch.cuda.Stream(stage.device)):
                a @ a
        else:
            a @ a
        stage.memory.wait()
        stage.did(f"matmul on stream {number}")
    stage.rest()


def hold(stage: Stage) -> None:
    """Holds 512 MiB and computes on it now and then: a load whose figures do not move."""
    held = torch.ones(512 * MIB // _smaller(stage), dtype=torch.uint8, device=stage.device)
    stage.did("holds its memory")
    while stage.is_on():
        held.add_(1)
        stage.memory.wait()
        stage.served()
        _pause(stage, 0.05)


def serving(stage: Stage) -> None:
    """Loads a model, warms up, serves requests of random lengths."""
    model = _model(stage)
    draw = random.Random(SEED)
    generate(stage, model, 16, 4)
    stage.did("warmed up: from here it is steady")
    for _ in stage.requests_every(0.0):
        generate(stage, model, draw.randint(16, 256 if stage.is_small else 1024), draw.randint(4, 32))


def long_conversation(stage: Stage) -> None:
    """One conversation that goes on: its KV cache grows, as it should, up to 4,096 tokens; then the next."""
    model = _tiny(stage)
    most = 512 if stage.is_small else 4096
    ids = _ids(stage, 64).expand(1 if stage.is_small else 16, -1)
    cache, length = None, 0
    for _ in stage.requests_every(0.2, release_every=1e9):
        with torch.no_grad():
            output = model(ids, use_cache=True, logits_to_keep=1, **_given(model, cache))
        cache, length = _cache(output), length + 64
        stage.kv = _kv_bytes(cache)
        if length >= most:
            cache, length = None, 0
            stage.kv = 0
            stage.memory.empty()
            stage.did("the conversation ended")


def retained(stage: Stage) -> None:
    """Every request's past_key_values is kept, in a list nobody looks at."""
    model = _tiny(stage)
    kept: list[Any] = []
    for _ in stage.requests_every(0.5):
        with torch.no_grad():
            output = model(
                _ids(stage, 2048 // (8 if stage.is_small else 1)), use_cache=True, logits_to_keep=1
            )
        kept.append(_cache(output))
        stage.kv = sum(map(_kv_bytes, kept))


def grad_left_on(stage: Stage) -> None:
    """A loop without no_grad, whose last cache is kept for each session: the graph stays with it."""
    model = _tiny(stage)
    sessions: list[Any] = []
    stage.kv_requires_grad = True
    for _ in stage.requests_every(0.5):
        output = model(_ids(stage, 64 if stage.is_small else 512), use_cache=True, logits_to_keep=1)
        sessions.append(_cache(output))
        stage.kv = sum(map(_kv_bytes, sessions))


def variable_shapes(stage: Stage) -> None:
    """Buffers of random sizes, of each request one that outlives it: what is free lies in pieces."""
    draw = random.Random(SEED)
    survivors: collections.deque[torch.Tensor] = collections.deque(maxlen=60)
    for _ in stage.requests_every(0.2, release_every=1e9):
        sizes = [draw.randint(1, 96) * MIB // _smaller(stage) for _ in range(8)]
        buffers = [torch.empty(size, dtype=torch.uint8, device=stage.device) for size in sizes]
        survivors.append(torch.empty(2 * MIB // _smaller(stage), dtype=torch.uint8, device=stage.device))
        stage.memory.wait()
        del buffers


def leak_2(stage: Stage) -> None:
    """2 MiB a request stay, under load."""
    _leak(stage, 2 * MIB)


def leak_20(stage: Stage) -> None:
    """20 MiB a request stay, under load."""
    _leak(stage, 20 * MIB)


def leak_outside(stage: Stage) -> None:
    """8 MiB a request are taken from the driver past torch, and stay."""
    a = _square(stage)
    size = 8 * MIB // _smaller(stage)
    take = _outside(stage, size)
    for _ in stage.requests_every(0.5):
        a @ a
        take()
        stage.outside += size


def decode(stage: Stage) -> None:
    """Generates when told: a line with seconds in, a line with the seconds of each token out."""
    model = _model(stage)
    for line in iter(input_line, ""):
        print("TOKENS", *(f"{each:.9f}" for each in _decoded(stage, model, float(line))), flush=True)


def generate(stage: Stage, model: Any, prompt: int, tokens: int) -> None:
    """Serve one request by the model's own cache."""
    cache = None
    step = _ids(stage, prompt)
    with torch.no_grad():
        for _ in range(tokens):
            output = model(step, use_cache=True, logits_to_keep=1, **_given(model, cache))
            cache = _cache(output)
            step = output.logits[:, -1].argmax(-1, keepdim=True)
    stage.memory.wait()
    stage.kv = _kv_bytes(cache)


def input_line() -> str:
    try:
        return input()
    except EOFError:
        return ""


def _decoded(stage: Stage, model: Any, seconds: float) -> Iterator[float]:
    """Yield what each token took, over conversations of 256 tokens, until ``seconds`` are over."""
    until = time.perf_counter() + seconds
    with torch.no_grad():
        while time.perf_counter() < until:
            cache, step = None, _ids(stage, 32)
            for number in range(256):
                began = time.perf_counter()
                output = model(step, use_cache=True, logits_to_keep=1, **_given(model, cache))
                cache = _cache(output)
                step = output.logits[:, -1].argmax(-1, keepdim=True)
                stage.memory.wait()
                now = time.perf_counter()
                if number:  # the first is the prompt's
                    yield now - began
                if now >= until:
                    break


def _leak(stage: Stage, size: int) -> None:
    model = _tiny(stage)
    kept: list[torch.Tensor] = []
    for _ in stage.requests_every(0.5):
        generate(stage, model, 64, 8)
        kept.append(torch.empty(size // _smaller(stage), dtype=torch.uint8, device=stage.device))


def _outside(stage: Stage, size: int) -> Callable[[], None]:
    """Return what takes ``size`` bytes of the driver itself: cuMemAlloc_v2 of the CUDA driver API."""
    if stage.device.type != "cuda":
        kept: list[bytearray] = []
        return lambda: kept.append(bytearray(size))
    library = ctypes.CDLL("libcuda.so.1")

    def take() -> None:
        pointer = ctypes.c_uint64()
        code = library.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size))
        if code:
            raise MemoryError(f"cuMemAlloc_v2 of {size} bytes: CUDA error {code}")

    return take


def _model(stage: Stage) -> Any:
    """The model that is served: Llama 2 7B with random weights in fp16; in a rehearsal a tiny one."""
    stage.did("loads the model")
    if stage.is_small:
        return _tiny(stage)
    return _built(stage, Experiment(model="llama-2-7b", is_full_size=True))


def _tiny(stage: Stage) -> Any:
    """A small model, whose caches are told from its weights."""
    return _built(stage, Experiment(model="tiny-llama"))


def _built(stage: Stage, experiment: Experiment) -> Any:
    model = build(experiment, config_of(experiment), stage.device)
    if isinstance(stage.memory, Mirrored):
        stage.memory.live.follow(model)
    stage.did("the model is loaded")
    return model


def _given(model: Any, cache: Any) -> dict[str, Any]:
    if cache is None:
        return {}
    return {"cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values": cache}


def _cache(output: Any) -> Any:
    return cache_of(output)


def _kv_bytes(cache: Any) -> int:
    return 0 if cache is None else sum(held.logical for _, held in measure(cache).devices)


def _ids(stage: Stage, tokens: int) -> torch.Tensor:
    return torch.ones((1, tokens), dtype=torch.long, device=stage.device)


def _square(stage: Stage) -> torch.Tensor:
    dtype = torch.float16 if stage.device.type == "cuda" else torch.float32
    return torch.ones((2048, 2048) if not stage.is_small else (64, 64), dtype=dtype, device=stage.device)


def _smaller(stage: Stage) -> int:
    return SMALLER if stage.is_small else 1


def _pause(stage: Stage, seconds: float) -> None:
    until = time.monotonic() + (seconds / 10 if stage.is_small else seconds)
    while stage.is_on() and time.monotonic() < until:
        time.sleep(min(0.1, max(0.0, until - time.monotonic())))


ROLES: dict[str, Callable[[Stage], None]] = {
    each.__name__: each
    for each in (
        context, first_matmul, graph_capture, many_streams, hold, serving, long_conversation, retained,
        grad_left_on, variable_shapes, leak_2, leak_20, leak_outside, decode,
    )
}  # fmt: skip
