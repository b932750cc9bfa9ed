"""What engines say that they have loaded, model by model: what the sum at their process consists of."""

from collections.abc import Iterator, Sequence

from vramwatch.cli.views.text import Line, Tone, line, wrap
from vramwatch.core.records import Json
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes


def loaded_lines(models: Sequence[Json], width: int) -> list[Line]:
    """Return a heading and a line for each model, the largest first."""
    lines = [line(f"Models that engines say they have loaded: {len(models)}", Tone.STRONG)]
    for model in sorted(models, key=lambda each: -(each["bytes"] or 0)):
        lines += wrap(", ".join(_parts(model)), width, 2, Tone.FAINT)
    return lines


def _parts(model: Json) -> Iterator[str]:
    size, on_gpu = model["bytes"], model["gpu_bytes"]
    yield f"{clean(model['model'])}  {'size not told' if size is None else show_bytes(size)}"
    if on_gpu is not None and size is not None:
        yield "all of it on GPUs" if on_gpu >= size else f"{show_bytes(on_gpu)} of it on GPUs"
    pids = " ".join(map(str, model["pids"]))
    yield f"{clean(model['engine'])} pid {pids}"
