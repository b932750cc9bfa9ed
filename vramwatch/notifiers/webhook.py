"""A generic webhook: the message as JSON of a documented schema, signed if a secret is shared."""

import hashlib
import hmac
import json
import string
import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from vramwatch.core.couriers import Courier, Place, place_of
from vramwatch.core.messages import Message, headline, plain, record
from vramwatch.core.outgoing import Outcome
from vramwatch.credentials import TELLING, Secret, SecretText
from vramwatch.notifying import HttpReach, Notifier, SecretInFile, WrittenSecret
from vramwatch.options import Text

SIGNATURE, TIMESTAMP, KEY = "X-Vramwatch-Signature", "X-Vramwatch-Timestamp", "Idempotency-Key"
"""Headers. The signature is ``v1=`` and the hexadecimal HMAC-SHA256 of timestamp, a full stop, body."""

FIELDS = ("key", "host", "kind", "headline", "text", "severity", "message")
"""What a template may name; each is put in as JSON, with its quotation marks."""


class Webhook(Notifier):
    """POSTs each message as JSON to a URL of yours; docs/alerting.md has the schema."""

    SECRETS: ClassVar[tuple[str, ...]] = ("url", "signing_secret")
    NEEDED: ClassVar[tuple[str, ...]] = ("url",)
    ADDRESSES: ClassVar[tuple[str, ...]] = ("url",)
    KEYED: ClassVar[bool] = True

    url: WrittenSecret = Field(None, description="The URL to POST to; a secret.")
    url_file: SecretInFile = Field(None, description="A file with the URL.")
    signing_secret: WrittenSecret = Field(
        None,
        description=f"Signs each body: {SIGNATURE} = HMAC-SHA256 of {TIMESTAMP}, a full stop, body.",
    )
    signing_secret_file: SecretInFile = Field(None, description="A file that holds it.")
    headers: Mapping[Text, Annotated[Secret, SecretText()]] = Field(
        {}, description="Additional headers; their values are secrets."
    )
    template: Annotated[str, Field(max_length=65536)] | None = Field(
        None,
        description=(
            "A JSON body to send instead of the documented one. $headline, $text, $host, $key, "
            "$kind, $severity and $message are replaced by JSON values, quoted where needed."
        ),
        examples=['{"title": $headline, "body": $text}'],
    )
    http: HttpReach = Field(HttpReach(), description="How the receiver is reached.")

    @field_validator("template")
    @classmethod
    def _parses(cls, template: str | None) -> str | None:
        if template is None:
            return None
        try:
            written = string.Template(template).substitute(dict.fromkeys(FIELDS, '""'))
        except KeyError as error:
            raise ValueError(f"no field ${error.args[0]}; accepted: {_dollars()}") from None
        except ValueError as error:
            raise ValueError(f"{error}; a $ itself is written $$") from None
        try:
            json.loads(written)
        except ValueError as error:
            raise ValueError(f"no JSON once its fields are filled in: {error}") from None
        return template

    def secrets(self) -> tuple[str, ...]:
        """Return, beside its own, what its headers hold, and a token that stands there behind its scheme."""
        held = [header.reveal() for header in self.headers.values()]
        parts = (part for each in held for part in (each, each.rpartition(" ")[2]))
        return (*super().secrets(), *(part for part in parts if len(part) >= TELLING))

    def places(self) -> tuple[Place, ...]:
        place = place_of(self.secret("url") or "")
        return (place,) if place else ()

    def send(self, message: Message, courier: Courier) -> Outcome:
        body = self._body(message)
        headers = {name: header.reveal() for name, header in self.headers.items()}
        sent = {**headers, "Content-Type": "application/json", KEY: message.key}
        secret = self.secret("signing_secret")
        if secret is not None:
            stamp = str(int(time.time()))
            signed = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256)
            sent |= {TIMESTAMP: stamp, SIGNATURE: f"v1={signed.hexdigest()}"}
        return courier.outcome(courier.post(self.secret("url") or "", body, sent))

    def _body(self, message: Message) -> bytes:
        told: Any = record(message)
        if self.template is None:
            return json.dumps(told, ensure_ascii=False).encode()
        values = {
            "key": message.key,
            "host": message.host.name,
            "kind": str(message.kind),
            "headline": headline(message),
            "text": plain(message),
            "severity": str(message.severity),
            "message": told,
        }
        quoted = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
        return string.Template(self.template).substitute(quoted).encode()


def _dollars() -> str:
    return ", ".join(f"${name}" for name in FIELDS)
