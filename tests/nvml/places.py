"""Where calls are counted, delayed and made to fail: everywhere, on one GPU, or on one MIG instance."""

from fnmatch import fnmatchcase

from tests.nvml.state import (
    ABORT,
    ANY,
    FAIL,
    FOREVER,
    FUNCTION_ROWS,
    FUNCTIONS,
    HANG,
    HANG_UNKILLABLE,
    SEGFAULT,
    State,
)


def matching(pattern: str) -> list[str]:
    """Return the functions that ``pattern`` ("nvmlInit*") means; "*" is the one entry that stands for all.

    Errors: ValueError when there is none.
    """
    if pattern == ANY:
        return [ANY]
    found = [name for name in FUNCTIONS if fnmatchcase(name, pattern)]
    if not found:
        raise ValueError(f"{pattern!r} is no function of the test driver; see FUNCTIONS in state.py")
    return found


class Place:
    """One column of the tables of faults and of calls.

    ``function`` is a name or a pattern. ``times``: for so many calls, counted for each function by itself
    ("*": all together); None: until cleared. The most particular fault applies: function here, function
    everywhere, "*" here, "*" everywhere. Faults of a GPU are not those of its MIG instances.
    """

    def __init__(self, state: State, place: int) -> None:
        self._state = state
        self._place = place

    def fail(self, function: str, code: int, times: int | None = None) -> None:
        """Answer with the NVML return ``code``."""
        self._set(function, FAIL, times, code)

    def hang(self, function: str, times: int | None = None, unkillable: bool = False) -> None:
        """Do not return until FakeDriver.free_hung().

        ``unkillable``: meanwhile only SIGKILL ends the process.
        """
        self._set(function, HANG_UNKILLABLE if unkillable else HANG, times)

    def abort(self, function: str, times: int | None = None) -> None:
        """End the caller's process by SIGABRT."""
        self._set(function, ABORT, times)

    def segfault(self, function: str, times: int | None = None) -> None:
        """End the caller's process by SIGSEGV."""
        self._set(function, SEGFAULT, times)

    def delay(self, function: str, microseconds: int) -> None:
        """Sleep so long in each call, beside any fault; the kernel adds its timer slack."""
        for name in matching(function):
            self._state.faults[FUNCTION_ROWS[name]][self._place].delay = microseconds

    def clear(self, function: str = ANY) -> None:
        """End the faults and delays here of ``function``; "*": all of them."""
        for name in FUNCTION_ROWS if function == ANY else matching(function):
            fault = self._state.faults[FUNCTION_ROWS[name]][self._place]
            fault.word = fault.delay = 0

    def calls(self, function: str = ANY) -> int:
        """Return how many calls arrived here, failed ones too."""
        names = FUNCTIONS if function == ANY else matching(function)
        return sum(self._state.calls[FUNCTION_ROWS[name]][self._place] for name in names)

    def _set(self, function: str, kind: int, times: int | None, code: int = 0) -> None:
        count = FOREVER if times is None else times
        for name in matching(function):
            fault = self._state.faults[FUNCTION_ROWS[name]][self._place]
            fault.word = kind << 48 | code << 32 | count if count else 0
