"""Errors that the caller cannot continue from. Each carries its exit code (docs/design.md, 5)."""


class VramwatchError(Exception):
    """A sentence for the person at the terminal: what is wrong, where, and what to do."""

    exit_code = 1


class UsageError(VramwatchError):
    """Bad usage or a bad input file."""

    exit_code = 2


class NoDeviceError(VramwatchError):
    """No driver or no device."""

    exit_code = 69


class StoreError(VramwatchError):
    """The store cannot be used."""

    exit_code = 74


class ConfigError(VramwatchError):
    """Bad configuration; the text holds every fault, one a line."""

    exit_code = 78


def without_words(error: Exception) -> Exception:
    """Return what a log may show of ``error``: its place and its kind. Its words may hold a secret.

    It is of another class, for one that needs arguments could not be made again.
    """
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)
