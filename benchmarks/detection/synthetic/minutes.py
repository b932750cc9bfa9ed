"""Servers whose card is full within minutes: polled every second."""

from random import Random

from benchmarks.detection.cases import Cause, Group, Serving
from benchmarks.detection.synthetic.healthy import CARD_24, CARD_80
from benchmarks.detection.synthetic.parts import torch_server
from benchmarks.detection.synthetic.scenario import Cell, Scenario
from benchmarks.detection.synthetic.server import Trace
from benchmarks.detection.synthetic.shapes import add, conversations, cumulated, flat, requests

COUNT, STEP = 2400, 1.0
BEGINS = 600  # steps: ten healthy minutes come first


def _duty(rng: Random) -> list[float]:
    return [rng.uniform(0.3, 0.8) if i % 60 < 50 else 0.0 for i in range(COUNT)]


def autograd(cell: Cell, rng: Random, grows: bool) -> Trace:
    """Gradients are recorded, and each step's graph is kept: one set of activations a step."""
    duty = _duty(rng)
    served = requests(duty, STEP, 0.8, rng)
    every = round(cell["every"])
    graphs = cumulated(cell["each"] * grows * (i >= BEGINS and i % every == 0) for i in range(COUNT))
    live = add(graphs, conversations(duty, 2500.0, rng))
    server = torch_server(duty, served, STEP, rng, weights=15_500.0, live=live)
    return Trace(STEP, flat(COUNT, CARD_80), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def arena(cell: Cell, rng: Random, grows: bool) -> Trace:
    """The arena of ONNX Runtime doubles its extensions for each new shape, and returns none."""
    duty = _duty(rng)
    served = requests(duty, STEP, 0.8, rng)
    held, extensions = 0.0, []
    for i in range(COUNT):
        extension = rng.choice((512.0, 1024.0, 1024.0, 1536.0))
        if grows and i >= BEGINS and (i - BEGINS) % round(cell["every"]) == 0:
            held += extension
        extensions.append(held)
    live = conversations(duty, 300.0, rng)
    server = torch_server(duty, served, STEP, rng, weights=1300.0, live=live, outside=extensions)
    return Trace(STEP, flat(COUNT, CARD_24), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def runaway(cell: Cell, rng: Random, grows: bool) -> Trace:
    """Results pile up faster than anyone takes them."""
    duty = _duty(rng)
    served = requests(duty, STEP, 4.0, rng)
    kept = cumulated(cell["rate"] / 60 * STEP * grows * (i >= BEGINS) for i in range(COUNT))
    live = add(kept, conversations(duty, 1200.0, rng))
    server = torch_server(duty, served, STEP, rng, weights=cell["weights"], live=live)
    return Trace(STEP, flat(COUNT, CARD_24), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


SCENARIOS = (
    Scenario(
        "autograd", autograd, Cause.AUTOGRAD, Group.MINUTES, Serving.LANGUAGE,
        ({"each": 424.0, "every": 4.0}, {"each": 212.0, "every": 1.0}),
        ({"each": 320.0, "every": 5.0}, {"each": 160.0, "every": 2.0}),
        judges_forecast=True,
    ),
    Scenario(
        "arena", arena, Cause.NON_TORCH, Group.MINUTES, Serving.IMAGE,
        ({"every": 24.0}, {"every": 60.0}), ({"every": 12.0}, {"every": 40.0}),
    ),
    Scenario(
        "runaway", runaway, Cause.LEAK, Group.MINUTES, Serving.IMAGE,
        ({"rate": 665.0, "weights": 8000.0}, {"rate": 1800.0, "weights": 5000.0}),
        ({"rate": 900.0, "weights": 9000.0}, {"rate": 3000.0, "weights": 4000.0}),
        judges_forecast=True,
    ),
)  # fmt: skip
