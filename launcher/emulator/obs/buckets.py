"""Operations on buckets, but for listing objects."""

from __future__ import annotations

from dataclasses import replace

from . import xml
from .access import acl_asked, acl_document, acl_header
from .errors import ObsError
from .message import Answer, Request
from .store import Store

XML = {"Content-Type": "application/xml"}


def list_buckets(store: Store, request: Request) -> Answer:
    """The buckets of who asks, in order of their names."""
    own = [bucket for bucket in store.buckets() if bucket.owner == request.owner]
    entries: list[tuple[str, xml.Value]] = [
        (
            "Bucket",
            [
                ("Name", bucket.name),
                ("CreationDate", xml.moment(bucket.created)),
                ("Location", bucket.location),
                ("BucketType", "OBJECT"),
            ],
        )
        for bucket in own
    ]
    items: xml.Items = [("Owner", [("ID", request.owner)]), ("Buckets", entries)]
    return Answer(body=xml.document("ListAllMyBucketsResult", items, request.dialect), headers=dict(XML))


def create_bucket(store: Store, request: Request) -> Answer:
    """BucketAlreadyExists, BucketAlreadyOwnedByYou, InvalidBucketName."""
    body = request.text()
    location = ""
    if body:
        root = xml.parsed(body)
        location = xml.text_of(root, "Location") or xml.text_of(root, "LocationConstraint")
    store.make_bucket(request.bucket, request.owner, location, acl_header(request))
    return Answer(headers={"Location": f"/{request.bucket}"})


def head_bucket(store: Store, request: Request) -> Answer:
    """Where a bucket lies, and that this is OBS: by `x-obs-api` clients choose their signature."""
    if "apiversion" in request.query and not request.bucket:
        return Answer(headers={"x-obs-api": "3.0"})
    bucket = store.bucket(request.bucket)
    region = "bucket-location" if request.dialect == "obs" else "bucket-region"
    headers = {f"x-{request.dialect}-{region}": bucket.location, "x-obs-version": "3.0", "x-obs-api": "3.0"}
    return Answer(headers=headers)


def delete_bucket(store: Store, request: Request) -> Answer:
    """BucketNotEmpty, also while parts of uploads are in it."""
    store.remove_bucket(request.bucket)
    return Answer(204)


def get_location(store: Store, request: Request) -> Answer:
    """The region; the two dialects have different documents for it."""
    location = store.bucket(request.bucket).location
    if request.dialect == "obs":
        text = xml.document("Location", location, "obs")
    else:
        text = xml.document("CreateBucketConfiguration", [("LocationConstraint", location)], "amz")
    return Answer(body=text, headers=dict(XML))


def get_bucket_acl(store: Store, request: Request) -> Answer:
    """What the owner and everyone may do."""
    bucket = store.bucket(request.bucket)
    return Answer(body=acl_document(bucket.owner, bucket.acl, request.dialect), headers=dict(XML))


def set_bucket_acl(store: Store, request: Request) -> Answer:
    """By a header or a document."""
    acl = acl_asked(request)
    store.index.set_bucket(replace(store.bucket(request.bucket), acl=acl))
    return Answer()


def not_implemented(store: Store, request: Request) -> Answer:
    """Refuse: to ignore what was asked would be worse."""
    raise ObsError("NotImplemented", "this small OBS does not have that")
