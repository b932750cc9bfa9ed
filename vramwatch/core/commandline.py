"""What an argv runs: which program, with which arguments. Foreign text; nothing here raises.

Source of the interpreter's flags: "Command line and environment" of the Python documentation.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vramwatch.core.model import Ancestor, ProcessFacts

_INTERPRETER = re.compile(r"(?:python|pypy)[\d.]*")
# Flags without a value may stand together and before the one that names the program: "-um", "-Ic".
_RUNS_MODULE_OR_CODE = re.compile(r"-[bBdEhiIOPqRsSuvVx?]*(?P<what>[mc])(?P<joined>.*)", re.DOTALL)
_FLAGS_WITH_VALUE = frozenset({"-W", "-X", "--check-hash-based-pycs"})
# How a child of multiprocessing is started: multiprocessing/spawn.py, forkserver.py, resource_tracker.py
_MULTIPROCESSING = "from multiprocessing"
_HUGGING_FACE_CACHE = "models--"  # huggingface_hub/file_download.py, repo_folder_name


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments.

    ``program``: the base name of the script or of the executable, or the name of the module; empty
    when the argv is. ``path``: the same with its folder. ``code``: the text of ``python -c``.
    """

    program: str
    path: str
    arguments: tuple[str, ...] = ()
    code: str | None = None

    @property
    def is_multiprocessing_child(self) -> bool:
        """Whether it only says that multiprocessing started it, and not what it runs."""
        return self.code is not None and self.code.startswith(_MULTIPROCESSING)


def parse(argv: Sequence[str]) -> Command:
    """Return what ``argv`` runs: the script or module rather than the interpreter that runs it."""
    if not argv:
        return Command("", "")
    executable = _executable(argv[0])
    name = _base_name(executable)
    rest = tuple(argv[1:])
    return _parse_python(name, rest) if _INTERPRETER.fullmatch(name) else Command(name, executable, rest)


def _executable(first: str) -> str:
    """A title set by setproctitle stands in the first argument whole: "nginx: worker process"."""
    if first.startswith("/"):
        return first
    words = first.split(maxsplit=1)
    return words[0].rstrip(":") if words else ""


def _base_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _script_name(path: str) -> str:
    """A package that is run as a script is named by its folder."""
    name = _base_name(path)
    return _base_name(path.removesuffix("__main__.py")) or name if name == "__main__.py" else name


def _parse_python(interpreter: str, words: tuple[str, ...]) -> Command:
    position = 0
    while position < len(words):
        word = words[position]
        named = _RUNS_MODULE_OR_CODE.fullmatch(word)
        if named:
            following = words[position + 1 :]
            named_text = named["joined"] or (following[0] if following else "")
            arguments = following if named["joined"] else following[1:]
            if named["what"] == "c":
                return Command(interpreter, interpreter, arguments, named_text)
            return Command(named_text or interpreter, named_text or interpreter, arguments)
        if not word.startswith("-") or word == "-":
            break
        position += 2 if word in _FLAGS_WITH_VALUE else 1
    if position >= len(words) or words[position] in {"-", ""}:
        return Command(interpreter, interpreter, words[position:])
    return Command(_script_name(words[position]) or interpreter, words[position], words[position + 1 :])


def lineage(facts: ProcessFacts) -> tuple[Ancestor, ...]:
    """Return the process itself and then its ancestors, parent first; never empty."""
    itself = Ancestor(facts.key.pid, facts.name, facts.argv, facts.title)
    return (itself, *facts.ancestors)


def working_command(facts: ProcessFacts) -> Command:
    """Return the command that a process works for.

    That is its own; for a child of multiprocessing, that of the nearest ancestor which is none; for
    a process without an argv (a zombie has none), its comm as the program.
    """
    if not facts.argv:
        return Command(facts.name, facts.name)
    commands = [parse(each.argv) for each in lineage(facts) if each.argv]
    return next((each for each in commands if not each.is_multiprocessing_child), commands[0])


def own_title(facts: ProcessFacts) -> str:
    """Return what a process calls itself; its comm (15 characters at most) when it has no title."""
    return facts.title or facts.name


def option(arguments: Sequence[str], *names: str) -> str | None:
    """Return the first value of the option that has one of ``names``, tried in their order.

    Both "--name value" and "--name=value" count, and ``_`` for ``-``: argparse in vLLM and SGLang
    takes either. None when it is absent or has no value.
    """
    for name in names:
        for position, word in enumerate(arguments):
            flag, joined, value = word.partition("=")
            if _spelled(flag) != name:
                continue
            if not joined:
                value = next(iter(arguments[position + 1 : position + 2]), "")
            if value and (joined or not value.startswith("--")):
                return value
    return None


def has_option(arguments: Sequence[str], names: frozenset[str]) -> bool:
    """Return whether any option of ``names`` is given, with or without a value."""
    return any(_spelled(word.partition("=")[0]) in names for word in arguments)


def _spelled(flag: str) -> str:
    return flag.replace("_", "-") if flag.startswith("--") else flag


def operand(arguments: Sequence[str], *subcommand: str) -> str | None:
    """Return the argument right after ``subcommand``: MODEL in "serve MODEL"; None for an option.

    An operand that stands behind options is not found: their values cannot be told from it.
    """
    words = len(subcommand)
    if tuple(arguments[:words]) != subcommand or len(arguments) <= words:
        return None
    return None if arguments[words].startswith("-") else arguments[words]


def model_name(text: str | None) -> str | None:
    """Return a model's name without its folder or organisation: "Llama-3-8B", "x.gguf"; None for nothing.

    A snapshot in the cache of huggingface_hub is named by its repository, not by its revision.
    """
    parts = [part for part in (text or "").split("/") if part.strip()]
    cached = next((part for part in parts if part.startswith(_HUGGING_FACE_CACHE)), None)
    if cached:
        return cached.split("--", 2)[-1] or None
    return parts[-1] if parts else None
