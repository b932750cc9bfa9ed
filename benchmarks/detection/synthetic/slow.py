"""Leaks of days: nightly load, roll-outs, restarts of the daemon, on cards of three sizes."""

from random import Random

from benchmarks.detection.cases import Cause, Group, Serving
from benchmarks.detection.synthetic.parts import KERNELS, torch_server
from benchmarks.detection.synthetic.scenario import Cell, Scenario
from benchmarks.detection.synthetic.server import CONTEXT, Gap, Trace
from benchmarks.detection.synthetic.shapes import DAY, add, conversations, daily, flat, requests

STEP = 60.0
CARDS = (24_564.0, 81_559.0, 143_771.0)  # MiB: RTX 4090, H100, H200
TOLD = 0.75  # of the life is recorded: a find in its second half counts no more
NIGHT, BUSY = 0.05, 0.8
LONGEST = 1.6  # lives are computed so far: the day of exhaustion differs with the load
MEAN = (NIGHT + BUSY) / 2  # duty
PER_SECOND = 0.5  # requests at full duty
SPREAD = 0.1  # of the card is what conversations need by day


def slow_leak(cell: Cell, rng: Random, grows: bool) -> Trace:
    """Every request leaves a little; the last roll-out begins the life that ends in exhaustion.

    The weights are chosen so that the card is full about ``life`` days after the last roll-out.
    """
    card, rolled = cell["card"], round(cell["rolled"] * DAY / STEP)
    begins = [0, rolled, 2 * rolled]
    count = begins[-1] + round(LONGEST * cell["life"] * DAY / STEP)
    duty = daily(count, STEP, NIGHT, BUSY, rng)
    served = requests(duty, STEP, PER_SECOND, rng)
    each = grows * cell["rate"] / (MEAN * PER_SECOND * 3600)  # MiB a request
    weights = card * (1 - SPREAD * BUSY) - CONTEXT - KERNELS - cell["rate"] * 24 * cell["life"]
    lives = []
    for number, (begin, end) in enumerate(zip(begins, [*begins[1:], count], strict=True)):
        part = slice(begin, end)
        kv = conversations(duty[part], SPREAD * card, rng)
        left, live = 0.0, []
        for asked in served[part]:
            left += each * asked
            live.append(left)
        lives.append(
            torch_server(
                duty[part],
                served[part],
                STEP,
                rng,
                weights=weights,
                live=add(kv, live),
                kv=kv,
                pid=4100 + number,
                begin=begin,
            )
        )
    told = begins[-1] + round(TOLD * cell["life"] * DAY / STEP)
    restarts = tuple(Gap(at, at + rng.randint(2, 20)) for at in range(500, told, round(1.7 * DAY / STEP)))
    return Trace(
        STEP,
        flat(count, card),
        duty,
        tuple(lives),
        gaps=restarts,
        grows_from=0,
        life_from=begins[-1],
        told=told,
    )


def _cells(lives: dict[float, float], rolled: float) -> tuple[Cell, ...]:
    """Return one cell for each rate (MiB/h, with the days its life lasts) and card."""
    return tuple(
        {"rate": rate, "card": card, "life": life, "rolled": rolled}
        for rate, life in lives.items()
        for card in CARDS
    )


SCENARIOS = (
    Scenario(
        "slow-leak",
        slow_leak,
        Cause.LEAK,
        Group.SLOW,
        Serving.LANGUAGE,
        _cells({20.0: 10.0, 50.0: 9.0, 100.0: 7.0}, rolled=0.9),
        _cells({20.0: 11.0, 50.0: 8.0, 100.0: 6.5}, rolled=1.3),
        judges_forecast=True,
    ),
)
