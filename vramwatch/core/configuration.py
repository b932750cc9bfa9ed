"""Reads the fields of a model's configuration: one name for each, and of the right type or refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, overload

_OTHER_NAMES: Mapping[str, Sequence[str]] = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv"),
    "intermediate_size": ("ffn_dim", "n_inner", "ffn_hidden_size"),
    "max_position_embeddings": ("n_positions", "max_seq_len", "max_sequence_length", "seq_length"),
    "num_experts": ("num_local_experts", "n_routed_experts"),
}
"""What some configurations call a field that most call otherwise."""

MOST = 10**9
"""No size that a configuration names is as large: what is was not meant."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one configuration, with what its model type assumes where it is silent."""

    config: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_type(self) -> str:
        return self.text("model_type") or ""

    @overload
    def number(self, *names: str, default: int | EllipsisType = ..., least: int = 1) -> int: ...
    @overload
    def number(self, *names: str, default: None, least: int = 1) -> int | None: ...
    def number(self, *names: str, default: int | EllipsisType | None = ..., least: int = 1) -> int | None:
        """Return the first of ``names`` that is there, under any name that it goes by.

        Errors: ValueError where it is no whole number from ``least`` on, or missing without a ``default``.
        """
        for name in names:
            value = self._value(name)
            if value is None or isinstance(value, str):  # "auto" stands for what the class works out
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
                raise ValueError(f"{name} is {value!r}, not a whole number")
            if not least <= value < MOST:
                raise ValueError(f"{name} is {value!r}; it is at least {least} and below {MOST:,}")
            return int(value)
        if not isinstance(default, EllipsisType):
            return default
        raise ValueError(f"it has no {' or '.join(names)}")

    def flag(self, name: str) -> bool | None:
        value = self._value(name)
        return value if isinstance(value, bool) else None

    def text(self, name: str) -> str | None:
        value = self._value(name)
        return value if isinstance(value, str) else None

    def texts(self, name: str) -> list[str] | None:
        value = self._value(name)
        return [str(each) for each in value] if isinstance(value, Sequence) else None

    def numbers(self, name: str) -> list[int] | None:
        value = self._value(name)
        if not isinstance(value, Sequence):
            return None
        return [each for each in value if isinstance(each, int)]

    def _value(self, name: str) -> object:
        for known in (name, *_OTHER_NAMES.get(name, ())):
            if self.config.get(known) is not None:
                return self.config[known]
        return self.defaults.get(name)
