"""What OBS answers and what breaks on the way, as our errors, with the request id and what mends it.

Sources: OBS API reference, "Error codes"; what the SDK does under each fault was tried (docs/decisions).
"""

from __future__ import annotations

import re
import socket
from typing import Dict, Mapping, NamedTuple, Optional, Tuple, Type

from ..errors import (
    AccessDenied,
    Conflict,
    Corrupt,
    InvalidUrl,
    NoCredentials,
    NotFound,
    StorageError,
    StorageFull,
    Unreachable,
)
from ..retry import TRIES, UNKNOWN_TRIES, Transient
from .dates import http_seconds


class Failure(NamedTuple):
    """An answer that is no success."""

    status: int
    code: str
    message: str
    request_id: str
    headers: Mapping[str, str]
    """Small names."""

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], body: bytes = b"") -> Failure:
        """From a response; HEAD answers have no body, so the status must do."""
        text = body[:8192].decode("utf-8", "replace")
        request_id = headers.get("x-obs-request-id") or headers.get("x-amz-request-id") or _tag(text, "RequestId")
        code = headers.get("x-obs-error-code") or _tag(text, "Code")
        return cls(status, code, headers.get("x-obs-error-message") or _tag(text, "Message"), request_id, headers)


SKEWED = "RequestTimeTooSkewed"
EXPIRED = frozenset({"ExpiredToken", "ExpiredSecurityToken", "TokenRefreshRequired", "SecurityTokenExpired"})

_BY_CODE: Dict[str, Tuple[Type[StorageError], str]] = {
    "NoSuchKey": (NotFound, ""),
    "NoSuchBucket": (NotFound, "make it with `python -m launcher storage mb`, or look at its name and region"),
    "NoSuchUpload": (NotFound, "the upload was ended by someone else: start it again"),
    "BucketAlreadyExists": (Conflict, "bucket names are shared by all accounts, and someone has it: choose another"),
    "BucketAlreadyOwnedByYou": (Conflict, "it is yours already: use it as it is"),
    "BucketNotEmpty": (Conflict, "empty it first: `python -m launcher storage rm -r`"),
    "InvalidBucketName": (InvalidUrl, "3 to 63 small letters, digits, dots and hyphens"),
    "InvalidLocationConstraint": (
        InvalidUrl,
        "the endpoint and the region of a bucket must be the same: set OBS_REGION",
    ),
    "InvalidAccessKeyId": (NoCredentials, "OBS does not know this access key: look at OBS_ACCESS_KEY_ID"),
    "SignatureDoesNotMatch": (NoCredentials, "the secret key does not belong to the access key: set both anew"),
    SKEWED: (NoCredentials, "this machine's clock is wrong: set it (timedatectl set-ntp true)"),
    "InvalidSecurity": (NoCredentials, "the security token is not valid: get new temporary keys"),
    "InvalidToken": (NoCredentials, "the security token is not valid: get new temporary keys"),
    "InObsAccessDenied": (AccessDenied, "the account is in arrears or frozen: look at the console"),
    "AllAccessDisabled": (AccessDenied, "the account is in arrears or frozen: look at the console"),
    "QuotaExceeded": (StorageFull, "free some space in the bucket or raise its quota"),
    "InsufficientStorageSpace": (StorageFull, "free some space in the bucket or raise its quota"),
    "BadDigest": (Corrupt, "the bytes changed on the way: try again"),
    "XAmzContentSHA256Mismatch": (Corrupt, "the bytes changed on the way: try again"),
    "InvalidPart": (Corrupt, "a part of the upload is not what was sent: start it again"),
}

_ELSEWHERE = (InvalidUrl, "the bucket lies in another region: set OBS_REGION (or OBS_ENDPOINT) to where it is")

_BY_STATUS: Dict[int, Tuple[Type[StorageError], str]] = {
    301: _ELSEWHERE,
    302: _ELSEWHERE,
    307: _ELSEWHERE,
    401: (NoCredentials, "look at the access key and the secret key"),
    403: (AccessDenied, ""),
    404: (NotFound, ""),
    405: (AccessDenied, "this bucket does not allow that: look at its policy and its versioning"),
    409: (Conflict, "someone else changes it at this moment: try again"),
}

_PASSING_CODES = frozenset({"RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "SlowDown"})
"""Worth a retry though their status is 4xx."""
_PASSING_STATUS = frozenset({408, 425, 429})

_PERMISSION = {
    "read": "obs:object:GetObject",
    "write": "obs:object:PutObject",
    "delete": "obs:object:DeleteObject",
    "list": "obs:bucket:ListBucket",
    "list buckets": "obs:bucket:ListAllMyBuckets",
    "make bucket": "obs:bucket:CreateBucket",
    "remove bucket": "obs:bucket:DeleteBucket",
    "list uploads": "obs:bucket:ListBucketMultipartUploads",
}
"""IAM action by what was tried (OBS user guide, "Permissions and supported actions")."""


UNKNOWN = "is not a known host"


def refused(what: str, action: str, failure: Failure) -> Exception:
    """The StorageError, or the Transient that holds it, for an answer. `what` opens the message, `action` is a key of
    the permissions above."""
    error = _final(what, action, failure)
    status, code = failure.status, failure.code
    if status >= 500 or status in _PASSING_STATUS or code in _PASSING_CODES:
        if not isinstance(error, Corrupt):
            error = Unreachable(
                error.message, "OBS is busy or has a fault of its own: run the same command again later"
            )
        return Transient(error, _asked(failure.headers))
    return error


def broken(what: str, error: BaseException, is_known: bool = True) -> Transient:
    """What a network error means: it may pass. `is_known`: the store has answered before."""
    told = str(error) or type(error).__name__
    is_unknown = isinstance(error, socket.gaierror)
    if isinstance(error, socket.gaierror):
        told = str(error.strerror) if UNKNOWN in told else f"the endpoint {UNKNOWN}"
    if "CERTIFICATE_VERIFY_FAILED" in told or type(error).__name__ == "SSLCertVerificationError":
        hint = (
            "the endpoint does not prove who it is: look at its name, or set OBS_CA_FILE to its authority's certificate"
        )
        return Transient(Unreachable(f"{what}: {told}", hint), tries=1)
    return Transient(
        Unreachable(f"{what}: {told}", "look at the network, the proxy and the endpoint, and run it again"),
        tries=UNKNOWN_TRIES if is_unknown and not is_known else TRIES,
    )


def skew(failure: Failure, now: float, dated: float) -> Optional[float]:
    """Seconds by which the store's clock is ahead of ours, if that is what it complains of; `dated` is by how many the
    request was dated ahead."""
    if failure.status == 403 and (failure.code == SKEWED or (not failure.code and "date" in failure.headers)):
        there = http_seconds(failure.headers.get("date", ""))
        if there is None:
            return None
        ahead = there - now
        return ahead if failure.code == SKEWED or abs(ahead - dated) > 600 else None
    return None


def length_in(what: str, headers: Mapping[str, str]) -> int:
    """Bytes of the object whose whole answer this is the head of. Transient if it does not say: whoever took that for 0
    would put an empty file in the place of a good one."""
    told = headers.get("content-length", "")
    if not (told.isascii() and told.isdigit()):
        error = Unreachable(f"{what}: the answer does not say how long it is", "look at the proxy and the endpoint")
        raise Transient(error)
    return int(told)


def is_expired(failure: Failure) -> bool:
    """Whether it is temporary keys that are too old."""
    return failure.status in (400, 401, 403) and (failure.code in EXPIRED or "expired" in failure.message.lower())


def _final(what: str, action: str, failure: Failure) -> StorageError:
    kind, hint = _BY_CODE.get(failure.code) or _BY_STATUS.get(failure.status) or (StorageError, "")
    if failure.status >= 500:
        kind, hint = Unreachable, ""
    if is_expired(failure):
        kind, hint = NoCredentials, "the temporary keys have expired: get new ones (OBS_SECURITY_TOKEN)"
    if kind is AccessDenied and not hint:
        needed = _PERMISSION.get(action, "that action")
        hint = f"the keys need the permission {needed} on it; a bucket of another account must grant it by policy"
    told = " ".join(part for part in (str(failure.status), failure.code, failure.message) if part)
    request_id = f" (request id {failure.request_id})" if failure.request_id else ""
    if kind is NotFound and failure.code in ("", "NoSuchKey", "NoSuchBucket") and not failure.message:
        return NotFound(f"{what}: there is no such object or bucket{request_id}", hint)
    return kind(f"{what}: {told}{request_id}", hint)


def _asked(headers: Mapping[str, str]) -> float:
    """Seconds that an answer asks us to wait."""
    for name, unit in (("x-obs-qos-delay-time", 1000.0), ("x-amz-qos-delay-time", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    return 0.0


def _tag(text: str, name: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return found.group(1).strip() if found else ""
