"""Secrets of the configuration: where they are written, and how they stay out of every log and message."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

LONGEST = 8192
"""Characters of a secret: more than any URL or token has."""

MASKED = "********"


class Secret:
    """A text that is shown to nobody: ``reveal`` is the only way to it."""

    __slots__ = ("_text", "origin")

    def __init__(self, text: str, origin: str | None = None) -> None:
        """``origin``: where it was read from, which is no secret; None: it stood in the configuration."""
        self._text = text
        self.origin = origin

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Secret({self.origin or MASKED})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._text, self.origin) == (other._text, other.origin)

    def __hash__(self) -> int:
        return hash(self._text)


class SecretOutOfReach(ValueError):
    """A secret that this process cannot read: another, as the service, may well."""


HANDED = Path("/run/credentials/vramwatch.service")
"""Where systemd keeps what it hands to the service while that runs (systemd.exec(5), Credentials): what root
asks of the configuration in a shell, ``check`` and ``service install``, is answered by the same secrets."""

TELLING = 6
"""Characters from which on a part of an address is taken for a secret of its own, as a token in a path is."""


class Mask:
    """Takes secrets out of foreign text: receivers quote the address that they were called at."""

    def __init__(self, secrets: Iterable[str]) -> None:
        parts = {part for secret in secrets for part in _parts(secret) if part}
        forms = {form for part in parts for form in (part, unquote(part), quote(part), quote(part, safe=""))}
        longest_first = sorted(forms, key=len, reverse=True)
        self._parts = re.compile("|".join(map(re.escape, longest_first)) or "(?!)", re.IGNORECASE)
        self._forms = [form.lower() for form in longest_first]

    def __call__(self, text: str) -> str:
        masked = self._parts.sub("***", text)
        tail = masked[-LONGEST:].lower()
        cut = max((_begun(form, tail) for form in self._forms), default=0)
        return f"{masked[:-cut]}***" if cut else masked


def _begun(form: str, text: str) -> int:
    """Return how many characters of ``form`` ``text`` ends with: an answer may break off within a secret."""
    sizes = range(min(len(form), len(text)), TELLING - 1, -1)
    return next((size for size in sizes if text.endswith(form[:size])), 0)


def _parts(secret: str) -> Iterator[str]:
    """Yield a secret and, of an address, whatever a part of it gives away; its host is none."""
    yield secret
    if "://" not in secret:
        return
    try:
        address = urlsplit(secret)
        values = [value for _, value in parse_qsl(address.query)]
    except ValueError:
        return
    told = (*address.path.split("/"), *values, address.username or "", address.password or "")
    yield from (part for part in (address.path, address.query, *told) if len(part) >= TELLING)


class SecretText:
    """A secret as written, or ``env:NAME``, or ``credential:NAME`` (systemd.exec(5), LoadCredential)."""

    accepted = "the text itself, env:NAME or credential:NAME"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(_read_text, lambda secret: secret and (secret.origin or MASKED))


class SecretFile:
    """The path of a file that holds the secret alone; it is read when the configuration is."""

    accepted = "an absolute path"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(_read_file, lambda secret: secret and secret.origin)


def _schema(read: Any, write: Any) -> CoreSchema:
    return core_schema.no_info_plain_validator_function(
        lambda value: None if value is None else read(value),
        serialization=core_schema.plain_serializer_function_ser_schema(write, when_used="json"),
    )


def _read_text(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
        raise ValueError(f"not a secret; write {SecretText.accepted}")
    kind, colon, name = value.partition(":")
    if colon and kind == "env":
        return _checked(os.environ.get(name), f"the environment has no {name}", value)
    if colon and kind == "credential":
        if "/" in name:
            raise ValueError("a credential's name has no slash")
        return _from_file(_credentials(name) / name, value)
    return Secret(value)


def _credentials(name: str) -> Path:
    """Return the folder of credentials: this process's own, else the service's where it can be read."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is not None:
        return Path(folder)
    if os.access(HANDED, os.R_OK | os.X_OK):
        return HANDED
    if os.path.exists(HANDED):  # noqa: PTH110 - Path.exists raises where this user may not even look
        raise SecretOutOfReach(
            f"the credential {name} is handed to the service, and root alone can read it beside; "
            "run the same command with sudo"
        )
    raise SecretOutOfReach(
        f"no credentials were handed in; add LoadCredential={name}:/path to the unit and restart it, "
        "and in a shell be root"
    )


def _read_file(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"not a path; write {SecretFile.accepted}")
    return _from_file(Path(value), value)


def _from_file(path: Path, origin: str) -> Secret:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SecretOutOfReach(
            f"{path} cannot be read: {why}; name a file that vramwatch's user can read"
        ) from None
    return _checked(text, f"{path} is empty", origin)


def _checked(text: str | None, what: str, origin: str) -> Secret:
    """Return the secret without the line end that editors add."""
    bare = (text or "").strip()
    if not bare:
        raise SecretOutOfReach(f"{what}; put the secret there")
    if len(bare) > LONGEST or "\n" in bare:
        raise ValueError(f"{origin}: more than one line, or longer than {LONGEST} characters")
    return Secret(bare, origin)
