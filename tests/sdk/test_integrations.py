"""The one line for each framework, called as the framework calls it."""

import asyncio
import gc
import json
import weakref
from types import SimpleNamespace

import pytest

from tests.sdk.tensors import full_cache
from vramwatch.sdk.integrations import ray, transformers, triton
from vramwatch.sdk.integrations.asgi import WorkerMiddleware
from vramwatch.sdk.wire import Answer


@pytest.fixture
def meet(daemon, allocator):
    """Give the daemon's end for a worker that an integration has enrolled; the worker ends with the test."""
    workers = []

    def meet(worker):
        workers.append(worker)
        return daemon.meet()

    yield meet
    for worker in workers:
        worker.close()


async def through(middleware, kind="http", path="/v1/chat"):
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    await middleware({"type": kind, "path": path}, receive, send)


def application(seen):
    async def app(scope, receive, send):
        seen()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


def test_every_http_request_of_an_asgi_application_is_marked_and_clears_after_the_last(meet, allocator):
    running = []
    middleware = WorkerMiddleware(
        application(lambda: running.append(middleware.worker.requests_running)),
        name="chat",
        allocator=allocator,
    )
    peer = meet(middleware.worker)
    assert peer.hello.name == "chat"
    peer.asks("empty_cache")
    peer.hears(Answer)

    async def two():
        await asyncio.gather(through(middleware), through(middleware))

    asyncio.run(two())
    assert running == [1, 1]
    assert peer.hears(Answer).state == "done"
    assert allocator.emptied == 1
    assert peer.reports(lambda report: report.requests_total).requests_total == 2


def test_concurrent_streams_are_cleared_after_the_last_of_them_alone(meet, allocator):
    emptied = []
    order = asyncio.Event

    async def story():
        first_may_end, first_ended = order(), order()

        async def app(scope, receive, send):
            if scope["path"] == "/first":
                await first_may_end.wait()
            else:
                first_may_end.set()
                await first_ended.wait()

        middleware = WorkerMiddleware(app, allocator=allocator)
        peer = meet(middleware.worker)
        peer.asks("empty_cache")
        peer.hears(Answer)

        async def first():
            await through(middleware, path="/first")
            emptied.append(allocator.emptied)
            first_ended.set()

        await asyncio.gather(first(), through(middleware, path="/second"))
        emptied.append(allocator.emptied)

    asyncio.run(story())
    assert emptied == [0, 1]


@pytest.mark.parametrize("scope", [("lifespan", ""), ("websocket", "/ws"), ("http", "/metrics")])
def test_what_computes_nothing_is_no_request(scope, meet, allocator):
    middleware = WorkerMiddleware(application(lambda: None), allocator=allocator)
    peer = meet(middleware.worker)
    asyncio.run(through(middleware, *scope))
    assert peer.reports(lambda report: report.seq > 2).requests_total == 0


class Model:
    """As transformers' models: hooks that see what a forward pass returns, and ``generate``."""

    training = False

    def __init__(self):
        self._hooks = []

    def register_forward_hook(self, hook):
        self._hooks.append(hook)
        model = weakref.ref(self)  # as torch.utils.hooks.RemovableHandle
        return SimpleNamespace(remove=lambda: model() and model()._hooks.remove(hook))

    def generate(self, tokens, requires_grad=False):
        """Return the cache, as ``return_dict_in_generate`` does."""
        cache = full_cache(requires_grad=requires_grad)
        for hook in self._hooks:
            hook(self, (), {"logits": None, "past_key_values": cache})
        return cache


def test_a_model_marks_generate_and_tells_a_cache_that_is_retained_and_holds_its_graph(meet, allocator):
    model = transformers.enrolled(Model(), allocator=allocator)
    peer = meet(transformers.enroll())
    assert peer.hello.model == "Model"
    kept = model.generate([1, 2], requires_grad=True)
    report = peer.reports(lambda report: report.devices[0].kv_retained)
    assert (report.requests_total, report.requests_running) == (1, 0)
    assert report.devices[0].kv_retained == 800
    assert report.kv_requires_grad
    del kept
    peer.reports(lambda report: report.devices[0].kv_resident is None)


def test_a_model_that_is_dropped_dies(meet, allocator):
    gc.disable()
    try:
        model = transformers.enrolled(Model(), allocator=allocator)
        meet(transformers.enroll())
        dead = weakref.ref(model)
        del model
        assert dead() is None
    finally:
        gc.enable()


def test_generate_within_a_request_is_a_part_of_it(enrol):
    worker, peer = enrol()
    model = transformers.enrolled(Model(), worker)
    peer.asks("empty_cache")
    peer.hears(Answer)
    with worker.request():
        model.generate([1])
        assert worker.requests_running == 1
    assert peer.reports(lambda report: report.requests_total).requests_total == 1


def backend(config, allocator):
    """Composed as Triton's python_backend calls a model: initialize(args), execute(requests), finalize()."""

    @triton.enrolled(allocator=allocator)
    class TritonPythonModel:
        def initialize(self, args):
            self.running = None

        def execute(self, requests):
            self.running = self.vramwatch.requests_running
            return [f"answer to {each}" for each in requests]

    model = TritonPythonModel()
    model.initialize({"model_name": "llama", "model_config": json.dumps(config)})
    return model


def test_a_model_of_triton_is_enrolled_under_its_name_until_it_is_finalised(meet, allocator):
    model = backend({}, allocator)
    peer = meet(model.vramwatch)
    assert (peer.hello.name, peer.hello.model) == ("llama", "llama")
    assert model.execute(["a", "b"]) == ["answer to a", "answer to b"]
    assert model.running == 1
    model.finalize()
    assert peer.is_over()


def test_a_decoupled_model_of_triton_marks_its_requests_itself(meet, allocator):
    model = backend({"model_transaction_policy": {"decoupled": True}}, allocator)
    meet(model.vramwatch)
    model.execute(["a"])
    assert model.running == 0


@ray.enrolled(methods=("__call__", "stream", "plain", "tokens"))
class Deployment:
    def __init__(self, greeting):
        self.greeting = greeting

    async def __call__(self, name):
        return f"{self.greeting} {name}", self.vramwatch.requests_running

    async def stream(self):
        yield self.vramwatch.requests_running

    def plain(self):
        return self.vramwatch.requests_running

    def tokens(self):
        yield self.vramwatch.requests_running


def test_every_kind_of_method_of_a_ray_deployment_is_marked_until_it_is_over(meet):
    replica = Deployment("hello")
    peer = meet(replica.vramwatch)
    assert peer.hello.name == "Deployment"

    async def serve():
        assert await replica("you") == ("hello you", 1)
        assert [each async for each in replica.stream()] == [1]

    asyncio.run(serve())
    assert replica.plain() == 1
    assert list(replica.tokens()) == [1]
    report = peer.reports(lambda report: report.requests_total == 4)
    assert report.requests_running == 0
