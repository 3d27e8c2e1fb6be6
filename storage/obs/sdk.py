"""The official SDK, esdk-obs-python: everything that is not bulk, and the reference for what is.

What of it may be used, and what must not (its retries, its progress, its own transfers), follows from what was tried
under faults; see docs/decisions/0005-transfers.md. One client a service, shared by threads; not across a fork.
"""

from __future__ import annotations

import functools
import threading
import time
import warnings
from email.utils import formatdate
from typing import Any, Dict, List, Mapping, Tuple
from urllib.parse import parse_qsl

from ..errors import BackendMissing
from .answers import NO_PAGE, Page, parse_objects, parse_uploads
from .credentials import Credentials, Keys
from .errors import Failure
from .settings import ObsSettings
from .signature import PREFIX
from .wire import Data, Opened, Reply, Wire, tls_context


def build(settings: ObsSettings, credentials: Credentials) -> Any:
    """An ObsClient that retries nothing, checks certificates and host names, keeps connections, and never asks as
    nobody unless nobody was wanted. BackendMissing without the SDK."""
    try:
        from obs import ObsClient
    except ImportError as error:
        raise BackendMissing("the OBS SDK is not installed", "pip install esdk-obs-python") from error

    class Client(ObsClient):  # type: ignore[misc]  # the SDK has no types
        """`_add_auth_headers` is where the SDK takes its keys and its clock; both are ours here."""

        clock_ahead = 0.0
        local = threading.local()

        def _add_auth_headers(self, headers: Dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            keys = credentials.current()
            self.local.keys, self.local.ahead = keys, self.clock_ahead
            if self.local.ahead:  # it puts its own time into Date, but leaves a date in the dialect's own header alone
                headers[self.ha.date_header()] = formatdate(time.time() + self.local.ahead, usegmt=True)
            return super()._add_auth_headers(headers, *args, **kwargs)

        def _get_token(self) -> Any:
            keys = credentials.current()
            return _Provider(keys)

    secure, host, port = settings.place
    proxy = settings.proxied
    path_style = settings.path_style
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of the TLS context that the SDK makes, and that is replaced
        client = Client(
            server=f"http{'s' if secure else ''}://{host}:{port}",
            path_style=path_style,
            signature=settings.signed_as,
            client_mode="workflow" if settings.signed_as == "obs" else "obs",  # else path style would turn obs into v2
            is_signature_negotiation=False,
            max_retry_count=0,
            timeout=settings.timeout,
            long_conn_mode=True,
            proxy_host=proxy.host if proxy else None,
            proxy_port=proxy.port if proxy else None,
            proxy_username=proxy.user if proxy else None,
            proxy_password=proxy.password if proxy and proxy.user else None,
        )
    if secure:
        client.context = tls_context(settings)
    client.convertor.parseListObjects = parse_objects
    client.convertor.parseListMultipartUploads = parse_uploads
    return client


class SdkWire(Wire):
    """A bucket's bytes by the SDK alone."""

    def __init__(self, client: Any, bucket: str, dialect: str) -> None:
        self._client = client
        self._bucket = bucket
        self._meta = PREFIX[dialect] + "meta-"

    def put(self, key: str, data: Data, headers: Dict[str, str], query: str = "") -> Reply:
        from obs import PutObjectHeader

        body = _Body(data)
        md5 = headers.pop("content-md5", None)
        if query:
            part = dict(parse_qsl(query))
            answer = self._client.uploadPart(
                self._bucket,
                key,
                int(part["partNumber"]),
                part["uploadId"],
                content=body,
                partSize=len(data),
                md5=md5,
                extensionHeaders=headers,
            )
        else:
            metadata = {
                name[len(self._meta) :]: headers.pop(name) for name in list(headers) if name.startswith(self._meta)
            }
            answer = self._client.putContent(
                self._bucket,
                key,
                content=body,
                metadata=metadata,
                headers=PutObjectHeader(md5=md5, contentLength=len(data)),
                extensionHeaders=headers,
            )
        return _reply(self._client, answer)

    def head(self, key: str) -> Reply:
        return _reply(self._client, self._client.getObjectMetadata(self._bucket, key))

    def page(self, prefix: str, marker: str) -> Tuple[Reply, Page]:
        answer = self._client.listObjects(
            self._bucket, prefix=prefix or None, marker=marker or None, max_keys=1000, encoding_type="url"
        )
        return _reply(self._client, answer), answer.body if int(answer.status) < 300 else NO_PAGE

    def get(self, key: str, headers: Dict[str, str]) -> Opened:
        from obs import GetObjectHeader

        span = headers.get("range", "")[len("bytes=") :] or None
        etag = headers.get("if-match", "").strip('"') or None  # it would percent-encode the quotes
        wanted = GetObjectHeader(range=span, if_match=etag)
        return _OpenedSdk(self._client, self._client.getObject(self._bucket, key, headers=wanted))

    def delete(self, key: str) -> Reply:
        return _reply(self._client, self._client.deleteObject(self._bucket, key))

    def begin(self, key: str, metadata: Mapping[str, str]) -> Tuple[Reply, str]:
        answer = self._client.initiateMultipartUpload(self._bucket, key, metadata=dict(metadata))
        return _reply(self._client, answer), str(getattr(answer.body, "uploadId", None) or "")

    def complete(self, key: str, upload: str, etags: Mapping[int, str]) -> Tuple[Reply, str]:
        from obs import CompleteMultipartUploadRequest, CompletePart

        request = CompleteMultipartUploadRequest([CompletePart(number, etags[number]) for number in sorted(etags)])
        answer = self._client.completeMultipartUpload(self._bucket, key, upload, request)
        return _reply(self._client, answer), str(getattr(answer.body, "etag", None) or "").strip('"')


class _OpenedSdk(Opened):
    def __init__(self, client: Any, answer: Any) -> None:
        super().__init__(int(answer.status), _headers(answer), client.local.keys, client.local.ahead)
        self._answer = answer
        self._stream = answer.body.response if answer.status < 300 else None
        self._is_read = self._stream is None

    def readinto(self, buffer: memoryview) -> int:
        assert self._stream is not None
        data: bytes = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._is_read = not data
        return len(data)

    def read(self) -> bytes:
        if self._stream is None:
            return _error_body(self._answer)
        parts: List[bytes] = list(iter(functools.partial(self._stream.read, 1 << 16), b""))
        self._is_read = True
        return b"".join(parts)

    def close(self) -> None:
        """A connection that has not been read to the end must not be used again; the SDK would."""
        if self._stream is None:
            return
        if not self._is_read:
            self._stream.conn._clear = True
        self._stream.close()
        self._stream = None


class _Body:
    """Bytes as a stream: given as they are, the SDK copies them several times over for a log line it does not write."""

    def __init__(self, data: Data) -> None:
        self._view = memoryview(data)
        self._done = 0

    def read(self, size: int = -1) -> memoryview:
        start = self._done
        self._done = len(self._view) if size < 0 else min(len(self._view), start + size)
        return self._view[start : self._done]


class _Provider:
    """Keys as the SDK wants to see them."""

    def __init__(self, keys: Keys) -> None:
        self.access_key_id = keys.access
        self.secret_access_key = keys.secret
        self.security_token = keys.token or None


def failure_of(answer: Any) -> Failure:
    """Of an answer of the SDK's."""
    headers = _headers(answer)
    return Failure(
        int(answer.status),
        answer.errorCode or "",
        answer.errorMessage or "",
        answer.requestId or headers.get("request-id", ""),
        headers,
    )


def _reply(client: Any, answer: Any) -> Reply:
    return Reply(int(answer.status), _headers(answer), _error_body(answer), client.local.keys, client.local.ahead)


def _headers(answer: Any) -> Mapping[str, str]:
    """As they were on the wire: the SDK takes the dialect's prefix off."""
    headers: Dict[str, str] = {}
    for name, value in answer.header or ():
        name = str(name).lower()
        headers[name] = headers["x-obs-" + name] = headers["x-obs-meta-" + name] = str(value)
    return headers


def _error_body(answer: Any) -> bytes:
    if int(answer.status) < 300:
        return b""
    fields = (("Code", answer.errorCode), ("Message", answer.errorMessage), ("RequestId", answer.requestId))
    return "".join(f"<{name}>{value}</{name}>" for name, value in fields if value).encode()
