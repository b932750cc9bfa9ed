"""HTTP to receivers that may be slow, wrong or hostile: bounded in time and memory, and silent on secrets.

An exchange takes at most ``total`` seconds and 64 KiB of answer, whatever the receiver does. Redirects are
followed within the same origin alone. What goes wrong is told in words that hold no URL: it may be a secret.
"""

import contextlib
import email.utils
import json
import socket
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vramwatch import __version__
from vramwatch.core.couriers import Answer, Reach
from vramwatch.core.outgoing import Delivered, Outcome, Rejected, Retry
from vramwatch.core.texts import clean

ANSWER_MOST = 64 * 1024
"""Bytes of an answer that are read; no receiver has more to say that matters."""

DETAIL_MOST = 300
"""Characters of an answer that are kept."""

REDIRECTS_MOST = 3

_LATER = frozenset({408, 425, 429})
"""Refusals that a later attempt may not meet (RFC 9110, 15.5.9; RFC 8470; RFC 6585, 4)."""

_KEEP_METHOD = frozenset({307, 308})


class HttpCourier:
    """Carries requests of one channel. For one thread; connections are kept between two requests."""

    def __init__(self, reach: Reach, secrets: Iterable[str] = ()) -> None:
        """``secrets`` are taken out of whatever an answer is quoted with."""
        self._reach = reach
        self._secrets = tuple(each for each in secrets if each)
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        self._session = requests.Session()
        self._session.trust_env = False  # nor does it read ~/.netrc
        self._session.headers["User-Agent"] = f"vramwatch/{__version__}"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter())

    def close(self) -> None:
        self._session.close()
        self._cut()

    def post(
        self, url: str, content: object, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer | Retry | Rejected:
        """Send ``content`` (bytes or text as they are, else as JSON) and return what is answered.

        Retry and Rejected: nothing was answered at all.
        """
        body, kind = _encoded(content)
        sent = {"Content-Type": kind, **(headers or {})}
        with self._within(self._reach.total):
            for _ in range(REDIRECTS_MOST + 1):
                answer = self._exchange(method, url, body, sent)
                if not isinstance(answer, Answer) or answer.status not in range(300, 400):
                    return answer
                onward = urljoin(url, answer.headers.get("location", ""))
                if answer.status not in _KEEP_METHOD or _origin(onward) != _origin(url):
                    where = clean(urlsplit(onward).hostname or "elsewhere")
                    return Rejected(f"the receiver redirects to {where}; write that address if it is right")
                url = onward
        return Rejected(f"the receiver redirects more than {REDIRECTS_MOST} times")

    def outcome(self, answer: Answer | Retry | Rejected, reference: str | None = None) -> Outcome:
        """Return what an answer means by its status: 2xx is delivered, 429 and 5xx may work later."""
        if not isinstance(answer, Answer):
            return answer
        told = f"HTTP {answer.status}{self.quoted(answer)}"
        if 200 <= answer.status < 300:
            return Delivered(told, reference)
        if answer.status in _LATER or answer.status >= 500:
            return Retry(told, retry_after(answer.headers.get("retry-after"), time.time()))
        return Rejected(told)

    def quoted(self, answer: Answer) -> str:
        """Return ": what was answered", bounded, without secrets; empty where there is none."""
        text = answer.body[: 4 * DETAIL_MOST].decode(errors="replace")
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = clean(text)[:DETAIL_MOST]
        return f": {text}" if text else ""

    def _exchange(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer | Retry | Rejected:
        host = clean(urlsplit(url).hostname or "the receiver")
        try:
            with self._session.request(
                method,
                url,
                data=body,
                headers=dict(headers),
                timeout=(self._reach.connect, self._reach.read),
                allow_redirects=False,
                stream=True,
                verify=(self._reach.ca_file or True) if self._reach.verify_tls else False,
                proxies=self._proxies(url),
            ) as response:
                answered = _bounded(response)
                lowered = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, answered, lowered)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
            return Rejected("the address is not one of http:// or https://")
        except (requests.exceptions.RequestException, OSError, ValueError) as error:
            return self._failure(host, error)

    def _failure(self, host: str, error: Exception) -> Retry:
        """Return what went wrong. Once a request was on its way it may have arrived."""
        match error:
            case requests.exceptions.SSLError():
                return Retry(f"TLS with {host} fails: {_innermost(error)}")
            case requests.exceptions.ProxyError():
                return Retry("the proxy does not connect")
            case requests.exceptions.ConnectTimeout():
                return Retry(f"{host} takes no connection within {self._reach.connect:g} s")
            case requests.exceptions.ReadTimeout():
                return Retry(f"{host} does not answer within {self._reach.read:g} s", is_uncertain=True)
            case requests.exceptions.ConnectionError():
                return _unconnected(host, error)
        return Retry(f"{host} answers wrongly ({type(error).__name__})", is_uncertain=True)

    def _proxies(self, url: str) -> dict[str, str]:
        if self._reach.proxy:
            return {"http": self._reach.proxy, "https": self._reach.proxy}
        return dict(get_environ_proxies(url))

    def _adapter(self) -> HTTPAdapter:
        """Return an adapter that knows its connections, so that they can be cut."""
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=1)
        adapter.poolmanager.pool_classes_by_scheme = {
            "http": _watched(HTTPConnectionPool, self._open),
            "https": _watched(HTTPSConnectionPool, self._open),
        }
        return adapter

    @contextlib.contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """Cut every connection if the block lasts longer: a time-out for each byte ends no drip."""
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)


def _watched(pool: Any, known: "weakref.WeakSet[Any]") -> Any:
    """Return ``pool`` with connections that enter themselves into ``known``."""
    base = pool.ConnectionCls

    class Watched(base):  # type: ignore[misc, valid-type]
        def connect(self) -> None:
            super().connect()
            known.add(self)

    class WatchedPool(pool):  # type: ignore[misc]
        ConnectionCls = Watched

    return WatchedPool


def retry_after(written: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After asks for (RFC 9110, 10.2.3), None where it says nothing."""
    if written is None:
        return None
    if written.strip().isascii() and written.strip().isdigit():
        return float(written.strip()[:9])
    with contextlib.suppress(ValueError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(written).timestamp() - now)
    return None


def _encoded(content: object) -> tuple[bytes, str]:
    if isinstance(content, bytes):
        return content, "application/octet-stream"
    if isinstance(content, str):
        return content.encode(), "text/plain; charset=utf-8"
    return json.dumps(content, ensure_ascii=False).encode(), "application/json"


def _bounded(response: "requests.Response") -> bytes:
    """Return the beginning of the body; the rest is never read."""
    read = b""
    for part in response.iter_content(8192):
        read += part
        if len(read) >= ANSWER_MOST:
            response.close()
            break
    return read[:ANSWER_MOST]


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        return parts.scheme, parts.hostname, parts.port
    except ValueError:
        return parts.scheme, None, None


def _unconnected(host: str, error: Exception) -> Retry:
    """Return why there was no exchange; once the request was on its way it may have arrived."""
    reason = _innermost(error)
    refused = ("refused", "resolve", "unreachable", "No route", "Name or service")
    is_uncertain = not any(word in reason for word in refused)
    return Retry(f"{host}: {reason}", is_uncertain=is_uncertain)


def _innermost(error: BaseException) -> str:
    """Return what the system or OpenSSL said, without the request that it was said of."""
    seen: list[BaseException] = [error]
    for each in seen:
        nested = (*each.args, each.__cause__, each.__context__, getattr(each, "reason", None))
        seen += [one for one in nested if isinstance(one, BaseException) and one not in seen]
    systems = [each for each in seen if isinstance(each, OSError) and each.strerror]
    last = systems[-1].strerror if systems else None
    return clean(str(last or type(seen[-1]).__name__))[:DETAIL_MOST]
