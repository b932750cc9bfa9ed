"""Questions to stores of polls made by hand, as they are called from a shell."""

from click.testing import CliRunner

from tests.polls import START
from vramwatch.cli import main


def ask(path, *arguments, code=0):
    """Run ``vramwatch history`` on the store at ``path``, and return its result."""
    result = CliRunner().invoke(main, ["history", "--store", str(path), *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def whole(path, *arguments, code=0):
    """Ask about all time since this boot."""
    return ask(path, "--since", str(START), *arguments, code=code)
