"""``vramwatch plan``: whether a model fits, before it is loaded."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vramwatch.cli.options import config_option, format_of, store_option
from vramwatch.core.errors import NoDeviceError, UsageError
from vramwatch.core.kvmath import Dtype, KvDtype
from vramwatch.core.planning import OVERHEAD, Quantization
from vramwatch.core.units import MIB, parse_bytes

if TYPE_CHECKING:
    from vramwatch.cli.asked import Asked
    from vramwatch.cli.rooms import Free
    from vramwatch.cli.views.plan import Answer
    from vramwatch.core.planning import Room

AUTO = "auto"

Rooms = Callable[[int], "list[Room]"]
"""The GPUs to plan for, where a model's weights alone take so many bytes."""


def _size(_: click.Context, option: click.Parameter, value: str) -> int:
    return _bytes(option, value)


def _free(_: click.Context, option: click.Parameter, value: Sequence[str]) -> list[int]:
    sizes = [_bytes(option, each) for each in value]
    for written, size in zip(value, sizes, strict=True):
        if size < MIB:
            raise UsageError(f"{option.opts[0]} {written}: no GPU is so small; write a unit, as in 80GiB")
    return sizes


def _bytes(option: click.Parameter, value: str) -> int:
    try:
        return parse_bytes(value)
    except ValueError as error:
        raise UsageError(f"{option.opts[0]}: {error}") from error


def _count(_: click.Context, option: click.Parameter, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise UsageError(f"{option.opts[0]} {value}: write at least 1")
    return value


def _share(_: click.Context, option: click.Parameter, value: float) -> float:
    if not 0.0 < value <= 1.0:
        raise UsageError(f"{option.opts[0]} {value:g}: write a share above 0 and at most 1")
    return value


@click.command()
@click.argument("model")
@click.option("--batch", type=int, callback=_count, default=1, show_default=True, help="Sequences at once.")
@click.option(
    "--context",
    type=int,
    callback=_count,
    help="Tokens of each sequence, prompt and answer; default 4096, or what the model was made for.",
)
@click.option("--prompt", type=int, callback=_count, help="How many of them are read at once; default all.")
@click.option(
    "--dtype",
    type=click.Choice([AUTO, *(each.value for each in Dtype)]),
    default=AUTO,
    show_default=True,
    help="What it computes in; auto: as it was published.",
)
@click.option(
    "--quantize",
    type=click.Choice([AUTO, *(each.value for each in Quantization)]),
    default=AUTO,
    show_default=True,
    help="What the weights of its layers are stored as; auto: as they were published.",
)
@click.option(
    "--kv-dtype",
    type=click.Choice([each.value for each in KvDtype]),
    default=KvDtype.AUTO.value,
    show_default=True,
    help="What keys and values are stored as.",
)
@click.option(
    "--tp",
    "ranks",
    type=int,
    callback=_count,
    default=1,
    show_default=True,
    help="GPUs that share every layer.",
)
@click.option(
    "--attention",
    type=click.Choice([AUTO, "fused", "eager"]),
    default=AUTO,
    show_default=True,
    help="eager makes a matrix of all tokens by all tokens; auto: as transformers would.",
)
@click.option("--gpu", "gpus", multiple=True, help="Plan for this GPU: ordinal or UUID. May be repeated.")
@click.option(
    "--free",
    multiple=True,
    callback=_free,
    help="Plan for an empty GPU of this size (80GiB). May be repeated.",
)
@click.option(
    "--overhead",
    default=f"{OVERHEAD // 1024**2}MiB",
    show_default=True,
    callback=_size,
    help="Set aside on each GPU for the CUDA context, workspaces and rounding.",
)
@click.option(
    "--gpu-memory-utilization",
    "utilization",
    type=float,
    callback=_share,
    default=0.9,
    show_default=True,
    help="The share of each GPU that vLLM would be given.",
)
@click.option(
    "--exact/--formula",
    "is_exact",
    default=None,
    help="Ask the model's own code too, or the formulas alone; default: where transformers is installed.",
)
@click.option("--watch", is_flag=True, help="Look again every second at what is free, until Ctrl-C.")
@format_of("text", "json", "ndjson")
@config_option
@store_option
def command(
    model: str,
    batch: int,
    context: int | None,
    prompt: int | None,
    dtype: str,
    quantize: str,
    kv_dtype: str,
    ranks: int,
    attention: str,
    gpus: tuple[str, ...],
    free: list[int],
    overhead: int,
    utilization: float,
    is_exact: bool | None,
    watch: bool,
    output_format: str,
    config_path: Path | None,
    store_path: Path | None,
) -> None:
    """Check whether MODEL fits before you load it: the largest batch and context, and what each choice
    gains.

    MODEL is a model's folder or config.json, a hub id that was downloaded before, or a name of the
    catalogue (llama-2-7b). Nothing is downloaded, and no GPU is touched.
    """
    from vramwatch.cli.asked import Wishes, ask

    if watch and output_format == "json":
        raise UsageError("--watch prints many answers, and json is one; use --format ndjson")
    if free and gpus:
        raise UsageError(
            "--free plans for GPUs that are not here, --gpu for those that are; give one of them"
        )
    wishes = Wishes(
        batch, context, prompt, dtype, quantize, kv_dtype, ranks, attention, overhead, utilization
    )
    asked = ask(model, wishes, is_exact)
    rooms = _rooms(config_path, store_path, gpus, free, ranks)
    try:
        _show(asked, rooms, watch, output_format)
    except KeyboardInterrupt:
        if not watch:
            raise


def _rooms(
    config_path: Path | None, store_path: Path | None, gpus: tuple[str, ...], free: list[int], ranks: int
) -> Rooms:
    """Return what answers with the GPUs to plan for, as they are at that moment."""
    from vramwatch.cli.rooms import choose_rooms, free_by_the_daemon, present_rooms, written_rooms

    if free:
        written = written_rooms(free, ranks)
        return lambda _: written
    look: Callable[[], list[Free]] | None = None

    def present(least: int) -> "list[Room]":
        nonlocal look
        read = None if store_path else free_by_the_daemon(config_path, gpus)
        if read is None:
            look = look or _looks(config_path, store_path, gpus)
            read = look()
        return choose_rooms(present_rooms(read), ranks, least, are_named=bool(gpus))

    return present


def _looks(
    config_path: Path | None, store_path: Path | None, gpus: tuple[str, ...]
) -> "Callable[[], list[Free]]":
    """Return what looks into the store, else asks the driver, and says where that is not of now."""
    from vramwatch.cli.rooms import free_in
    from vramwatch.cli.status import now, open_looking
    from vramwatch.cli.views.status import standing_words
    from vramwatch.cli.views.terminal import tell

    looking = open_looking(config_path, store_path, gpus)
    told = None

    def look() -> "list[Free]":
        nonlocal told
        try:
            status, _ = looking.look(now())
        except NoDeviceError as error:
            raise NoDeviceError(f"{error} Or name what is free: --free 80GiB") from error
        if status.standing is not told and (words := standing_words(status)):
            tell(f"vramwatch: what is free is not of now. {words}", sys.stderr)
        told = status.standing
        return free_in(status)

    return look


def _answers(asked: "Asked", rooms: Rooms, watch: bool) -> "Iterator[Answer]":
    from vramwatch.cli.views.live import REFRESH

    while True:
        yield asked.answer(rooms)
        if not watch:
            return
        time.sleep(REFRESH)


def _show(asked: "Asked", rooms: Rooms, watch: bool, output_format: str) -> None:
    from vramwatch.cli.views.plan import plan_lines, plan_record
    from vramwatch.cli.views.terminal import terminal
    from vramwatch.cli.views.text import Line

    if output_format != "text":
        for answer in _answers(asked, rooms, watch):
            indent = 2 if output_format == "json" else None
            sys.stdout.write(json.dumps(plan_record(answer), indent=indent) + "\n")
            sys.stdout.flush()
        return
    target = terminal(sys.stdout)

    def draw(_: int) -> list[Line]:
        return plan_lines(asked.answer(rooms), target.width, target.glyphs)

    if watch and target.interactive:
        from vramwatch.cli.views.live import live

        live(target, draw, time.sleep)
        return
    for answer in _answers(asked, rooms, watch):
        target.show(plan_lines(answer, target.width, target.glyphs))
        if watch:
            target.show([Line()])
