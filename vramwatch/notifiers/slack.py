"""Slack: as an app's bot, one message an incident, edited in its place, its course in a thread; or a webhook.

Sources: docs.slack.dev, reference/methods (chat.postMessage, chat.update, files.getUploadURLExternal,
files.completeUploadExternal), apis/web-api (answers and their errors, rate limits), and
messaging/sending-messages-using-incoming-webhooks.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Self, TypeVar
from urllib.parse import urlencode

from pydantic import Field, field_validator, model_validator

from vramwatch.charts import chart
from vramwatch.core.blockkit import as_it_stands, blocks, notification, without_blocks
from vramwatch.core.couriers import Answer, Courier, Place, place_of
from vramwatch.core.incidents import Severity
from vramwatch.core.messages import Item, Message, title
from vramwatch.core.outgoing import Delivered, Outcome, Rejected, Retry
from vramwatch.core.policy import Notice
from vramwatch.core.records import Json
from vramwatch.core.texts import clean
from vramwatch.notifying import HttpReach, Notifier, SecretInFile, WrittenSecret
from vramwatch.options import Name, Text

CHARTS_MOST = 3
"""Charts of one message; each takes seconds to draw."""

ALT_MOST = 1000
"""Characters of an image's description (alt_txt_too_large)."""

CALLS = frozenset({Notice.OPENED, Notice.WORSE, Notice.REPEATED})
"""Notices that a person must see: as replies they are shown in the channel too."""

_LATER = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded", "request_timeout"})
_MAY_HAVE_WORKED = frozenset({"internal_error", "fatal_error", "service_unavailable", "rollup_error"})
_UNFIT = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "invalid_payload"})
_GONE = frozenset({"message_not_found", "thread_not_found", "channel_not_found", "is_archived"})
_UNEDITABLE = frozenset({"cant_update_message", "edit_window_closed"})

_HELP: Mapping[str, str] = {
    **dict.fromkeys(
        ("invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"),
        "the token is not valid, or not any more; install the app again and write its Bot User OAuth Token",
    ),
    "missing_scope": "the app lacks a scope; add it under OAuth & Permissions and install the app again",
    "not_in_channel": "the bot is not in the channel; invite it there: /invite @ and its name",
    "channel_not_found": (
        "no such channel, or a private one that the bot is not in; write the channel's ID and invite the bot"
    ),
    "message_not_found": "the message was deleted",
    "edit_window_closed": "this workspace lets messages be edited for a while only",
    "cant_update_message": "the message is of another app; was the token changed?",
    **dict.fromkeys(("is_archived", "channel_is_archived"), "the channel is archived; choose another"),
    **dict.fromkeys(
        ("no_service", "no_service_id", "no_team", "team_disabled", "invalid_token", "no_active_hooks"),
        "the webhook is no longer there; make a new one and write its URL",
    ),
    **dict.fromkeys(
        ("action_prohibited", "restricted_action", "posting_to_general_channel_denied", "ekm_access_denied"),
        "an administrator of the workspace does not let it post there",
    ),
}
"""Error -> what it means and what to do."""

_REFERENCE = re.compile(r"(?P<channel>[A-Z0-9]+)/(?P<ts>\d+\.\d+)")
_MENTION = r"<@[UW][A-Z0-9]+>|<!subteam\^S[A-Z0-9]+>|<!(?:here|channel|everyone)>"
_ERROR_WORD = re.compile(r"[a-z][a-z_]{0,63}")


_Posted = TypeVar("_Posted")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a message stands: the id of its channel, and the timestamp that names it there."""

    channel: str
    ts: str

    def __str__(self) -> str:
        return f"{self.channel}/{self.ts}"


class Refused(Exception):
    """A request did not do what was asked. ``error``: Slack's word for it, empty where it has none."""

    def __init__(self, outcome: Retry | Rejected, error: str = "") -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome
        self.error = error


class Slack(Notifier):
    """Posts to Slack: with a token as an app's bot, which edits and replies; with a URL through a webhook."""

    SECRETS: ClassVar[tuple[str, ...]] = ("url", "token")

    url: WrittenSecret = Field(None, description="URL of an incoming webhook; a secret.")
    url_file: SecretInFile = Field(None, description="A file that holds it.")
    token: WrittenSecret = Field(
        None,
        description=(
            "Instead of url: the Bot User OAuth Token of an app with the scopes chat:write and, "
            "for charts, files:write. Each incident is one message that is edited, with replies "
            "in its thread."
        ),
    )
    token_file: SecretInFile = Field(None, description="A file that holds it.")
    channel: Name | None = Field(
        None,
        description="With token: the channel's ID or name. Invite the bot to it.",
        examples=["C0123456789"],
    )
    mention: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None,
        description=(
            "Who is mentioned in critical messages: <@U…>, <!subteam^S…>, <!here>; separate "
            "several with spaces."
        ),
        examples=["<!here>"],
    )
    api_url: Text = Field(
        "https://slack.com/api", description="The API; for GovSlack https://slack-gov.com/api."
    )
    http: HttpReach = Field(HttpReach(), description="How Slack is reached.")

    @field_validator("mention")
    @classmethod
    def _calls_somebody(cls, mention: str | None) -> str | None:
        if mention is not None and not re.fullmatch(rf"(?:{_MENTION})(?: (?:{_MENTION}))*", mention):
            raise ValueError(
                "no mention; write <@U…> with a member's ID, <!subteam^S…>, <!here> or <!channel>"
            )
        return mention

    @field_validator("api_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if not url.startswith(("https://", "http://")):
            raise ValueError("not an address; it begins with https://")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        url, token = self.secret("url"), self.secret("token")
        if (url is None) == (token is None):
            raise ValueError(
                "not exactly one way in; write url_file for a webhook, or token_file and channel"
            )
        if token is not None and self.channel is None:
            raise ValueError("a token without channel; write the ID of the channel to post to")
        if token is None and self.channel is not None:
            raise ValueError("a channel without token; a webhook posts to the channel that it was made for")
        if token is not None and not token.startswith("xox"):
            raise ValueError("token is no Bot User OAuth Token; that begins with xoxb-")
        if url is not None and not url.startswith(("https://", "http://")):
            raise ValueError("url is not an address; it begins with https://hooks.slack.com/")
        return self

    @property
    def edits(self) -> bool:
        return self.secret("token") is not None

    def places(self) -> tuple[Place, ...]:
        place = place_of(self.secret("url") or self.api_url)
        return (place,) if place else ()

    def send(self, message: Message, courier: Courier) -> Outcome:
        try:
            if not self.edits:
                return self._through_webhook(message, courier)
            place = _place_of(message)
            if place is None:
                return self._begin(message, courier)
            return self._go_on(message, place, courier)
        except Refused as refused:
            return refused.outcome

    def follow(self, message: Message, delivered: Delivered, courier: Courier) -> str:
        """Put charts of what was told into the thread of its message."""
        place = _parsed(delivered.reference or "")
        if place is None:
            return ""
        items = [item for item in message.items if item.notice is not Notice.UPDATED][:CHARTS_MOST]
        drawn = [(item, chart(item, message.host.name, message.made)) for item in items]
        try:
            files = [self._upload(item, image, courier) for item, image in drawn if image]
            if not files:
                return ""
            shared = {"channel_id": place.channel, "thread_ts": place.ts, "files": files}
            self._call("files.completeUploadExternal", shared, courier)
        except Refused as refused:
            return f"no chart: {refused.outcome.reason}"
        return f"{len(files)} chart{'s' if len(files) > 1 else ''}"

    # --- a webhook ------------------------------------------------------------------------------------

    def _through_webhook(self, message: Message, courier: Courier) -> Outcome:
        def post(content: Json) -> Outcome:
            answer = courier.post(self.secret("url") or "", {**content, **_AS_WRITTEN})
            outcome = courier.outcome(answer)
            if isinstance(outcome, Delivered) or not isinstance(answer, Answer):
                return outcome
            word = answer.body[:64].decode(errors="replace").strip()
            is_known = isinstance(outcome, Rejected) and _ERROR_WORD.fullmatch(word)
            raise _refused(word, outcome) if is_known else Refused(outcome)

        return _with_or_without_blocks(message, self._mention(message), post)

    # --- a bot ----------------------------------------------------------------------------------------

    def _begin(self, message: Message, courier: Courier) -> Outcome:
        """Post what this channel has not been told of."""
        place = self._post(message, {"channel": self.channel}, courier)
        if place is None:
            return Delivered("posted; Slack does not say where")
        return Delivered("posted", str(place))

    def _go_on(self, message: Message, place: Location, courier: Courier) -> Outcome:
        """Edit the message at ``place`` and say in its thread what happened.

        The edit comes first: done twice, after a reply that failed, it does no harm.
        """
        course = tuple(item for item in message.items if item.notice is not Notice.UPDATED)
        reply = replace(message, items=course)
        try:
            done = self._edit(message, place, courier)
            if not course:
                return Delivered(done, str(place))
            is_called = any(item.notice in CALLS for item in course)
            to = {"channel": place.channel, "thread_ts": place.ts, "reply_broadcast": is_called}
            self._post(reply, to, courier)
        except Refused as refused:
            if refused.error not in _GONE:
                raise
            if not course:
                return Delivered(f"not edited: {refused.outcome.reason}", str(place))
            return self._begin(message, courier)
        return Delivered(f"{done}; replied", str(place))

    def _edit(self, message: Message, place: Location, courier: Courier) -> str:
        """Have the message at ``place`` show how things stand; return what came of it in a few words."""

        def post(content: Json) -> str:
            at = {"channel": place.channel, "ts": place.ts, "parse": "none"}
            self._call("chat.update", {**at, **content}, courier)
            return "edited"

        try:
            return _with_or_without_blocks(as_it_stands(message), None, post, is_edit=True)
        except Refused as refused:
            if refused.error not in _UNEDITABLE:
                raise
            return f"not edited: {refused.outcome.reason}"

    def _post(self, message: Message, to: Json, courier: Courier) -> Location | None:
        def post(content: Json) -> Location | None:
            said = self._call("chat.postMessage", {**to, **content, **_AS_WRITTEN}, courier)
            return _parsed(f"{said.get('channel')}/{said.get('ts')}")

        return _with_or_without_blocks(message, self._mention(message), post)

    def _upload(self, item: Item, image: bytes, courier: Courier) -> Json:
        """Upload a chart; return what names it to Slack."""
        told = title(item)[:ALT_MOST]
        asked = {"filename": f"{item.incident.id}.png", "length": len(image), "alt_txt": told}
        said = self._call("files.getUploadURLExternal", asked, courier, as_form=True)
        sent = courier.outcome(courier.post(str(said.get("upload_url")), image))
        if not isinstance(sent, Delivered):
            raise Refused(sent)
        return {"id": said.get("file_id"), "title": told}

    def _call(self, method: str, arguments: Json, courier: Courier, as_form: bool = False) -> Json:
        """Call a method of the Web API and return what it answers. Errors: Refused."""
        kind = "application/x-www-form-urlencoded" if as_form else "application/json; charset=utf-8"
        headers = {"Authorization": f"Bearer {self.secret('token')}", "Content-Type": kind}
        content = urlencode(arguments) if as_form else arguments
        answer = courier.post(f"{self.api_url}/{method}", content, headers)
        said: Any = answer.json() if isinstance(answer, Answer) else None
        outcome = courier.outcome(answer)
        if not isinstance(outcome, Delivered):
            raise Refused(outcome)
        if not isinstance(said, dict) or not isinstance(answer, Answer):
            raise Refused(Retry(f"no answer of Slack's API: {outcome.detail}", is_uncertain=True))
        if said.get("ok") is True:
            return said
        error = str(said.get("error") or "no reason")[:64]
        needed = str(said.get("needed") or "")[:64]
        raise _refused(error, courier.outcome(replace(answer, status=429)), needed)

    def _mention(self, message: Message) -> str | None:
        """Return whom to call: for what is critical, open, and told for people to act."""
        is_grave = any(
            item.notice in CALLS
            and not item.is_over
            and item.incident.judgement.severity is Severity.CRITICAL
            for item in message.items
        )
        return self.mention if is_grave else None


_AS_WRITTEN: Json = {"unfurl_links": False, "unfurl_media": False, "parse": "none", "link_names": False}
"""Slack makes no links, names or previews of what stands in a text."""


def _with_or_without_blocks(
    message: Message, mention: str | None, post: Callable[[Json], _Posted], is_edit: bool = False
) -> _Posted:
    """Have ``post`` send the content of ``message``; as bare text where Slack does not take its blocks."""
    try:
        made = blocks(message, mention=mention, is_edit=is_edit)
        return post({"text": notification(message), "blocks": made})
    except Refused as refused:
        if refused.error not in _UNFIT:
            raise
        return post({"text": f"{mention or ''} {without_blocks(message)}".strip()})


def _refused(error: str, outcome: Outcome, needed: str = "") -> Refused:
    """Return what a refusal of Slack's means, in words that help. ``outcome``: has when to ask again."""
    help = f"; {_HELP[error]}" if error in _HELP else ""
    scope = f" ({clean(needed)})" if needed else ""
    reason = f"Slack refuses: {clean(error)}{scope}{help}"
    if error not in _LATER | _MAY_HAVE_WORKED:
        return Refused(Rejected(reason), error)
    after = outcome.after if isinstance(outcome, Retry) else None
    return Refused(Retry(reason, after, is_uncertain=error in _MAY_HAVE_WORKED), error)


def _place_of(message: Message) -> Location | None:
    """Return the message in which all of this one was told before; None: in none, or in several."""
    known = {item.reference for item in message.items}
    return _parsed(known.pop() or "") if len(known) == 1 else None


def _parsed(reference: str) -> Location | None:
    found = _REFERENCE.fullmatch(reference)
    return Location(found["channel"], found["ts"]) if found else None
