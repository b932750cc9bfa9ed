"""docs/design.md draws the tree of the house, and is kept true."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
PAGE = (HERE / "docs" / "design.md").read_text(encoding="utf-8")
TREE = PAGE.partition("```\nREADME.md")[2].partition("```")[0]


def modules(folder):
    names = {
        each.stem for each in folder.iterdir() if each.suffix == ".py" or (each / "__init__.py").exists()
    }
    return {name for name in names if not name.startswith("__")}


@pytest.mark.parametrize("folder", ["vramwatch", "vramwatch/core"])
def test_the_tree_names_every_module_of_the_house_and_of_its_core(folder):
    assert modules(HERE / folder) - set(re.findall(r"\w+", TREE)) == set()
