"""The two header signatures that OBS takes: its own, and S3's V2. Both are HMAC-SHA1 over a canonical request.

Source: OBS API reference, "User Signature Authentication" (Authorization header, signed URL); the tests compare it
with the SDK's own signer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Dict
from urllib.parse import quote

from .credentials import Keys

PREFIX = {"obs": "x-obs-", "v2": "x-amz-"}
"""What the dialect's own headers start with."""
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
    lines = [method, headers.get("content-md5", ""), headers.get("content-type", ""), headers["date"]]
    lines.extend(f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith(prefix))
    resource = f"/{bucket}/{path}" if path or host_style else f"/{bucket}"
    text = "\n".join(lines) + "\n" + resource
    digest = hmac.new(keys.secret.encode(), text.encode(), hashlib.sha1).digest()
    headers["authorization"] = f"{_SCHEME[dialect]} {keys.access}:{base64.b64encode(digest).decode()}"


def encoded(key: str) -> str:
    """A key as it stands in a URL."""
    return quote(key, "/~")
