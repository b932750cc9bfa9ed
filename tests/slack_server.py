"""A small Slack: its Web API and its incoming webhooks, as far as vramwatch calls them, on a real socket.

It refuses what Slack documents that it refuses, so that a test of what was sent is also one of its form.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from tests.receivers import answering, receiving

TOKEN = "xoxb-1-secret-token"
CHANNEL = "C0123456789"
HOOK = "/services/T000/B000/secret-hook"


def faults(blocks) -> list[str]:
    """What Slack's documented limits say against ``blocks``."""
    found = [] if len(blocks) <= 50 else [f"{len(blocks)} blocks"]
    for block in blocks:
        kind = block["type"]
        if kind == "header":
            texts, most = [block["text"]], 150
            if block["text"]["type"] != "plain_text":
                found.append("a header that is no plain_text")
        elif kind == "section":
            texts, most = [block["text"]], 3000
        elif kind == "context":
            texts, most = block["elements"], 3000
            if not 1 <= len(texts) <= 10:
                found.append(f"{len(texts)} elements of a context")
        else:
            texts, most = [], 0
            if kind != "divider":
                found.append(f"a block {kind}")
        found += [
            f"{len(t['text'])} characters in a {kind}" for t in texts if not 1 <= len(t["text"]) <= most
        ]
    if len(json.dumps(blocks)) > 13_172:
        found.append("msg_blocks_too_long")
    return found


@dataclass
class Slack:
    """``answers``: what is answered next to a method, instead of doing it: (status, body, headers)."""

    answers: dict[str, deque] = field(default_factory=dict)
    requests: list = field(default_factory=list)  # (method, arguments)
    messages: dict = field(default_factory=dict)  # ts -> arguments of what stands there
    files: dict = field(default_factory=dict)  # id -> bytes
    shared: list = field(default_factory=list)

    def __enter__(self):
        self._receiving = receiving(self._answer)
        self.origin = self._receiving.__enter__().url
        return self

    def __exit__(self, *raised):
        self._receiving.__exit__(*raised)

    @property
    def api(self):
        return f"{self.origin}/api"

    @property
    def hook(self):
        return self.origin + HOOK

    def refuse(self, method, error, status=200, headers=None, times=1, **more):
        """Refuse the next ``times`` calls of ``method``."""
        body = json.dumps({"ok": False, "error": error, **more}) if method != "hook" else error
        self.answers.setdefault(method, deque()).extend([(status, body, headers or {})] * times)

    def called(self, method):
        return [arguments for name, arguments in self.requests if name == method]

    def _answer(self, exchange):
        request = exchange.request
        path = request.path
        method = (
            "hook" if path == HOOK else "upload" if path.startswith("/upload/") else path.rpartition("/")[2]
        )
        if method == "upload":
            arguments = request.body
        elif request.headers["content-type"].startswith("application/x-www-form-urlencoded"):
            arguments = dict(parse_qsl(request.body.decode()))
        else:
            arguments = request.json
        self.requests.append((method, arguments))
        waiting = self.answers.get(method)
        status, told, headers = waiting.popleft() if waiting else (*self._do(method, arguments, request), {})
        lines = "".join(f"{name}: {value}\n" for name, value in headers.items())
        answering(status, told, lines)(exchange)

    def _do(self, method, arguments, request):
        if method == "hook":
            is_good = arguments.get("text") and not faults(arguments.get("blocks", []))
            return (200, "ok") if is_good else (400, "invalid_blocks")
        if method == "upload":
            self.files[request.path.rpartition("/")[2]] = arguments
            return 200, f"OK - {len(arguments)}"
        return 200, json.dumps(self._call(method, arguments, request))

    def _call(self, method, arguments, request):
        if request.headers["authorization"] != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        if faults(arguments.get("blocks", [])):
            return {"ok": False, "error": "invalid_blocks"}
        if method == "chat.postMessage":
            if arguments["channel"] not in (CHANNEL, "gpu-alerts"):
                return {"ok": False, "error": "channel_not_found"}
            ts = f"1700080000.{len(self.messages) + 1:06}"
            self.messages[ts] = arguments
            return {"ok": True, "channel": CHANNEL, "ts": ts, "message": arguments}
        if method == "chat.update":
            if arguments["channel"] != CHANNEL or arguments["ts"] not in self.messages:
                return {"ok": False, "error": "message_not_found"}
            self.messages[arguments["ts"]] = self.messages[arguments["ts"]] | arguments
            return {"ok": True, "channel": CHANNEL, "ts": arguments["ts"]}
        if method == "files.getUploadURLExternal":
            if not int(arguments["length"]) or not arguments["filename"]:
                return {"ok": False, "error": "missing_argument"}
            id = f"F{len(self.called(method))}"
            return {"ok": True, "upload_url": f"{self.origin}/upload/{id}", "file_id": id}
        if method == "files.completeUploadExternal":
            if any(each["id"] not in self.files for each in arguments["files"]):
                return {"ok": False, "error": "file_not_found"}
            self.shared.append(arguments)
            return {"ok": True, "files": arguments["files"]}
        return {"ok": False, "error": "unknown_method"}
