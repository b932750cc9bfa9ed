"""How much slower generation is while its KV cache is traced: ``python -m benchmarks.tracing``, with torch.

Traced and untraced calls take turns, so that whatever else the machine does meets both alike; told is the
median of the ratios of neighbours, in CPU time of the process.
"""

import statistics
import time
from typing import Any

TURNS = 15
TOKENS = 128
MOST = 0.02
"""The goal: by how much tracing may slow a call."""


def main() -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from vramwatch.probe.families import config_of
    from vramwatch.sdk.tracing import trace_kv

    torch.set_num_threads(1)
    fields = {**(config_of("llama-3.2-1b", False) or {}), "num_hidden_layers": 16}
    model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields)).eval()
    ids = torch.ones((1, 16), dtype=torch.long)

    def call() -> float:
        begun = time.process_time()
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)
        return time.process_time() - begun

    call()
    ratios, shares = [], []
    for _ in range(TURNS):
        plain = call()
        with trace_kv(model) as trace:
            traced = call()
        ratios.append(traced / plain)
        shares.append(trace.overhead_seconds / traced)
    slower = statistics.median(ratios) - 1
    print(
        f"{TURNS} turns of {TOKENS} tokens, 16 layers: traced calls take {slower:+.2%} "
        f"(goal: at most {MOST:.0%})"
    )
    print(f"looking itself took {statistics.median(shares):.2%} of a traced call, by its own clock")


if __name__ == "__main__":
    main()
