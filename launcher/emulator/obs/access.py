"""Who may do what, and access control lists as far as canned ones go.

A bucket's owner may do everything. Everyone else, with keys or without, may do what an access control list gives to
everyone (OBS user guide, "Bucket ACLs" and "Object ACLs").
"""

from __future__ import annotations

from xml.etree import ElementTree

from . import xml
from .errors import ObsError
from .message import Request
from .store import Store

_CANNED = frozenset(
    {
        "private",
        "public-read",
        "public-read-write",
        "public-read-delivered",
        "public-read-write-delivered",
        "authenticated-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
        "log-delivery-write",
    }
)
_LOOK = frozenset({"ListObjects", "HeadBucket", "GetBucketLocation", "ListMultipartUploads"})
_READ = frozenset({"GetObject", "HeadObject"})
_WRITE = frozenset(
    {
        "PutObject",
        "AppendObject",
        "CopyObject",
        "DeleteObject",
        "DeleteObjects",
        "InitiateMultipartUpload",
        "UploadPart",
        "CopyPart",
        "CompleteMultipartUpload",
    }
)
_EVERYONE = ("Everyone", "http://acs.amazonaws.com/groups/global/AllUsers")


def authorize(store: Store, request: Request, operation: str) -> None:
    """AccessDenied, NoSuchBucket or NoSuchKey unless who asks may do that."""
    if operation == "HeadService" or "apiversion" in request.query:
        return
    if operation in ("ListBuckets", "CreateBucket"):
        if not request.owner:
            raise ObsError("AccessDenied", "only someone with keys may do that")
        return
    bucket = store.bucket(request.bucket)
    if bucket.owner == request.owner:
        return
    listable = bucket.acl.startswith("public-read")
    if operation in _LOOK and listable:
        return
    if operation in _WRITE and bucket.acl.startswith("public-read-write"):
        return
    if operation in _READ:
        check_read(store, request.owner, request.bucket, request.key)
        return
    raise ObsError("AccessDenied", "the bucket's owner has not allowed that")


def check_read(store: Store, owner: str, name: str, key: str) -> None:
    """The same for reading one object of any bucket."""
    bucket = store.bucket(name)
    if bucket.owner == owner or bucket.acl.endswith("-delivered"):
        return
    try:
        found = store.find(name, key)
    except ObsError as error:
        if error.code == "NoSuchKey" and not bucket.acl.startswith("public-read"):
            raise ObsError("AccessDenied", "the bucket's owner has not allowed that") from error
        raise
    if not found.record.acl.startswith("public-read"):
        raise ObsError("AccessDenied", "the object's owner has not allowed that")


def acl_header(request: Request) -> str:
    """The canned list that a request's header asks for; `private` without one."""
    acl = request.own("acl") or "private"
    if acl not in _CANNED:
        raise ObsError("InvalidArgument", f"{acl[:100]!r} is not a canned access control list")
    return acl


def acl_asked(request: Request) -> str:
    """What `PUT ?acl` asks for, in a header or in its body: private, or what everyone may."""
    body = request.text()
    if request.own("acl") or not body:
        return acl_header(request)
    permissions = set()
    delivered = False
    for grant in xml.parsed(body).iter("Grant"):
        if _is_everyone(grant):
            permissions.add(xml.text_of(grant, "Permission"))
            delivered = delivered or xml.text_of(grant, "Delivered") == "true"
    if not permissions & {"READ", "FULL_CONTROL"}:
        return "private"
    writable = "-write" if permissions & {"WRITE", "FULL_CONTROL"} else ""
    return f"public-read{writable}{'-delivered' if delivered else ''}"


def acl_document(owner: str, acl: str, dialect: str) -> bytes:
    """The list as XML, as each dialect writes it."""
    permissions = ["READ"] if acl.startswith("public-read") else []
    permissions += ["WRITE"] if acl.startswith("public-read-write") else []
    grants = [_grant(owner, "FULL_CONTROL", dialect)]
    grants += [_public_grant(permission, acl.endswith("-delivered"), dialect) for permission in permissions]
    return xml.document("AccessControlPolicy", [("Owner", [("ID", owner)]), ("AccessControlList", grants)], dialect)


def _is_everyone(grant: ElementTree.Element) -> bool:
    return xml.text_of(grant, "Grantee/Canned") in _EVERYONE or xml.text_of(grant, "Grantee/URI") in _EVERYONE


_TYPE = 'Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type='


def _grant(owner: str, permission: str, dialect: str) -> tuple[str, xml.Value]:
    grantee = "Grantee" if dialect == "obs" else f'{_TYPE}"CanonicalUser"'
    return "Grant", [(grantee, [("ID", owner)]), ("Permission", permission)]


def _public_grant(permission: str, delivered: bool, dialect: str) -> tuple[str, xml.Value]:
    if dialect == "obs":
        return "Grant", [("Grantee", [("Canned", _EVERYONE[0])]), ("Permission", permission), ("Delivered", delivered)]
    return "Grant", [(f'{_TYPE}"Group"', [("URI", _EVERYONE[1])]), ("Permission", permission)]
