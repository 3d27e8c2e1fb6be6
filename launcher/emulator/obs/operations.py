"""Which operation a request is, and who carries it out."""

from __future__ import annotations

from collections.abc import Callable

from . import buckets, listing, multipart, objects
from .access import authorize
from .errors import ObsError
from .message import Answer, Request
from .store import Store

Handler = Callable[[Store, Request], Answer]

HANDLERS: dict[str, Handler] = {
    "HeadService": buckets.head_bucket,
    "ListBuckets": buckets.list_buckets,
    "CreateBucket": buckets.create_bucket,
    "HeadBucket": buckets.head_bucket,
    "DeleteBucket": buckets.delete_bucket,
    "GetBucketLocation": buckets.get_location,
    "GetBucketAcl": buckets.get_bucket_acl,
    "SetBucketAcl": buckets.set_bucket_acl,
    "DeleteObjects": objects.delete_objects,
    "ListMultipartUploads": multipart.list_uploads,
    "PutObject": objects.put_object,
    "GetObject": objects.get_object,
    "HeadObject": objects.head_object,
    "DeleteObject": objects.delete_object,
    "CopyObject": objects.copy_object,
    "AppendObject": objects.append_object,
    "SetObjectMetadata": objects.set_metadata,
    "GetObjectAcl": objects.get_object_acl,
    "SetObjectAcl": objects.set_object_acl,
    "InitiateMultipartUpload": multipart.initiate,
    "UploadPart": multipart.upload_part,
    "CopyPart": multipart.copy_part,
    "ListParts": multipart.list_parts,
    "CompleteMultipartUpload": multipart.complete,
    "AbortMultipartUpload": multipart.abort,
    "NotImplemented": buckets.not_implemented,
}

_BUCKET = {
    ("HEAD", ""): "HeadBucket",
    ("PUT", ""): "CreateBucket",
    ("PUT", "acl"): "SetBucketAcl",
    ("GET", ""): "ListObjects",
    ("GET", "acl"): "GetBucketAcl",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "uploads"): "ListMultipartUploads",
    ("POST", "delete"): "DeleteObjects",
    ("DELETE", ""): "DeleteBucket",
}
_OBJECT = {
    ("PUT", ""): "PutObject",
    ("PUT", "acl"): "SetObjectAcl",
    ("PUT", "metadata"): "SetObjectMetadata",
    ("PUT", "uploadId"): "UploadPart",
    ("GET", ""): "GetObject",
    ("GET", "acl"): "GetObjectAcl",
    ("GET", "uploadId"): "ListParts",
    ("HEAD", ""): "HeadObject",
    ("DELETE", ""): "DeleteObject",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("POST", "uploads"): "InitiateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("POST", "append"): "AppendObject",
}
_SELECTORS = ("acl", "location", "uploads", "delete", "metadata", "uploadId", "append")
_ABSENT = frozenset(
    """
    cors encryption inventory lifecycle logging modify notification object-lock policy quota rename replication
    requestPayment restore retention storageClass storagePolicy storageinfo tagging truncate versionId versioning
    versions website
    """.split()  # noqa: SIM905 - a list of words is easier to read
)
"""Arguments for what is not here; ignoring one would do something else than what was asked."""


def operation_of(request: Request) -> str:
    """The operation's name, as the OBS API reference has it but for spaces."""
    if not _ABSENT.isdisjoint(request.query):
        return "NotImplemented"
    if not request.bucket:
        return {"GET": "ListBuckets", "HEAD": "HeadService"}.get(request.method, "NotImplemented")
    selector = next((name for name in _SELECTORS if name in request.query), "")
    table = _OBJECT if request.key else _BUCKET
    name = table.get((request.method, selector), "NotImplemented")
    copies = "x-obs-copy-source" in request.headers or "x-amz-copy-source" in request.headers
    return {"PutObject": "CopyObject", "UploadPart": "CopyPart"}.get(name, name) if copies else name


def perform(store: Store, request: Request, operation: str, lists: listing.Lists) -> Answer:
    """Do it, if who asks may; ObsError otherwise."""
    authorize(store, request, operation)
    if operation == "ListObjects":
        return listing.list_objects(store, request, lists)
    if request.method == "POST" and operation == "NotImplemented":
        raise ObsError("MethodNotAllowed", "that is not done by POST here")
    return HANDLERS[operation](store, request)
