"""SDK-HMAC-SHA256, as huaweicloudsdkcore signs (`signer/signer.py`) and the gateway verifies.

    METHOD \\n canonical URI \\n canonical query \\n canonical headers \\n signed header names \\n hash of the body

The URI is decoded whole, split at slashes and encoded again, with a slash at its end; the query's pairs are sorted;
each header is `name:value` and a line's end. What is signed with HMAC-SHA256 and the bare secret key is the scheme,
X-Sdk-Date and the hash of that text, each on a line. Which headers are signed, the Authorization header says.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from urllib.parse import quote, unquote

from .errors import ApiError
from .http import Request

SCHEME = "SDK-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
MAX_SKEW = 900.0
"""Seconds by which X-Sdk-Date may differ from the gateway's clock (API Gateway's user guide: 15 minutes)."""
_HEADER = re.compile(rf"{SCHEME} Access=([^,\s]+), ?SignedHeaders=([^,\s]+), ?Signature=([0-9a-f]{{64}})")


def verify(request: Request, secrets: dict[str, tuple[str, str]], now: float) -> str:
    """The access key that signed the request. ApiError 401 APIGW.0301 for anything that does not check.

    `secrets` gives for each access key its secret key and the security token that must come with it ("" for none).
    """
    found = _HEADER.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        raise refused("the Authorization header is not well formed")
    access, names, given = found.groups()
    date = request.headers.get("x-sdk-date", "")
    try:
        sent = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise refused("X-Sdk-Date is missing or not well formed") from None
    if abs(now - sent) > MAX_SKEW:
        raise refused(f"the signature has expired, x-sdk-date: {date}")
    if access not in secrets:
        raise refused(f"app or ak {access} does not exist")
    secret, token = secrets[access]
    if token and not hmac.compare_digest(token, request.headers.get("x-security-token", "")):
        raise refused("these keys are temporary and need their X-Security-Token")
    if not hmac.compare_digest(given, signature(request, names.split(";"), secret)):
        raise refused("verify aksk signature fail")
    return access


def signature(request: Request, names: list[str], secret: str) -> str:
    """The signature that `secret` gives a request whose headers `names` are signed."""
    text = "\n".join([SCHEME, request.headers.get("x-sdk-date", ""), _sha256(_canonical(request, names).encode())])
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def refused(why: str) -> ApiError:
    """What the gateway says to whoever it does not know."""
    return ApiError("APIGW.0301", f"Incorrect IAM authentication information: {why}")


def _canonical(request: Request, names: list[str]) -> str:
    path = "/".join(quote(part, safe="~") for part in unquote(request.raw_path).split("/"))
    query = "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(request.query))
    headers = "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in names)
    hashed = _sha256(request.body)
    if request.body and request.headers.get("x-sdk-content-sha256") == UNSIGNED:
        hashed = UNSIGNED  # the SDK, of a body that is not JSON
    end = "" if path.endswith("/") else "/"
    parts = [request.method, path + end, query, headers, ";".join(names), hashed]
    return "\n".join(parts)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
