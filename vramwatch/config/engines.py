"""The section that says whether and where engines are asked for figures of their own."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field
from pydantic.functional_validators import AfterValidator

from vramwatch.core.units import Seconds
from vramwatch.credentials import Secret, SecretFile
from vramwatch.options import Glob, Section
from vramwatch.quantities import Duration

MAX_URLS = 64
"""Services whose address has to be written."""

_ACCEPTED = "write http://HOST:PORT or https://HOST:PORT, with a path if it is behind one"


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or any(character <= " " or character == "\x7f" for character in text):
        raise ValueError(f"no address; {_ACCEPTED}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"more than an address; {_ACCEPTED}, and put a token into token_file")
    return text.rstrip("/")


class EngineUrl(Section):
    """Where an engine tells its figures, if it cannot be found from its process."""

    owner: Glob = Field(description="The owner of the engine, by name or key; globs.", examples=["chat"])
    url: Annotated[str, Field(max_length=1024), AfterValidator(_address)] = Field(
        description="Its address, without a path. It may be on another interface or machine.",
        examples=["http://10.0.0.5:8000"],
    )
    token_file: Annotated[Secret | None, SecretFile()] = Field(
        None, description="A file with the token that the engine requires, and nothing else. null: none."
    )


class EnginesOptions(Section):
    """Figures that inference engines tell of themselves; docs/engines.md lists them."""

    enabled: bool = Field(
        True,
        description=(
            "Whether engines are asked for their figures over HTTP. Only addresses of this "
            "machine are asked, and those in urls."
        ),
    )
    interval: Annotated[Seconds, Duration("1s", "10m")] = Field(
        Seconds(5.0), description="How often each engine is asked."
    )
    urls: tuple[EngineUrl, ...] = Field(
        (),
        max_length=MAX_URLS,
        description=(
            "Addresses of engines that are not found automatically: in their own network, or with "
            "a token. The first match counts."
        ),
    )
