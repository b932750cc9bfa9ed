"""What a scaled model keeps of the family that it is of; no torch is needed."""

import pytest

from vramwatch import models
from vramwatch.core.architecture import read_architecture
from vramwatch.core.kvmath import Attention
from vramwatch.probe.families import config_of


def kinds(config) -> set[tuple[str, bool]]:
    """Return what the layers keep: which kind of cache, and whether it has a window."""
    return {
        (type(each).__name__, isinstance(each, Attention) and each.window is not None)
        for each in read_architecture(config).caches
    }


@pytest.mark.parametrize("name", models.names())
def test_a_scaled_model_has_layers_of_every_kind_that_its_family_has(name: str) -> None:
    whole, scaled = config_of(name, True), config_of(name, False)
    assert whole is not None
    assert scaled is not None
    assert kinds(scaled) == kinds(whole)
