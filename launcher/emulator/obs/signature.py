"""Who asks: header and URL signatures of OBS and of AWS version 2, which differ in names only.

The text that is signed with HMAC-SHA1 (OBS API reference, "Authentication of Signature in a Header" and "… in a URL"):

    METHOD \\n Content-MD5 \\n Content-Type \\n Date \\n
    x-obs-name:value \\n                        for each such header, in order of their names in small letters
    /bucket/key?subresource&subresource=value   the path as it is sent; the subresources in order of their names

Date is empty when there is an `x-obs-date`, and is the `Expires` argument when the signature is in the URL. The AWS
dialect has `x-amz-` in place of `x-obs-`, and `AWSAccessKeyId` in place of `AccessKeyId`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from .errors import ObsError
from .message import Query, Request

MAX_SKEW = 900.0
"""Seconds by which a client's clock may differ (OBS API reference: 15 minutes)."""

SUBRESOURCES = frozenset(
    """
    acl append attname backtosource bucketstatus cors customdomain delete deletebucket directcoldaccess dispolicy
    encryption fileinterface inventory length lifecycle location logging metadata mirrorbacktosource modify name
    notification object-lock obsalias obsbucketalias obscompresspolicy obsworkflowtriggerpolicy orchestration partnumber
    policy policystatus position publicaccessblock quota rename replication requestpayment
    response-cache-control response-content-disposition response-content-encoding response-content-language
    response-content-type response-expires restore retention storageclass storageinfo storagepolicy tagging torrent
    truncate uploadid uploads versionid versioning versions website x-image-process x-image-save-bucket
    x-image-save-object x-obs-accesslabel x-oss-process x-workflow-execution-state x-workflow-execution-type
    x-workflow-graph-name x-workflow-limit x-workflow-next-marker x-workflow-prefix x-workflow-start
    x-workflow-template-name
    """.split()  # noqa: SIM905 - a list of words is easier to read
)
"""Arguments that are signed, in small letters; the others (prefix, marker, max-keys …) are not."""


@dataclass(frozen=True)
class Account:
    """One access key's other half."""

    secret: str
    owner: str = "owner"
    """Who it belongs to: several keys may have one owner."""
    token: str = ""
    """The security token that temporary keys need in addition."""
    expires: float = 0
    """POSIX seconds after which the keys are no longer valid; 0 is never."""


def string_to_sign(request: Request, date: str, path: str, bare: bool = False) -> str:
    """The text that is signed. With `bare`, an empty argument is written without `=`."""
    prefix = f"x-{request.dialect}-"
    lines = [request.method, request.headers.get("content-md5", ""), request.headers.get("content-type", ""), date]
    lines += [f"{name}:{request.headers[name]}" for name in sorted(request.headers) if name.startswith(prefix)]
    return "\n".join(lines) + "\n" + path + _arguments(request.query, prefix, bare)


def sign(secret: str, text: str) -> str:
    """The base64 of HMAC-SHA1, both in UTF-8."""
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def authenticate(request: Request, accounts: Mapping[str, Account], clock: float | None = None) -> None:
    """Set the request's `dialect` and `owner`; the owner stays empty when nothing is signed.

    Raises ObsError: InvalidAccessKeyId, SignatureDoesNotMatch, RequestTimeTooSkewed, ExpiredToken, AccessDenied,
    InvalidArgument.
    """
    now = time.time() if clock is None else clock
    header = request.headers.get("authorization", "")
    if header:
        kind, _, rest = header.partition(" ")
        access_key, _, signature = rest.strip().rpartition(":")
        if kind not in ("OBS", "AWS") or not access_key:
            raise ObsError("InvalidArgument", "only 'Authorization: OBS key:signature' and 'AWS …' are understood")
        request.dialect = "obs" if kind == "OBS" else "amz"
        own = request.own("date")
        date = "" if own else request.headers.get("date", "")
        _check_clock(own or date, now)
    elif request.query.get("Signature"):
        access_key = request.query.get("AccessKeyId") or request.query.get("AWSAccessKeyId") or ""
        request.dialect = "obs" if "AccessKeyId" in request.query else "amz"
        signature = request.query["Signature"] or ""
        date = request.query.get("Expires") or ""
        if not date.isdigit() or now > int(date):
            raise ObsError("AccessDenied", "the URL has expired")
    else:
        request.dialect = "amz" if any(name.startswith("x-amz-") for name in request.headers) else "obs"
        return
    account = accounts.get(access_key)
    if account is None:
        raise ObsError("InvalidAccessKeyId", "there is no such access key")
    if not any(hmac.compare_digest(signature, sign(account.secret, text)) for text in _readings(request, date)):
        raise ObsError("SignatureDoesNotMatch", "the signature is not the one that the secret key gives")
    _check_token(request, account, now)
    request.owner = account.owner


def _readings(request: Request, date: str) -> Iterator[str]:
    """What a client may have signed: the slash after a bucket and the `=` of an empty argument may be there or not."""
    paths = [request.raw_path]
    if request.host_style:
        paths = [f"/{request.bucket}{request.raw_path}"]
    if request.bucket and not request.key:
        stem = paths[0].rstrip("/")
        paths = [stem, stem + "/"]
    for path in paths:
        yield string_to_sign(request, date, path)
        yield string_to_sign(request, date, path, bare=True)


def _arguments(query: Query, prefix: str, bare: bool) -> str:
    signed = []
    for name in sorted(query):
        if name.lower() in SUBRESOURCES or name.lower().startswith(prefix):
            value = query[name]
            signed.append(name if value is None or (bare and not value) else f"{name}={value}")
    return "?" + "&".join(signed) if signed else ""


def _check_clock(date: str, now: float) -> None:
    try:
        if date.endswith("Z") and "T" in date:
            sent = float(_compact(date))
        else:
            sent = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        raise ObsError("AccessDenied", "a signed request needs a valid Date") from None
    if abs(now - sent) > MAX_SKEW:
        raise skewed()


def skewed() -> ObsError:
    """The answer to a client whose clock is wrong; the answer's own Date header tells by how much."""
    return ObsError("RequestTimeTooSkewed", "the difference between the request's time and the server's is too large")


def _compact(date: str) -> int:
    import calendar

    return calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))


def _check_token(request: Request, account: Account, now: float) -> None:
    token = request.own("security-token") or request.query.get(f"x-{request.dialect}-security-token") or ""
    if account.token and not hmac.compare_digest(token, account.token):
        raise ObsError("InvalidAccessKeyId", "these keys are temporary and need their security token")
    if account.expires and now > account.expires:
        raise ObsError("ExpiredToken", "the temporary keys have expired")
