"""Take the secrets out of a command line, and leave the rest as it is. Pure.

Command lines are kept for weeks and sent to chat rooms, so a secret is looked for in every form that
servers take it: after or within an option, an assignment, a header, a URL, or standing bare.
When in doubt a word is hidden; model names, paths, digests and UUIDs are not in doubt.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto

from vramwatch.procfs.texts import cut

HIDDEN = "***"
COMMAND_LIMIT = 256
"""Bytes of a command line that are kept, the blanks between its arguments counted."""

_SECRET_WORDS = frozenset(
    {
        "token",
        "password",
        "passwd",
        "passphrase",
        "passcode",
        "pwd",
        "secret",
        "secrets",
        "credential",
        "credentials",
        "authorization",
        "bearer",
        "apikey",
        "apikeys",
        "authkey",
        "accesskey",
        "secretkey",
        "privatekey",
        "hftoken",
        "authtoken",
        "accesstoken",
    }
)
_KEY_WORDS = frozenset(
    {"api", "access", "secret", "private", "auth", "signing", "encryption", "master", "account", "admin"}
)
"""What makes a following ``key`` or ``keys`` a secret: --api-key, but not --routing-key."""

_NOT_A_SECRET_LAST = frozenset(
    {"file", "files", "path", "dir", "env", "header", "name", "type", "url", "id", "ids"}
)
"""Where the option tells where a secret is, or what it is called: --api-key-file PATH."""

_TEXT_TOKEN_WORDS = frozenset(
    {
        "max",
        "min",
        "num",
        "new",
        "per",
        "eos",
        "bos",
        "pad",
        "unk",
        "cls",
        "sep",
        "mask",
        "stop",
        "special",
        "image",
        "video",
        "audio",
        "draft",
        "budget",
        "limit",
        "batch",
        "total",
        "prefill",
        "decode",
        "reasoning",
        "think",
        "end",
        "start",
        "begin",
        "skip",
        "add",
    }
)
"""Where ``token`` is a piece of text: --max-token 4096, --eos-token </s>."""

_EXACT_SECRET_OPTIONS = frozenset({"-hft"})  # llama.cpp common/arg.cpp: -hft, --hf-token TOKEN
_TAKE_SEVERAL = ("api-key", "api-keys")  # vllm/entrypoints/openai/cli_args.py: a list of keys

_NAME_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")
_WORDS = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*'|["'])+|\s+""")
_QUOTED = re.compile(r"""\"[^"]*\"|'[^']*'""")
_NAMED = re.compile(r"""(?<![\w.-])[\w.-]+\\?["']?\s*[:=]\s*(?!$)""")
_ASSIGNED = re.compile(r"""\\?"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,;&}\]]+""")
_SCHEME_WORDS = frozenset({"bearer", "basic", "digest", "token"})
"""What stands between ``Authorization:`` and the secret itself (RFC 9110, section 11.6.2)."""

_URL_WITH_USER = re.compile(
    r"(?<![\w+.-])(?P<scheme>[A-Za-z][\w+.-]*://)(?:[^\s/@:\[]*:(?!\d+(?:[/?#]|$))\S*|[^\s/?#]*)@"
)
"""RFC 3986, section 3.2.1; a password may hold a raw slash, a port is no password."""

_KNOWN_SHAPES = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        hf_[A-Za-z0-9]{16,}                 # Hugging Face
      | sk-[\w-]{20,} | sk_(?:live|test)_\w{8,}
      | gh[pousr]_\w{16,} | github_pat_\w{16,} | glpat-[\w-]{16,}
      | xox[a-z]-[\w-]{8,} | xapp-[\w-]{8,}
      | nvapi-[\w-]{16,} | gsk_\w{16,} | r8_\w{16,} | tgp_\w{16,}
      | npm_\w{20,} | pypi-[\w-]{20,} | dckr_pat_[\w-]{16,}
      | A(?:KIA|SIA)[0-9A-Z]{12,} | AIza[\w-]{20,}
      | eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]+)?   # a JSON web token
    )""",
    re.VERBOSE,
)

_LONG_RUN = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_PIECE = re.compile(r"[A-Za-z0-9]+")
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_SHORTEST_RANDOM = 20
"""Letters and digits below which a run is too short to be told from a name."""
_CHANGES_OF_RANDOM = 0.25
"""Share of neighbours of different class (word, capitals, digits) from which on a run is no name.
Random base-62 text has about 0.5; names such as Meta-Llama-3.1-70B-Instruct-AWQ-INT4 below 0.2."""


def redact_command(argv: Sequence[str], limit: int = COMMAND_LIMIT) -> tuple[str, ...]:
    """Return ``argv`` without its secrets, cut to ``limit`` bytes with the blanks between arguments."""
    return bounded(_redact_words(argv), limit)


def bounded(argv: Iterable[str], limit: int) -> tuple[str, ...]:
    """Return ``argv`` cut to ``limit`` bytes with the blanks between arguments."""
    kept: list[str] = []
    left = limit
    for argument in argv:
        if left <= 0:
            break
        shown = cut(argument, left)
        kept.append(shown)
        left -= len(shown.encode()) + 1
    return tuple(kept)


def redact_text(text: str) -> str:
    """Return ``text`` without its secrets: a title, one argument, the value of a variable."""
    words = _WORDS.findall(text)
    if len(words) > 1:
        return "".join(_redact_words(words))
    if _QUOTED.fullmatch(text):
        return f"{text[0]}{redact_text(text[1:-1])}{text[0]}"
    return _redact_word(_QUOTED.sub(lambda quoted: redact_text(quoted[0]), text))


def is_secret_name(name: str) -> bool:
    """Whether what is called ``name`` (an option, a variable, a header, a key of JSON) is a secret."""
    parts = [part.lower() for part in _NAME_PARTS.findall(name)]
    if not parts or parts[-1] in _NOT_A_SECRET_LAST:
        return False
    for before, part in zip(["", *parts], parts, strict=False):
        if part in ("key", "keys") and before in _KEY_WORDS:
            return True
        if part in _SECRET_WORDS and not (part == "token" and _TEXT_TOKEN_WORDS.intersection(parts)):
            return True
    return False


def _redact_words(words: Sequence[str]) -> Iterator[str]:
    """Redact words in their order: an option, a header or a scheme hides what follows it."""
    hides = _Hides.NOTHING
    for word in words:
        bare = word.strip("\"'")
        is_option = _OPTION.fullmatch(bare) is not None
        is_scheme = bare.lower() == "bearer" or (hides is _Hides.HEADER and bare.lower() in _SCHEME_WORDS)
        if word.isspace():
            yield word
        elif is_scheme:
            yield word
            hides = _Hides.NEXT
        elif hides is _Hides.NOTHING or (is_option and bare.startswith("--")):
            yield redact_text(word) if any(map(str.isspace, word)) else _redact_word(word)
            hides = _hidden_after(bare, is_option)
        elif hides is _Hides.SEVERAL and is_option:
            yield _redact_word(word)
            hides = _hidden_after(bare, is_option)
        else:
            yield HIDDEN
            hides = _Hides.SEVERAL if hides is _Hides.SEVERAL else _Hides.NOTHING


class _Hides(Enum):
    """What of the words to come is a secret."""

    NOTHING = auto()
    NEXT = auto()
    HEADER = auto()  # the next word, or the one behind the name of a scheme
    SEVERAL = auto()  # every word before the next option


def _hidden_after(word: str, is_option: bool) -> _Hides:
    if word.endswith((":", "=")):
        return _Hides.HEADER if is_secret_name(word[:-1]) else _Hides.NOTHING
    if not is_option or not (word in _EXACT_SECRET_OPTIONS or is_secret_name(word)):
        return _Hides.NOTHING
    return _Hides.SEVERAL if word.lower().replace("_", "-").endswith(_TAKE_SEVERAL) else _Hides.NEXT


def _redact_word(word: str) -> str:
    head, at, rest = word.rpartition("@")  # where none follows, each :// would look for one to the end
    word = _URL_WITH_USER.sub(rf"\g<scheme>{HIDDEN}@", head + at) + rest
    word = _hide_assigned(word)
    word = _KNOWN_SHAPES.sub(HIDDEN, word)
    return _LONG_RUN.sub(_hide_random, word)


def _hide_assigned(word: str) -> str:
    """Hide what is assigned to the name of a secret: NAME=x, --name=x, ?name=x&, {"name": "x"}."""
    shown: list[str] = []
    position = 0
    for named in _NAMED.finditer(word):
        if named.start() < position or not is_secret_name(named[0]):
            continue
        shown += [word[position : named.end()], HIDDEN]
        if not word[: named.start()].strip("\"'"):
            return "".join(shown)  # the word as a whole is one assignment: its value may hold anything
        assigned = _ASSIGNED.match(word, named.end())
        position = assigned.end() if assigned else named.end()
    return "".join([*shown, word[position:]])


def _hide_random(match: re.Match[str]) -> str:
    shown = "/".join(HIDDEN if _is_random(part) else part for part in match[0].split("/"))
    return HIDDEN if _is_random(shown) else shown  # base-64 holds slashes of its own


def _is_random(run: str) -> bool:
    """Whether ``run`` changes between words, capitals and digits too often to be a name."""
    pieces = [piece for piece in _PIECE.findall(run) if not _HEX.fullmatch(piece)]
    length = sum(map(len, pieces))
    if length < _SHORTEST_RANDOM:
        return False
    changes = sum(len(_NAME_PARTS.findall(piece)) - 1 for piece in pieces)
    return changes / length >= _CHANGES_OF_RANDOM
