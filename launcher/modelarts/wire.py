"""Requests to Huawei Cloud's APIs through the core of the official SDK, with its known holes closed.

The core gives the signature and the HTTP client; its `Client`, and the thousand models of the ModelArts SDK, are not
imported (0.1 s in place of 0.6 s). What it does otherwise, and what is done here:

- it loses the body of a 429 (urllib3 is told to retry it, with no tries left): nothing is retried below this file
- 200 with a page of HTML or an empty body, 204 and 302 become an empty success: here only JSON is an answer
- unknown fields are dropped: the JSON is kept as it came
- `requests` takes keys from a `.netrc` and the proxy only for https: the environment is read here, by our rule

What may pass (network, 408, 429, 5xx, a body that is no JSON) is asked again by `storage.retry`'s policy, where asking
twice does no harm.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from launcher import __version__
from launcher.errors import ServiceError
from launcher.modelarts.place import Place
from storage.obs.credentials import Keys
from storage.retry import TRIES, UNKNOWN_TRIES, Transient, patiently, waiting, waits_for

SKEW_SECONDS = 240.0
"""A clock this wrong is set right by the service's `Date`; the service itself refuses requests 15 minutes off."""
LARGEST_ANSWER = 64 << 20
CONNECT_SECONDS = 15.0


class Answer(NamedTuple):
    """What the service said: `data` is its JSON as it came, None for an empty body."""

    status: int
    data: Any
    headers: Mapping[str, str]


class Wire:
    """Signed requests to one place's endpoints, from one thread. Errors are ServiceErrors and final; those of keys are
    StorageErrors.

    `say` is told once what a person should know though all is well, such as a clock that is wrong.
    """

    def __init__(self, place: Place, say: Callable[[str], None] = lambda text: None) -> None:
        self.place = place
        self.say = say
        self.offset = 0.0
        """Seconds by which the service's clock is ahead of ours, once it has refused ours."""
        self._known: set[str] = set()
        """Hosts that have answered."""
        self._http: Any = None

    def close(self) -> None:
        if self._http is not None:
            self._http.close()

    def now(self) -> float:
        """POSIX seconds by the service's clock, as far as it is known."""
        return time.time() + self.offset

    def ask(
        self,
        what: str,
        method: str,
        url: str,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
        safe: bool = True,
        check: Callable[[Answer], None] = lambda answer: None,
    ) -> Answer:
        """One call; `what` completes "cannot ...". `safe`: it may be sent again when its answer was lost.

        `check` raises ValueError, TypeError or LookupError for a success that lacks what it must have.
        """

        def once() -> Answer:
            keys = None if self.place.token else self.place.credentials.current()
            answer, text = self._send(what, method, url, query, body, keys)
            if answer.status >= 300:
                raise self._refusal(what, url, answer, text, keys)
            try:
                answer = answer._replace(data=json.loads(text) if text.strip() else None)
                check(answer)
            except (ValueError, TypeError, LookupError) as error:
                raise _passing(_nonsense(what, url, answer, text), tries=3) from error
            return answer

        if safe:
            return patiently(once)
        for _ in range(3):
            try:
                with waiting():
                    return once()
            except Transient as error:
                if not error.free:  # else it was refused for a clock or keys that have been mended: nothing was done
                    raise error.final from error.__cause__
                last = error.final
        raise last

    def _send(
        self, what: str, method: str, url: str, query: Sequence[tuple[str, str]], body: Any, keys: Keys | None
    ) -> tuple[Answer, bytes]:
        import requests
        from huaweicloudsdkcore.exceptions.exceptions import SdkException
        from urllib3.exceptions import HTTPError

        request = self._request(method, url, query, body, keys)
        waits_for(_host(url))
        try:
            with self._client(request.schema, request.host).do_request_sync(request) as response:
                data = self._whole(response)
                self._known.add(_host(url))
                return Answer(response.status_code, None, response.headers), data
        except (SdkException, requests.RequestException, HTTPError, OSError) as error:
            final = _unanswered(what, self._whom(url, error), error)
            if "certificate" in final.message:
                raise final from error
            is_wrong = "is not a known host" in final.message and _host(url) not in self._known
            raise _passing(final, tries=UNKNOWN_TRIES if is_wrong else TRIES) from error

    def _request(self, method: str, url: str, query: Sequence[tuple[str, str]], body: Any, keys: Keys | None) -> Any:
        from huaweicloudsdkcore.sdk_request import SdkRequest
        from huaweicloudsdkcore.signer.signer import Signer

        parts = urlsplit(url)
        headers = {
            "User-Agent": f"huaweicloud-usdk-python/3.0; modelarts-launcher/{__version__}",
            "Content-Type": "application/json" if body is None else "application/json;charset=utf-8",
            "X-Sdk-Date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self.now())),
        }
        if self.place.project_id:
            headers["X-Project-Id"] = self.place.project_id
        request = SdkRequest(
            method=method,
            schema=parts.scheme,
            host=parts.netloc,
            resource_path=parts.path,
            query_params=list(query),
            header_params=headers,
            body=b"" if body is None else json.dumps(body).encode(),
            stream=True,
        )
        if keys is None:
            headers["X-Auth-Token"] = self.place.token
            Signer.process_request_uri(request)
            return request
        if keys.token:
            headers["X-Security-Token"] = keys.token
        return Signer(_Pair(keys.access, keys.secret)).sign(request)

    def _client(self, scheme: str, host: str) -> Any:
        """The core's HTTP client, which verifies TLS; answers of any status come back as they are."""
        if self._http is None:
            from huaweicloudsdkcore.http.http_client import HttpClient
            from huaweicloudsdkcore.http.http_config import HttpConfig

            from launcher.modelarts.tls import TrustingAdapter

            adapter = TrustingAdapter(self.place.ca_file, pool_connections=4, pool_maxsize=8, max_retries=0)
            config = HttpConfig(timeout=(min(self.place.timeout, CONNECT_SECONDS), self.place.timeout))
            logger = logging.getLogger("launcher.modelarts")
            logger.addHandler(logging.NullHandler())
            logger.propagate = False
            self._http = HttpClient(config, None, _Silent(), logger)
            self._http._session.trust_env = False
            for prefix in ("https://", "http://"):
                self._http._session.mount(prefix, adapter)
        proxy = self.place.proxy or _proxy_for(scheme, host)
        self._http._proxy = {"http": proxy, "https": proxy} if proxy else None
        return self._http

    def _whom(self, url: str, error: Exception) -> str:
        """Who it was that did not answer: the host, or the proxy before it."""
        parts = urlsplit(url)
        proxy = urlsplit(self.place.proxy or _proxy_for(parts.scheme, parts.netloc))
        if proxy.hostname and "ProxyError" in str(error):
            return f"the proxy {proxy.hostname}"  # no more of it: it may hold a password
        return parts.netloc

    def _whole(self, response: Any) -> bytes:
        """The body, within a size and a time that no honest answer needs."""
        deadline = time.monotonic() + 4 * self.place.timeout
        data = bytearray()
        for piece in response.iter_content(1 << 16):
            data += piece
            if len(data) > LARGEST_ANSWER or time.monotonic() > deadline:
                raise OSError("the answer does not end")
        return bytes(data)

    def _refusal(self, what: str, url: str, answer: Answer, text: bytes, keys: Keys | None) -> Exception:
        """The error that an answer from 300 on means; Transient if it may pass."""
        code, message = _told(text)
        request = answer.headers.get("X-Request-Id", "")
        if answer.status < 400:
            where = answer.headers.get("Location", "somewhere else")
            error = ServiceError(
                f"cannot {what}: {_host(url)} answers with a redirect to {where}",
                "a proxy's login page, or a wrong endpoint: python -m launcher config show --origin",
                answer.status,
                code,
                request,
            )
            return _passing(error, tries=2)
        parts = [part for part in (code, f"HTTP {answer.status}", f"request {request}" if request else "") if part]
        error = ServiceError(
            f"cannot {what}: {message or 'no reason given'} ({', '.join(parts)})",
            _hint(answer.status, code),
            answer.status,
            code,
            request,
        )
        if answer.status in (401, 403):
            return self._mended(error, answer, keys) or error
        if answer.status in (408, 429) or answer.status >= 500:
            error.asked = _seconds(answer.headers.get("Retry-After", ""))
            return _passing(error, error.asked)
        return error

    def _mended(self, error: ServiceError, answer: Answer, keys: Keys | None) -> Transient | None:
        """A refusal that a set clock or new keys may cure, each once."""
        if keys is None:
            return None
        skew = _skew(answer.headers.get("Date", ""))
        if abs(skew - self.offset) > SKEW_SECONDS:
            self.offset = skew
            way = "behind" if skew > 0 else "ahead"
            wrong = f"{abs(skew) / 60:.0f} min {way}"
            self.say(f"this machine's clock is {wrong} of the service's; requests are dated by the service's")
            return _passing(error, tries=3, free=True)
        if keys.token and self.place.credentials.renew(keys):
            return _passing(error, tries=3, free=True)
        return None


def _passing(error: ServiceError, asked: float = 0.0, tries: int = TRIES, free: bool = False) -> Transient:
    """Storage's policy, for an error of another tree."""
    return Transient(cast(Any, error), asked, tries, free)


class _Pair:
    """What the core's signer reads of credentials."""

    def __init__(self, ak: str, sk: str) -> None:
        self.ak, self.sk = ak, sk


class _Silent:
    """The core's handler of bad statuses: none, so that the answer comes back with its body."""

    def handle_exception(self, request: Any, response: Any) -> None:
        return


def _told(text: bytes) -> tuple[str, str]:
    """Code and message of an error's body, in any of the three spellings that services and gateways use."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return "", "" if b"<" in text[:200] else text[:200].decode("utf-8", "replace").strip()
    for value in [found, *(found.values() if isinstance(found, dict) else ())]:
        if not isinstance(value, dict):
            continue
        for code, message in (("error_code", "error_msg"), ("errorCode", "errorMsg"), ("code", "message")):
            if code in value or message in value:
                solution = value.get("error_solution")
                return str(value.get(code) or ""), ". ".join(str(v) for v in (value.get(message), solution) if v)
    return "", ""


def _unanswered(what: str, whom: str, error: Exception) -> ServiceError:
    name, text = type(error).__name__, str(error)
    if name == "SslHandShakeException" or "SSL" in name:
        return ServiceError(
            f"cannot {what}: the certificate of {whom} is not trusted",
            "a private cloud or a proxy has its own authority: python -m launcher config init --ca-file FILE",
        )
    if "timed out" in text or "Timeout" in name:
        why = "does not answer in time"
    elif name == "HostUnreachableException" or "resolve" in text:
        why = "is not a known host"
    elif "refused" in text:
        why = "refuses connections"
    else:
        why = "broke the connection off"
    return ServiceError(f"cannot {what}: {whom} {why}", "python -m launcher doctor --target modelarts")


def _nonsense(what: str, url: str, answer: Answer, text: bytes) -> ServiceError:
    page = b"<html" in text[:500].lower() or b"<!doctype" in text[:500].lower()
    kind = "a web page" if page else "an empty answer" if not text.strip() else "an answer that cannot be read"
    return ServiceError(
        f"cannot {what}: {_host(url)} sends {kind} (HTTP {answer.status})",
        "a proxy in between, or a wrong endpoint: python -m launcher config show --origin",
        answer.status,
        "",
        answer.headers.get("X-Request-Id", ""),
    )


def _hint(status: int, code: str) -> str:
    try:
        from launcher.modelarts.explain import hint_for
    except ImportError:
        return "python -m launcher doctor --target modelarts"
    return hint_for(status, code) or "python -m launcher doctor --target modelarts"


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _skew(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0


def _seconds(text: str) -> float:
    """`Retry-After`, in seconds or as a date."""
    return float(text) if text.isdigit() else max(0.0, _skew(text))


def _proxy_for(scheme: str, host: str) -> str:
    """What the environment says of proxies, for http as well as https; loopback excepted."""
    import urllib.request

    name = host.rpartition(":")[0] or host
    if name in ("localhost", "127.0.0.1", "[::1]") or urllib.request.proxy_bypass(host):
        return ""
    return urllib.request.getproxies().get(scheme, "")
