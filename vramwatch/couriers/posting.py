"""HTTP to receivers that may be slow, wrong or hostile: bounded in time and memory, and silent on secrets.

An exchange takes at most ``total`` seconds and 64 KiB of answer, whatever the receiver does. Redirects are
followed within the same origin alone. What goes wrong is told in words that hold no URL: it may be a secret.
Once a status and its headers have come it is answered: that the body is slow, or half, changes nothing of it.
"""

import contextlib
import email.utils
import http.client
import json
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vramwatch import __version__
from vramwatch.core.couriers import Answer, Reach, place_of
from vramwatch.core.outgoing import Delivered, Outcome, Rejected, Retry
from vramwatch.core.texts import clean
from vramwatch.couriers.wire import BoundedResponse, Leash
from vramwatch.credentials import Mask

ANSWER_MOST = 64 * 1024
"""Bytes of an answer that are read; no receiver has more to say that matters."""

DETAIL_MOST = 300
"""Characters of an answer that are kept."""

REDIRECTS_MOST = 3

logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # at DEBUG and WARNING it writes whole addresses

_LATER = frozenset({408, 425, 429})
"""Refusals that a later attempt may not meet (RFC 9110, 15.5.9; RFC 8470; RFC 6585, 4)."""

_KEEP_METHOD = frozenset({307, 308})

_NO_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.LocationParseError,
)

_UNHEARD = ("refused", "resolve", "unreachable", "No route", "Name or service")
"""Words of failures in which no request was on its way."""

_FAILED = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)


class HttpCourier:
    """Carries requests of one channel. For one thread; connections are kept between two requests."""

    def __init__(self, reach: Reach, secrets: Iterable[str] = ()) -> None:
        """``secrets`` are taken out of whatever an answer is quoted with."""
        self._reach = reach
        self._mask = Mask(secrets)
        self._leash = Leash()
        self._session = _Session()
        self._session.trust_env = False  # nor does it read ~/.netrc
        self._session.headers["User-Agent"] = f"vramwatch/{__version__}"
        self._session.headers["Accept-Encoding"] = (
            "identity"  # a small answer, compressed, may be a large one
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(self._leash))
        if not reach.verify_tls:  # the configuration has said so; a warning for each request says no more
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        self._session.close()
        self._leash.close()

    def post(
        self, url: str, content: object, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer | Retry | Rejected:
        """Send ``content`` (bytes or text as they are, else as JSON) and return what is answered.

        Retry and Rejected: nothing was answered at all.
        """
        if not _is_address(url):
            return Rejected("the address is not one of http:// or https://")
        body, kind = _encoded(content)
        sent = {"Content-Type": kind, **(headers or {})}
        with self._leash.within(self._reach.total):
            for _ in range(REDIRECTS_MOST + 1):
                answer = self._exchange(method, url, body, sent)
                if not isinstance(answer, Answer) or not _redirects(answer):
                    return answer
                onward = _joined(url, answer.headers["location"])
                if answer.status not in _KEEP_METHOD or _origin(onward) != _origin(url):
                    where = clean(self._mask(_host(onward) or "elsewhere"))
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
        text = clean(self._mask(answer.body.decode(errors="replace")))[:DETAIL_MOST]
        return f": {text}" if text else ""

    def _exchange(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer | Retry | Rejected:
        place = place_of(url)
        host = clean(f"{place.host}:{place.port}" if place else "the receiver")
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
        except _NO_ADDRESS:
            return Rejected("the address, or that of its proxy, is not one of http:// or https://")
        except _FAILED as error:
            return self._failure(host, error)

    def _failure(self, host: str, error: Exception) -> Retry:
        """Return what went wrong. Once a request was on its way it may have arrived."""
        is_uncertain = True
        match error:
            case _ if self._leash.is_over:
                reason = f"{host} has not answered within {self._reach.total:g} s"
            case requests.exceptions.SSLError():
                reason, is_uncertain = f"TLS with {host} fails: {_innermost(error)}", False
            case requests.exceptions.ProxyError():
                reason, is_uncertain = "the proxy does not connect", False
            case requests.exceptions.ConnectTimeout():
                reason = f"{host} takes no connection within {self._reach.connect:g} s"
                is_uncertain = False
            case requests.exceptions.ReadTimeout():
                reason = f"{host} does not answer within {self._reach.read:g} s"
            case requests.exceptions.ConnectionError():
                said = _innermost(error)
                reason, is_uncertain = f"{host}: {said}", not any(word in said for word in _UNHEARD)
            case _:
                reason = f"{host} answers wrongly ({type(error).__name__})"
        return Retry(reason, is_uncertain=is_uncertain)

    def _proxies(self, url: str) -> dict[str, str]:
        if self._reach.proxy is not None and not self._reach.proxy:
            return {}
        if self._reach.proxy:
            return {"http": self._reach.proxy, "https": self._reach.proxy}
        return dict(get_environ_proxies(url))


def environment_proxy(url: str) -> str | None:
    """Return the address of the proxy that the environment names for ``url``; None: none."""
    proxy = select_proxy(url, get_environ_proxies(url))
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


class _Session(requests.Session):
    def get_redirect_target(self, resp: Any) -> None:
        """Return nothing: requests would unpack the whole body of a redirect to see where it goes."""


class _Adapter(HTTPAdapter):
    """Makes connections that are held on a leash and read within a bound, through a proxy too."""

    def __init__(self, leash: Leash) -> None:
        self._pools = {
            "http": _bounded_pool(HTTPConnectionPool, leash),
            "https": _bounded_pool(HTTPSConnectionPool, leash),
        }
        super().__init__(pool_connections=2, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager


class _Response(BoundedResponse):
    MOST = ANSWER_MOST

    def begin(self) -> None:
        """Read status and headers; half of them are none, which http.client does not mind."""
        source: Any = self.fp.raw
        super().begin()
        if source.has_ended:
            raise http.client.RemoteDisconnected("")


def _bounded_pool(pool: Any, leash: Leash) -> Any:
    """Return ``pool`` with connections that ``leash`` holds."""
    base = pool.ConnectionCls

    class Connection(base):  # type: ignore[misc, valid-type]
        response_class = _Response
        held: Any = None

        def _new_conn(self) -> Any:
            connected = super()._new_conn()
            self._release()
            self.held = leash.hold(connected)
            return connected

        def _tunnel(self) -> None:
            super()._tunnel()
            if leash.is_over:  # a proxy that was cut off has not said that it connects
                raise TimeoutError

        def close(self) -> None:
            self._release()
            super().close()

        def _release(self) -> None:
            if self.held is not None:
                leash.release(self.held)
                self.held = None

    class Pool(pool):  # type: ignore[misc]
        ConnectionCls = Connection

    return Pool


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
    """Return the beginning of the body, as far as it came; the rest is never read."""
    read = b""
    with contextlib.suppress(*_FAILED):
        while len(read) < ANSWER_MOST and (part := response.raw.read1(ANSWER_MOST, decode_content=False)):
            read += part
    return read[:ANSWER_MOST]


def _redirects(answer: Answer) -> bool:
    return 300 <= answer.status < 400 and "location" in answer.headers


def _is_address(url: str) -> bool:
    return url.lower().startswith(("http://", "https://")) and bool(_host(url))


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return ""


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return what makes two addresses the same origin (RFC 6454, 4); None: it is no address."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        return None


def _innermost(error: BaseException) -> str:
    """Return what the system or OpenSSL said, without the request that it was said of."""
    seen: list[BaseException] = [error]
    for each in seen:
        nested = (*each.args, each.__cause__, each.__context__, getattr(each, "reason", None))
        seen += [one for one in nested if isinstance(one, BaseException) and one not in seen]
    if any(isinstance(each, http.client.RemoteDisconnected) for each in seen):
        return "the connection was closed before there was an answer"
    systems = [each for each in seen if isinstance(each, OSError) and each.strerror]
    last = systems[-1].strerror if systems else None
    return clean(str(last or type(seen[-1]).__name__))[:DETAIL_MOST]
