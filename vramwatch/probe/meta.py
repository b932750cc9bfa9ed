"""What a model's own code says of its size: it is built and run without memory, on the meta device.

``python -m vramwatch.probe.meta`` reads one JSON object from stdin, ``{"config": {…}, "dtype": "bfloat16",
"prompts": [8, 9]}``, and prints one: ``{"parameters", "cache_bytes", "transformers", "torch"}``, where
``cache_bytes`` has one list of bytes per layer for every prompt length. It runs as a process of its own, so
that whoever asks imports neither PyTorch nor transformers. What fails is a sentence on stderr, and exit 1.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from vramwatch.sdk import caches


def measure(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the number of parameters, and what each layer keeps after each prompt, in bytes.

    Errors: whatever transformers has against the configuration.
    """
    import torch  # noqa: PLC0415 - what cannot be imported is said as any other failure
    import transformers  # noqa: PLC0415

    transformers.utils.logging.set_verbosity_error()
    dtype = getattr(torch, asked["dtype"])
    with torch.device("meta"), torch.no_grad():
        model = _model(transformers, asked["config"], dtype)
        return {
            "parameters": sum(each.numel() for each in model.parameters()),
            "cache_bytes": [_cache_bytes(torch, model, prompt) for prompt in asked["prompts"]],
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        }


def _model(transformers: Any, config: Mapping[str, Any], dtype: Any) -> Any:
    """Return the model without weights, as it computes: what it was quantised with does not matter here."""
    fields = {name: value for name, value in config.items() if name != "quantization_config"}
    built = transformers.AutoConfig.for_model(**fields)
    inner = built.get_text_config(decoder=True)
    return transformers.AutoModelForCausalLM.from_config(inner, dtype=dtype).eval()


def _cache_bytes(torch: Any, model: Any, prompt: int) -> list[int]:
    """Return the bytes that each layer keeps after ``prompt`` tokens of one sequence."""
    out = model(input_ids=torch.zeros(1, prompt, dtype=torch.long), use_cache=True)
    cache = out.get("past_key_values", out.get("cache_params"))
    return [layer.logical for layer in caches.measure(cache).layers]


def main() -> int:
    try:
        found = measure(json.load(sys.stdin))
    except Exception as error:
        words = " ".join(str(error).split())
        sys.stderr.write(f"{type(error).__name__}: {words}\n")
        return 1
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
