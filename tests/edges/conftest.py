"""What tests of the edges are handed."""

import pytest

from vramwatch.config import load


@pytest.fixture
def configured(tmp_path):
    """Return what makes a Config of the text of a file."""

    def configured(text):
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return load(file, {}, {})

    return configured
