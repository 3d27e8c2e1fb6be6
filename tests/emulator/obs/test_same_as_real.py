"""What our server says of S3 is what real servers say: one suite for ours, SeaweedFS and radosgw.

Where a server is known to differ, the test names it and says how; nothing else may.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from obs import (
    CompleteMultipartUploadRequest,
    CompletePart,
    CopyObjectHeader,
    DeleteObjectsRequest,
    GetObjectHeader,
    ListMultipartUploadsRequest,
    ObsClient,
    PutObjectHeader,
)
from obs import Object as Named

from tests.servers.process import Server

FIVE_MB = 5 << 20
"""Real S3 servers want as much of every part but the last; OBS is content with 100 KiB."""

ODD_KEYS = [
    "a folder/with spaces/and a  file ",
    "数据/训练/图像.png",
    "emoji 🚀/é/é",
    "+%&=?#'\"*!~;,$@()[]{}<>|^`",
    "%2e%2e/%2F",
    ".hidden",
    "-rf",
    "字" * 80,
    "/".join(["d" * 250] * 4),
    "x" * 1024,
]
REFUSES = {"seaweedfs": {"x" * 1024}}  # it has no names over 255 bytes between two slashes
NO_UPLOAD = {"radosgw": "NoSuchKey"}  # for ListParts only


@pytest.fixture
def sdk(any_server: Server) -> ObsClient:
    return any_server.client()


@pytest.fixture
def bucket(any_server: Server) -> Iterator[str]:
    name = any_server.fresh_bucket()
    yield name
    if any_server.name == "seaweedfs":  # which gives each bucket volumes of its own, and has only so many
        any_server.client().deleteBucket(name)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def content(sdk: ObsClient, bucket: str, key: str) -> bytes:
    answer = sdk.getObject(bucket, key, loadStreamInMemory=True)
    assert answer.status == 200, (answer.status, answer.errorCode)
    return bytes(answer.body.buffer or b"")


@pytest.fixture
def filled(any_server: Server, sdk: ObsClient, bucket: str) -> list[str]:
    """Keys of which the order is not that of a dictionary or of a disk, sorted by their UTF-8 bytes.

    SeaweedFS lists folder by folder, `data/x` before `data-2`: there the keys that would show it are left out.
    """
    keys = ["a", "a-b", "a.b", "data/x", "data/y/z", "data-2", "day", "é", "z", "字", "🚀", "Z", "data0", "~", "b/c"]
    if any_server.name == "seaweedfs":
        keys = [key for key in keys if key not in ("data-2",)]
    for key in keys:
        assert sdk.putContent(bucket, key, key).status == 200
    return sorted(keys, key=lambda key: key.encode())


@pytest.mark.parametrize("prefix", ["", "a", "da", "data", "data/", "data/y/z", "é", "none", "none/"])
def test_lists_are_in_order_of_utf8_bytes(sdk: ObsClient, bucket: str, filled: list[str], prefix: str) -> None:
    body = sdk.listObjects(bucket, prefix=prefix).body
    assert [item.key for item in body.contents] == [key for key in filled if key.startswith(prefix)]
    assert not body.is_truncated
    for item in body.contents:
        assert (item.size, item.etag.strip('"')) == (len(item.key.encode()), md5(item.key.encode()))


@pytest.mark.parametrize("size", [1, 2, 4, 7, 100])
def test_pages_give_every_key_once(sdk: ObsClient, bucket: str, filled: list[str], size: int) -> None:
    found: list[str] = []
    marker = None
    for _ in range(len(filled) + 2):
        body = sdk.listObjects(bucket, marker=marker, max_keys=size).body
        found += [item.key for item in body.contents]
        assert len(body.contents) <= size
        if not body.is_truncated:
            break
        marker = body.next_marker or found[-1]
    assert found == filled


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("prefix", ["", "d", "data/"])
def test_a_delimiter_folds_folders(sdk: ObsClient, bucket: str, filled: list[str], prefix: str, size: int) -> None:
    wanted = set()
    for key in filled:
        if key.startswith(prefix):
            head, slash, _ = key[len(prefix) :].partition("/")
            wanted.add(prefix + head + slash)
    found: list[str] = []
    marker = None
    for _ in range(len(filled) + 2):
        body = sdk.listObjects(bucket, prefix=prefix, delimiter="/", marker=marker, max_keys=size).body
        page = [item.key for item in body.contents] + [item.prefix for item in body.commonPrefixs]
        assert len(page) <= size
        found += page
        if not body.is_truncated:
            break
        marker = body.next_marker
    assert sorted(found) == sorted(wanted)


def test_a_marker_need_not_be_a_key(sdk: ObsClient, bucket: str, filled: list[str]) -> None:
    body = sdk.listObjects(bucket, marker="data/xx").body
    assert [item.key for item in body.contents] == [key for key in filled if key.encode() > b"data/xx"]


def test_keys_can_be_listed_url_encoded(sdk: ObsClient, bucket: str) -> None:
    sdk.putContent(bucket, "a b/+&ü", "x")
    body = sdk.listObjects(bucket, encoding_type="url").body
    assert [item.key for item in body.contents] == ["a b/+&ü"]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_hold_their_bytes(any_server: Server, sdk: ObsClient, bucket: str, key: str) -> None:
    if key in REFUSES.get(any_server.name, ()):
        pytest.skip("known not to take this key")
    assert sdk.putContent(bucket, key, "content").status == 200
    assert content(sdk, bucket, key) == b"content"
    assert [item.key for item in sdk.listObjects(bucket).body.contents] == [key]
    assert sdk.copyObject(bucket, key, bucket, "copied").status == 200
    assert sdk.deleteObject(bucket, key).status == 204
    assert [item.key for item in sdk.listObjects(bucket).body.contents] == ["copied"]


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 2000])
def test_the_etag_is_the_md5(sdk: ObsClient, bucket: str, data: bytes) -> None:
    headers = PutObjectHeader(md5=base64.b64encode(hashlib.md5(data).digest()).decode())
    answer = sdk.putContent(bucket, "key", data, headers=headers)
    assert (answer.status, answer.body.etag.strip('"')) == (200, md5(data))
    found = sdk.getObjectMetadata(bucket, "key").body
    assert (found.contentLength, found.etag.strip('"')) == (len(data), md5(data))
    assert content(sdk, bucket, "key") == data


def test_a_wrong_md5_is_a_bad_digest_and_changes_nothing(sdk: ObsClient, bucket: str) -> None:
    sdk.putContent(bucket, "key", "older")
    wrong = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    answer = sdk.putContent(bucket, "key", "newer", headers=PutObjectHeader(md5=wrong))
    assert (answer.status, answer.errorCode) == (400, "BadDigest")
    assert content(sdk, bucket, "key") == b"older"


def test_metadata_and_content_type_come_back(sdk: ObsClient, bucket: str) -> None:
    headers = PutObjectHeader(contentType="text/x-thing")
    sdk.putContent(bucket, "key", "x", metadata={"one": "1", "two-words": "a b"}, headers=headers)
    for answer in (sdk.getObjectMetadata(bucket, "key"), sdk.getObject(bucket, "key", loadStreamInMemory=True)):
        found = dict(answer.header)
        assert (found["one"], found["two-words"], answer.body.contentType) == ("1", "a b", "text/x-thing")
    sdk.putContent(bucket, "key", "x")
    assert "one" not in dict(sdk.getObjectMetadata(bucket, "key").header)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("0-3", b"0123"), ("5-5", b"5"), ("7-", b"789"), ("8-99", b"89"), ("-3", b"789"), ("0-", b"0123456789")],
)
def test_a_range_gives_what_there_is(sdk: ObsClient, bucket: str, text: str, wanted: bytes) -> None:
    sdk.putContent(bucket, "key", "0123456789")
    answer = sdk.getObject(bucket, "key", headers=GetObjectHeader(range=text), loadStreamInMemory=True)
    assert (answer.status, answer.body.buffer) == (206, wanted)


@pytest.mark.parametrize("text", ["10-", "10-20", "99-"])
def test_a_range_past_the_end_is_invalid(sdk: ObsClient, bucket: str, text: str) -> None:
    sdk.putContent(bucket, "key", "0123456789")
    answer = sdk.getObject(bucket, "key", headers=GetObjectHeader(range=text))
    assert (answer.status, answer.errorCode) == (416, "InvalidRange")


def test_if_match_keeps_to_one_version(sdk: ObsClient, bucket: str) -> None:
    sdk.putContent(bucket, "key", "content")
    good, bad = md5(b"content"), md5(b"x")  # the SDK would percent-encode quotation marks
    assert sdk.getObject(bucket, "key", headers=GetObjectHeader(if_match=good), loadStreamInMemory=True).status == 200
    assert sdk.getObject(bucket, "key", headers=GetObjectHeader(if_match=bad)).status == 412
    assert sdk.getObject(bucket, "key", headers=GetObjectHeader(if_none_match=good)).status == 304
    assert (
        sdk.getObject(bucket, "key", headers=GetObjectHeader(if_none_match=bad), loadStreamInMemory=True).status == 200
    )


def test_what_is_missing_is_told_apart(any_server: Server, sdk: ObsClient, bucket: str) -> None:
    answers = [
        (sdk.getObject(bucket, "none"), 404, "NoSuchKey"),
        (sdk.getObjectMetadata(bucket, "none"), 404, None),
        (sdk.getObject("no-such-bucket-here", "none"), 404, "NoSuchBucket"),
        (sdk.listObjects("no-such-bucket-here"), 404, "NoSuchBucket"),
        (sdk.copyObject(bucket, "none", bucket, "copy"), 404, "NoSuchKey"),
        (sdk.listParts(bucket, "none", "0" * 32), 404, NO_UPLOAD.get(any_server.name, "NoSuchUpload")),
        (sdk.headBucket("no-such-bucket-here"), 404, None),
        (sdk.deleteObject(bucket, "none"), 204, None),
    ]
    assert [(answer.status, answer.errorCode) for answer, _, _ in answers] == [(s, code) for _, s, code in answers]


def test_deletion_of_many_does_not_mind_missing_ones(sdk: ObsClient, bucket: str) -> None:
    for key in ("a", "b c", "ü/x", "kept"):
        sdk.putContent(bucket, key, "x")
    request = DeleteObjectsRequest(quiet=False, objects=[Named(key) for key in ("a", "none", "b c", "ü/x")])
    answer = sdk.deleteObjects(bucket, request)
    assert (answer.status, answer.body.error) == (200, [])
    assert {item.key for item in answer.body.deleted} >= {"a", "b c", "ü/x"}
    assert [item.key for item in sdk.listObjects(bucket).body.contents] == ["kept"]


def test_a_copy_is_the_object_with_its_metadata(any_server: Server, sdk: ObsClient, bucket: str) -> None:
    sdk.putContent(bucket, "from/ä b", "content", metadata={"one": "1"})
    answer = sdk.copyObject(bucket, "from/ä b", bucket, "to")
    assert (answer.status, answer.body.etag.strip('"')) == (200, md5(b"content"))
    assert dict(sdk.getObjectMetadata(bucket, "to").header)["one"] == "1"
    replaced = CopyObjectHeader(directive="REPLACE")
    assert sdk.copyObject(bucket, "to", bucket, "to2", metadata={"two": "2"}, headers=replaced).status == 200
    found = dict(sdk.getObjectMetadata(bucket, "to2").header)
    assert found["two"] == "2" and "one" not in found
    if any_server.name == "radosgw":
        return  # it ignores the condition
    bad = CopyObjectHeader(if_match=md5(b"x"))
    answer = sdk.copyObject(bucket, "to", bucket, "never", headers=bad)
    assert (answer.status, answer.errorCode) == (412, "PreconditionFailed")


def test_an_upload_in_parts(any_server: Server, sdk: ObsClient, bucket: str) -> None:
    key = "in parts/ä"
    data = [b"1" * FIVE_MB, b"2" * FIVE_MB, b"3"]
    upload = sdk.initiateMultipartUpload(bucket, key, metadata={"one": "1"}).body.uploadId
    parts = []
    for number, piece in reversed(list(enumerate(data, 1))):
        if any_server.name != "seaweedfs":  # which lists the part that was replaced, too
            sdk.uploadPart(bucket, key, number, upload, object="replaced")
        answer = sdk.uploadPart(bucket, key, number, upload, object=piece)
        assert (answer.status, answer.body.etag.strip('"')) == (200, md5(piece))
        parts.append(CompletePart(number, answer.body.etag))
    listed = sdk.listParts(bucket, key, upload).body
    assert [(part.partNumber, part.size, part.etag.strip('"')) for part in listed.parts] == [
        (number, len(piece), md5(piece)) for number, piece in enumerate(data, 1)
    ]
    assert sdk.getObject(bucket, key).status == 404
    uploads = sdk.listMultipartUploads(bucket, ListMultipartUploadsRequest(prefix="in")).body.upload
    assert [(item.key, item.uploadId) for item in uploads] == [(key, upload)]
    answer = sdk.completeMultipartUpload(bucket, key, upload, CompleteMultipartUploadRequest(parts))
    etag = md5(b"".join(hashlib.md5(piece).digest() for piece in data)) + "-3"
    assert answer.status == 200
    if any_server.name != "radosgw":  # whose answer's ETag the SDK does not find when the key is not ASCII
        assert answer.body.etag.strip('"') == etag
    assert content(sdk, bucket, key) == b"".join(data)
    found = sdk.getObjectMetadata(bucket, key)
    assert (found.body.etag.strip('"'), dict(found.header)["one"]) == (etag, "1")
    assert sdk.listMultipartUploads(bucket).body.upload == []


def test_an_aborted_upload_is_gone(any_server: Server, sdk: ObsClient, bucket: str) -> None:
    upload = sdk.initiateMultipartUpload(bucket, "key").body.uploadId
    etag = sdk.uploadPart(bucket, "key", 1, upload, object="x").body.etag
    assert sdk.abortMultipartUpload(bucket, "key", upload).status == 204
    assert sdk.listParts(bucket, "key", upload).errorCode == NO_UPLOAD.get(any_server.name, "NoSuchUpload")
    assert sdk.uploadPart(bucket, "key", 2, upload, object="x").errorCode == "NoSuchUpload"
    parts = CompleteMultipartUploadRequest([CompletePart(1, etag)])
    answer = sdk.completeMultipartUpload(bucket, "key", upload, parts)
    if any_server.name == "radosgw":  # an upload that was aborted just now may be a 500 there
        assert answer.status in (404, 500) and sdk.getObject(bucket, "key").status == 404
    else:
        assert (answer.status, answer.errorCode) == (404, "NoSuchUpload")


def test_a_wrong_part_is_an_invalid_part(sdk: ObsClient, bucket: str) -> None:
    upload = sdk.initiateMultipartUpload(bucket, "key").body.uploadId
    sdk.uploadPart(bucket, "key", 1, upload, object="x")
    for part in (CompletePart(1, md5(b"y")), CompletePart(2, md5(b"x"))):
        answer = sdk.completeMultipartUpload(bucket, "key", upload, CompleteMultipartUploadRequest([part]))
        assert (answer.status, answer.errorCode) == (400, "InvalidPart")
    sdk.abortMultipartUpload(bucket, "key", upload)


def test_buckets_come_and_go(any_server: Server, sdk: ObsClient, bucket: str) -> None:
    assert bucket in [item.name for item in sdk.listBuckets().body.buckets]
    sdk.putContent(bucket, "key", "x")
    if any_server.name != "seaweedfs":  # which removes a bucket with all that is in it
        answer = sdk.deleteBucket(bucket)
        assert (answer.status, answer.errorCode) == (409, "BucketNotEmpty")
    sdk.deleteObject(bucket, "key")
    assert sdk.deleteBucket(bucket).status == 204
    assert sdk.headBucket(bucket).status == 404


def test_strangers_are_refused(any_server: Server, bucket: str) -> None:
    wrong = Server("", any_server.endpoint, any_server.access_key, "wrong").client().listObjects(bucket)
    nobody = Server("", any_server.endpoint, "nobody", "wrong").client().listObjects(bucket)
    assert (wrong.status, wrong.errorCode) == (403, "SignatureDoesNotMatch")
    assert (nobody.status, nobody.errorCode) == (403, "InvalidAccessKeyId")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{any_server.endpoint}/{bucket}", timeout=10)
    with caught.value as answer:
        assert answer.code == 403 and b"AccessDenied" in answer.read()


def test_a_public_object_can_be_read_and_a_signed_url_too(any_server: Server, sdk: ObsClient, bucket: str) -> None:
    sdk.putContent(bucket, "open", "content")
    sdk.setObjectAcl(bucket, "open", aclControl="public-read")
    sdk.putContent(bucket, "closed ü", "content")
    urls = [f"{any_server.endpoint}/{bucket}/open", sdk.createSignedUrl("GET", bucket, "closed ü").signedUrl]
    for url in urls[1:] if any_server.name == "seaweedfs" else urls:  # it heeds no access control list of an object
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.read() == b"content"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urls[1][:-4] + "AAAA", timeout=10)
    with caught.value as refused:
        assert refused.code == 403


def test_errors_have_a_request_id_and_connections_stay_open(any_server: Server) -> None:
    host, _, port = any_server.endpoint.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    for _ in range(3):
        connection.request("GET", "/no-such-bucket-here/key", headers={"x-amz-date": "x"})
        answer = connection.getresponse()
        assert b"<RequestId>" in answer.read()
        assert answer.headers["Date"]
        assert answer.headers["x-amz-request-id"]
        assert not answer.will_close
    connection.close()
