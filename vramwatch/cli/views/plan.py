"""Whether a model fits: for people, and as data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vramwatch.cli.checking import Check
from vramwatch.cli.naming import Named
from vramwatch.cli.views.text import Glyphs, Line, Span, Tone, columns, left, line, right, wrap
from vramwatch.core.choices import Choice, Plan, Pool
from vramwatch.core.kvmath import bytes_per_token, constant_bytes, kv_bytes
from vramwatch.core.planning import Part
from vramwatch.core.units import show_bytes

if TYPE_CHECKING:
    from vramwatch.core.records import Json

NARROWEST = 60

NAME, FIGURE = 14, 12
"""Columns of what a row is about, and of a figure in it."""

BILLION = 10**9

MODULES = {"opt": "model.decoder", "mamba": "backbone", "mamba2": "backbone", "": "model"}
"""What transformers calls the part of a model that holds its layers; of other types than these: "model"."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A Plan with the model that it is of, how it was checked, and what must be known beside it."""

    named: Named
    plan: Plan
    check: Check
    notes: tuple[str, ...] = ()


# --- for people ------------------------------------------------------------------------------------


def plan_lines(answer: Answer, width: int, glyphs: Glyphs) -> list[Line]:
    """Return the view of ``answer`` in ``width`` columns, at least 60."""
    width = max(width, NARROWEST)
    plan = answer.plan
    lines = [
        *wrap(_model_words(answer), width, 0, Tone.STRONG),
        *_verdict(plan, width),
        *_need_lines(plan, width, glyphs),
        *_largest(plan, width),
    ]
    if plan.parts and len(plan.parts) > 1 and plan.demand.ranks == 1:
        lines += [Line(), *wrap("Device map, with room left for the cache of each layer:", width, 0)]
        lines += [each for part in plan.parts for each in wrap(_part_words(part), width, 2)]
    if plan.pool:
        lines += [Line(), *wrap(_pool_words(plan.pool, plan.demand.context), width, 0, _pool_tone(plan.pool))]
    if plan.choices:
        lines += [Line(), *_choice_lines(plan.choices, width, glyphs)]
    lines.append(Line())
    lines += wrap(
        _check_words(answer.check), width, 0, Tone.WARNING if answer.check.differences else Tone.FAINT
    )
    return lines + [each for note in answer.notes for each in wrap(f"Note: {note}.", width, 0, Tone.FAINT)]


def _model_words(answer: Answer) -> str:
    architecture, demand = answer.plan.architecture, answer.plan.demand
    count, computed = architecture.parameters / BILLION, str(demand.precision.dtype)
    weights = _stored(str(demand.weights), "likewise")
    cache = _stored(str(demand.precision.kv), "likewise" if weights == "likewise" else f"in {computed}")
    return (
        f"{answer.named.name}: {count:.2f} billion parameters in {len(architecture.layers)} layers, "
        f"computed in {computed}, weights {weights}, cache {cache}"
    )


def _stored(kind: str, unchanged: str) -> str:
    return unchanged if kind in ("none", "auto") else f"in {kind}"


def _verdict(plan: Plan, width: int) -> list[Line]:
    used = [part.room for part in plan.parts] if plan.parts else plan.rooms
    rooms = ", ".join(f"{room.name} ({show_bytes(room.free)} free)" for room in used)
    shared = f", each with 1/{plan.demand.ranks} of every layer" if plan.demand.ranks > 1 else ""
    needed = f"{show_bytes(plan.need.peak)}{' each' if shared else ''}"
    if plan.parts:
        return wrap(f"Fits on {rooms}{shared}: it needs {needed} at its fullest moment.", width, 0)
    lacks = plan.need.peak - (min if shared else sum)(room.free for room in plan.rooms)
    words = f"Does not fit on {rooms}{shared}: it needs {needed} at its fullest moment"
    if lacks > 0:
        return wrap(f"{words}, {show_bytes(lacks)} too much.", width, 0, Tone.WARNING)
    return wrap(f"{words}, and every GPU needs its own activations and overhead.", width, 0, Tone.WARNING)


def _need_lines(plan: Plan, width: int, glyphs: Glyphs) -> list[Line]:
    need, demand = plan.need, plan.demand
    caches, precision = plan.architecture.caches, demand.precision
    first = bytes_per_token(caches, precision, 0, demand.ranks)
    later = bytes_per_token(caches, precision, demand.context, demand.ranks)
    constant = constant_bytes(caches, precision, demand.ranks)
    grown = f"{first:,} bytes a token" + (f", {later:,} beyond the window" if later < first else "")
    state = f"{show_bytes(constant)} of state each" if constant else ""
    sequences = f"{demand.batch} x {demand.context:,} tokens"
    cache = "; ".join(each for each in (sequences, grown if first else "", state) if each)
    rows = [
        ("weights", need.weights, ""),
        ("KV cache", need.cache, cache),
        ("activations", need.activations, f"about, of a prompt of {demand.prompt:,} tokens"),
        ("overhead", need.overhead, "set aside for the CUDA context, workspaces and rounding"),
    ]
    return [
        line(
            "  "
            + left(name, NAME, glyphs.ellipsis)
            + right(show_bytes(size), FIGURE)
            + (f"   {words}" if words else "")
        )
        for name, size, words in rows
    ]


def _largest(plan: Plan, width: int) -> list[Line]:
    demand, made_for = plan.demand, plan.architecture.context
    batch = f"Largest batch of {demand.context:,} tokens each: {plan.max_batch:,}."
    context = f"Longest context at batch {demand.batch}: {plan.max_context:,} tokens"
    bound = ", all that the model was made for" if plan.max_context == made_for else ""
    return wrap(f"{batch} {context}{bound}.", width, 0, Tone.STRONG)


def _part_words(part: Part) -> str:
    first, end = part.layers
    inside = [f"layers {first} to {end - 1}"] if end > first else []
    if part.has_embeddings:
        inside.insert(0, "embeddings")
    if part.has_head:
        inside.append("head")
    filled = f"{show_bytes(part.need.peak)} of {show_bytes(part.room.free)} free"
    return f"{part.room.name}: {', '.join(inside)}; {filled}"


def _pool_words(pool: Pool, context: int) -> str:
    begin = f"vLLM at gpu_memory_utilization {pool.utilization:g}"
    if not pool.pool:
        return f"{begin} would leave nothing for its KV cache."
    holds = f"{pool.tokens:,} tokens, or {pool.sequences:.1f} sequences of {context:,}"
    if pool.starts:
        return f"{begin} would leave {show_bytes(pool.pool)} for its KV cache: {holds}."
    return (
        f"{begin} would not start: so much is not free; the highest that starts is {pool.highest:g}. "
        f"On an empty GPU it would leave {show_bytes(pool.pool)}: {holds}."
    )


def _pool_tone(pool: Pool) -> Tone:
    return Tone.PLAIN if pool.starts and pool.pool else Tone.WARNING


def _choice_lines(choices: Sequence[Choice], width: int, glyphs: Glyphs) -> list[Line]:
    names = [choice.option or choice.what for choice in choices]
    room = min(max(columns(name) for name in names), width - 3 * FIGURE - 2)
    head = " " * (room + 2) + "".join(right(name, FIGURE) for name in ("saves", "batch", "context"))
    rows = [line("What each choice changes:"), line(head, Tone.FAINT)]
    for choice, name in zip(choices, names, strict=True):
        figures = (show_bytes(choice.saved), f"{choice.max_batch:,}", f"{choice.max_context:,}")
        text = "  " + left(name, room, glyphs.ellipsis) + "".join(right(each, FIGURE) for each in figures)
        rows.append(Line((Span(text, Tone.WARNING if choice.saved < 0 else Tone.PLAIN),)))
    return rows


def _check_words(check: Check) -> str:
    if check.agrees is None:
        return f"By formula alone: {check.why}."
    if check.agrees:
        return f"Parameters, and the cache of each layer, are those of the real code: {check.by}."
    return f"The real code says otherwise ({check.by}): {'; '.join(check.differences)}."


# --- as data ---------------------------------------------------------------------------------------


def plan_record(answer: Answer) -> "Json":
    """Return one object. ``max_batch`` and ``max_context`` are 0 where nothing fits."""
    plan, demand, architecture = answer.plan, answer.plan.demand, answer.plan.architecture
    caches, precision, ranks = architecture.caches, demand.precision, demand.ranks
    return {
        "model": answer.named.name,
        "origin": answer.named.origin,
        "model_type": architecture.model_type,
        "parameters": architecture.parameters,
        "layers": len(architecture.layers),
        "fits": plan.parts is not None,
        "max_batch": plan.max_batch,
        "max_context": plan.max_context,
        "model_context": architecture.context,
        "batch": demand.batch,
        "context": demand.context,
        "prompt": demand.prompt,
        "dtype": str(precision.dtype),
        "kv_dtype": str(precision.kv),
        "quantize": str(demand.weights),
        "tensor_parallel": ranks,
        "bytes_per_token": bytes_per_token(caches, precision, 0, ranks),
        "bytes_per_token_at_context": bytes_per_token(caches, precision, demand.context, ranks),
        "state_bytes": constant_bytes(caches, precision, ranks),
        "added_bytes_per_sequence": plan.sequence,
        "sequence_bytes": kv_bytes(caches, demand.context, precision, ranks),
        "weights_bytes": plan.need.weights,
        "kv_bytes": plan.need.cache,
        "activation_bytes": plan.need.activations,
        "overhead_bytes": plan.need.overhead,
        "peak_bytes": plan.need.peak,
        "gpus": [
            {"gpu": room.name, "free_bytes": room.free, "total_bytes": room.total} for room in plan.rooms
        ],
        "parts": None if plan.parts is None else [_part_record(part) for part in plan.parts],
        "device_map": device_map(plan),
        "max_memory": _max_memory(plan),
        "vllm": _pool_record(plan.pool),
        "choices": [_choice_record(choice) for choice in plan.choices],
        "check": {
            "by": answer.check.by,
            "agrees": answer.check.agrees,
            "why": answer.check.why or None,
            "differences": list(answer.check.differences),
        },
        "notes": list(answer.notes),
    }


def device_map(plan: Plan) -> "Json | None":
    """Return the place of every module, as accelerate's ``dispatch_model`` takes it: module -> GPU by number.

    Numbers count the GPUs of the plan. None: it does not fit, or every GPU has a part of every layer.
    """
    if plan.parts is None or plan.demand.ranks > 1:
        return None
    model_type = plan.architecture.model_type
    prefix = MODULES.get(model_type, MODULES[""])
    places: dict[str, int] = {}
    for part in plan.parts:
        number = plan.rooms.index(part.room)
        if part.has_embeddings:
            places[f"{prefix}.{'embeddings' if prefix == 'backbone' else 'embed_tokens'}"] = number
            if model_type == "opt":
                places[f"{prefix}.embed_positions"] = number
        places |= {f"{prefix}.layers.{layer}": number for layer in range(*part.layers)}
        if part.has_head:
            places[f"{prefix}.{_last_norm(model_type)}"] = number
            places["lm_head"] = number
    return places


def _last_norm(model_type: str) -> str:
    return {"opt": "final_layer_norm", "mamba": "norm_f", "mamba2": "norm_f", "jamba": "final_layernorm"}.get(
        model_type, "norm"
    )


def _max_memory(plan: Plan) -> "Json | None":
    """Return how much of each GPU weights may take, for ``infer_auto_device_map``: what the rest leaves."""
    if plan.parts is None or plan.demand.ranks > 1:
        return None
    return {
        str(plan.rooms.index(part.room)): part.room.free - (part.need.peak - part.need.weights)
        for part in plan.parts
    }


def _part_record(part: Part) -> "Json":
    return {
        "gpu": part.room.name,
        "first_layer": part.layers[0],
        "layers": part.layers[1] - part.layers[0],
        "embeddings": part.has_embeddings,
        "head": part.has_head,
        "weights_bytes": part.need.weights,
        "peak_bytes": part.need.peak,
        "free_bytes": part.room.free,
    }


def _pool_record(pool: Pool | None) -> "Json | None":
    if pool is None:
        return None
    return {
        "gpu_memory_utilization": pool.utilization,
        "kv_pool_bytes": pool.pool,
        "tokens": pool.tokens,
        "sequences": pool.sequences,
        "starts": pool.starts,
        "highest_utilization": pool.highest,
    }


def _choice_record(choice: Choice) -> "Json":
    return {
        "option": choice.option or None,
        "what": choice.what,
        "saved_bytes": choice.saved,
        "max_batch": choice.max_batch,
        "max_context": choice.max_context,
    }


def named_notes(notes: Iterable[str | None]) -> tuple[str, ...]:
    """Return the notes that there are, each once."""
    return tuple(dict.fromkeys(note for note in notes if note))
