"""What OBS answers when it does not do what was asked.

Codes and statuses are those of the OBS API reference ("Error Codes") and of the SDK guides ("OBS Server-Side Error
Codes"). Two are not in either list: `ExpiredToken` with 403, for temporary credentials that have run out, and
`FileConflict` with 409, which real OBS has no need of: here an object and a folder cannot have one name.
"""

from __future__ import annotations

from collections.abc import Mapping

STATUS = {
    "AccessDenied": 403,
    "BadDigest": 400,
    "BadRequest": 400,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "EntityTooSmall": 400,
    "ExpiredToken": 403,
    "FileConflict": 409,
    "IncompleteBody": 400,
    "InsufficientStorageSpace": 403,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidDigest": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "KeyTooLongError": 400,
    "MalformedXML": 400,
    "MetadataTooLarge": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NotImplemented": 501,
    "ObjectNotAppendable": 409,
    "PositionNotEqualToLength": 409,
    "PreconditionFailed": 412,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 408,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "TooManyRequests": 429,
}


class ObsError(Exception):
    """An error answer: an OBS code, its message, and the status that belongs to it unless another is given."""

    def __init__(self, code: str, message: str = "", status: int = 0, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message or code
        self.status = status or STATUS[code]
        self.headers = dict(headers or {})
