"""The two header signatures that OBS takes: its own, and S3's V2. Both are HMAC-SHA1 over a canonical request.

Source: OBS API reference, "User Signature Authentication" (Authorization header, signed URL); the tests compare it
with the SDK's own signer.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from functools import lru_cache
from typing import Any, Dict, Tuple
from urllib.parse import quote

from .credentials import Keys

PREFIX = {"obs": "x-obs-", "v2": "x-amz-"}
"""What the dialect's own headers start with."""
_PLAIN = re.compile("[A-Za-z0-9_.~/-]*").fullmatch
"""What stands for itself."""
_SCHEME = {"obs": "OBS", "v2": "AWS"}


def sign(
    dialect: str, keys: Keys, method: str, bucket: str, path: str, headers: Dict[str, str], host_style: bool
) -> None:
    """Add Authorization, and the token of temporary keys, to `headers` (small names).

    `path` is the percent-encoded key with the sub-resources that are signed (`?partNumber=1&uploadId=x`, sorted).
    """
    prefix = PREFIX[dialect]
    if keys.token:
        headers[prefix + "security-token"] = keys.token
    own = [name for name in headers if name.startswith(prefix)]
    own.sort()
    signed = "".join([f"{name}:{headers[name]}\n" for name in own])
    md5, kind = headers.get("content-md5", ""), headers.get("content-type", "")
    resource = f"/{bucket}/{path}" if path or host_style else f"/{bucket}"
    before, after = _halves(keys.secret)
    inner, outer = before.copy(), after.copy()
    inner.update(f"{method}\n{md5}\n{kind}\n{headers['date']}\n{signed}{resource}".encode())
    outer.update(inner.digest())
    signature = binascii.b2a_base64(outer.digest(), newline=False).decode()
    headers["authorization"] = f"{_SCHEME[dialect]} {keys.access}:{signature}"


def encoded(key: str) -> str:
    """A key as it stands in a URL."""
    return key if _PLAIN(key) else quote(key, "/~")


@lru_cache(maxsize=4)
def _halves(secret: str) -> Tuple[Any, Any]:
    """HMAC-SHA1 (RFC 2104) up to where the text comes in. Done once for a key, and without letting go of the
    interpreter's lock for a microsecond's work, as hmac.digest does: many threads sign."""
    key = secret.encode()
    block = (hashlib.sha1(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    return tuple(hashlib.sha1(bytes(byte ^ mask for byte in block)) for mask in (0x36, 0x5C))  # type: ignore[return-value]
