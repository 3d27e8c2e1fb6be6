"""What OBS has and other S3 servers have not, or do in another way; the rest is in test_same_as_real."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
from pathlib import Path

import pytest
from obs import (
    AppendObjectContent,
    CompleteMultipartUploadRequest,
    CompletePart,
    CopyObjectHeader,
    DeleteObjectsRequest,
    ListMultipartUploadsRequest,
    ObsClient,
    PutObjectHeader,
    SetObjectMetadataHeader,
)
from obs import Object as Named
from obs.model import GetResult

from launcher.emulator.obs import Account, ObsServer
from storage.filesystem import FileSystemStorage
from tests.servers.emulated import serving


def content(sdk: ObsClient, key: str) -> bytes:
    answer = sdk.getObject("bucket", key, loadStreamInMemory=True)
    assert answer.status == 200, (answer.status, answer.errorCode)
    return bytes(answer.body.buffer or b"")


def header(answer: GetResult, name: str) -> str:
    """A header of an answer, whatever prefix the SDK has left of it."""
    return next(value for found, value in answer.header if found.endswith(name))


def test_buckets_are_made_listed_and_removed(sdk: ObsClient, server: ObsServer) -> None:
    assert sdk.createBucket("another", location="cn-east-3").status == 200
    assert sdk.createBucket("another", location="cn-east-3").status == 200
    assert sdk.createBucket("another", location="cn-south-1").errorCode == "BucketAlreadyOwnedByYou"
    assert sdk.createBucket("Bad_Name").errorCode == "InvalidBucketName"
    found = [(bucket.name, bucket.location) for bucket in sdk.listBuckets().body.buckets]
    assert found == [("another", "cn-east-3"), ("bucket", "cn-north-4")]
    assert sdk.getBucketLocation("another").body.location == "cn-east-3"
    assert sdk.getBucketMetadata("another").body.location == "cn-east-3"
    assert header(sdk.headBucket("another"), "api") == "3.0"
    assert sdk.deleteBucket("another").status == 204
    assert sdk.headBucket("another").status == 404


def test_a_bucket_with_anything_in_it_is_not_removed(sdk: ObsClient) -> None:
    upload = sdk.initiateMultipartUpload("bucket", "key").body.uploadId
    assert sdk.deleteBucket("bucket").errorCode == "BucketNotEmpty"
    assert sdk.abortMultipartUpload("bucket", "key", upload).status == 204
    sdk.putContent("bucket", "folder/", "")
    assert sdk.deleteBucket("bucket").errorCode == "BucketNotEmpty"
    sdk.deleteObject("bucket", "folder/")
    assert sdk.deleteBucket("bucket").status == 204


def test_append_goes_on_where_the_object_ends(sdk: ObsClient) -> None:
    answer = sdk.appendObject("bucket", "log", AppendObjectContent(content="one,", position=0))
    assert (answer.status, answer.body.nextPosition) == (200, 4)
    wrong = sdk.appendObject("bucket", "log", AppendObjectContent(content="x", position=3))
    assert (wrong.status, wrong.errorCode) == (409, "PositionNotEqualToLength")
    assert header(wrong, "next-append-position") == "4"
    assert sdk.appendObject("bucket", "log", AppendObjectContent(content="two", position=4)).body.nextPosition == 7
    assert content(sdk, "log") == b"one,two"
    assert sdk.getObjectMetadata("bucket", "log").body.isAppendable
    sdk.putContent("bucket", "plain", "x")
    answer = sdk.appendObject("bucket", "plain", AppendObjectContent(content="x", position=1))
    assert answer.errorCode == "ObjectNotAppendable"


def test_metadata_can_be_changed_without_the_bytes(sdk: ObsClient) -> None:
    sdk.putContent("bucket", "key", "content", metadata={"a": "1", "b": "2"})
    sdk.setObjectMetadata("bucket", "key", {"b": "3", "c": "4"}, SetObjectMetadataHeader(contentType="text/x"))
    found = dict(sdk.getObjectMetadata("bucket", "key").header)
    assert (found["a"], found["b"], found["c"], found["content-type"]) == ("1", "3", "4", "text/x")
    replace = SetObjectMetadataHeader(removeUnset=True)
    sdk.setObjectMetadata("bucket", "key", {"z": "9"}, replace)
    found = dict(sdk.getObjectMetadata("bucket", "key").header)
    assert found["z"] == "9" and "a" not in found
    assert content(sdk, "key") == b"content"


def test_a_body_without_its_sha256_never_becomes_visible(sdk: ObsClient) -> None:
    sdk.putContent("bucket", "key", "older")
    right = hashlib.sha256(b"newer").hexdigest()
    answer = sdk.putContent("bucket", "key", "never", headers=PutObjectHeader(sha256=right))
    assert (answer.status, answer.errorCode) == (400, "BadDigest")
    assert content(sdk, "key") == b"older"
    assert sdk.putContent("bucket", "key", "newer", headers=PutObjectHeader(sha256=right)).status == 200
    assert content(sdk, "key") == b"newer"


def test_a_copy_takes_the_metadata_along_or_gets_its_own(sdk: ObsClient) -> None:
    sdk.putContent("bucket", "ä b", "content", metadata={"a": "1"})
    assert sdk.copyObject("bucket", "ä b", "bucket", "kept").status == 200
    headers = CopyObjectHeader(directive="REPLACE")
    assert sdk.copyObject("bucket", "ä b", "bucket", "changed", metadata={"b": "2"}, headers=headers).status == 200
    assert dict(sdk.getObjectMetadata("bucket", "kept").header)["a"] == "1"
    found = dict(sdk.getObjectMetadata("bucket", "changed").header)
    assert found["b"] == "2" and "a" not in found
    answer = sdk.copyObject("bucket", "ä b", "bucket", "never", headers=CopyObjectHeader(if_match="x"))
    assert (answer.status, answer.errorCode) == (412, "PreconditionFailed")
    assert content(sdk, "kept") == b"content"


def test_parts_must_have_100_kib_but_for_the_last(sdk: ObsClient) -> None:
    upload = sdk.initiateMultipartUpload("bucket", "key", metadata={"a": "1"}).body.uploadId
    etags = [sdk.uploadPart("bucket", "key", n, upload, object="x" * size).body.etag for n, size in ((1, 9), (2, 9))]
    parts = [CompletePart(number, etag) for number, etag in enumerate(etags, 1)]
    small = sdk.completeMultipartUpload("bucket", "key", upload, CompleteMultipartUploadRequest(parts))
    assert (small.status, small.errorCode) == (400, "EntityTooSmall")
    parts[0].etag = sdk.uploadPart("bucket", "key", 1, upload, object="y" * 102_400).body.etag
    assert sdk.completeMultipartUpload("bucket", "key", upload, CompleteMultipartUploadRequest(parts)).status == 200
    assert content(sdk, "key") == b"y" * 102_400 + b"x" * 9
    assert dict(sdk.getObjectMetadata("bucket", "key").header)["a"] == "1"
    again = sdk.completeMultipartUpload("bucket", "key", upload, CompleteMultipartUploadRequest(parts))
    assert (again.status, again.errorCode) == (404, "NoSuchUpload")


def test_a_part_can_be_a_range_of_another_object(sdk: ObsClient) -> None:
    sdk.putContent("bucket", "source", "0123456789")
    upload = sdk.initiateMultipartUpload("bucket", "key").body.uploadId
    answer = sdk.copyPart("bucket", "key", 1, upload, "bucket/source", copySourceRange="2-5")
    parts = CompleteMultipartUploadRequest([CompletePart(1, answer.body.etag)])
    assert sdk.completeMultipartUpload("bucket", "key", upload, parts).status == 200
    assert content(sdk, "key") == b"2345"


def test_lists_of_parts_and_uploads_come_in_pages(sdk: ObsClient) -> None:
    uploads = sorted(
        (key, sdk.initiateMultipartUpload("bucket", key).body.uploadId) for key in ("a/1", "a/1", "a/2", "b")
    )
    key, upload = uploads[0]
    for number in (1, 2, 5):
        sdk.uploadPart("bucket", key, number, upload, object=str(number))
    first = sdk.listParts("bucket", key, upload, maxParts=2).body
    assert ([part.partNumber for part in first.parts], first.isTruncated) == ([1, 2], True)
    rest = sdk.listParts("bucket", key, upload, partNumberMarker=first.nextPartNumberMarker).body
    assert ([(part.partNumber, part.size) for part in rest.parts], rest.isTruncated) == ([(5, 1)], False)
    found = []
    request = ListMultipartUploadsRequest(prefix="a/", max_uploads=1)
    while len(found) < 9:
        page = sdk.listMultipartUploads("bucket", request).body
        found += [(item.key, item.uploadId) for item in page.upload]
        if not page.isTruncated:
            break
        request = ListMultipartUploadsRequest(
            prefix="a/", max_uploads=1, key_marker=page.nextKeyMarker, upload_id_marker=page.nextUploadIdMarker
        )
    assert found == uploads[:3]


def test_markers_of_folders_are_objects_without_bytes(sdk: ObsClient) -> None:
    sdk.putContent("bucket", "a/b", "1")
    assert sdk.putContent("bucket", "a/", "").status == 200
    assert [item.key for item in sdk.listObjects("bucket").body.contents] == ["a/", "a/b"]
    assert sdk.getObjectMetadata("bucket", "a/").body.contentLength == 0
    assert content(sdk, "a/") == b""
    assert sdk.putContent("bucket", "a/", "x").errorCode == "InvalidArgument"
    sdk.deleteObject("bucket", "a/")
    assert [item.key for item in sdk.listObjects("bucket").body.contents] == ["a/b"]


@pytest.mark.parametrize("key", ["../x", "a//b", "./x", "a/../../x", "a\tb", "a\\b", "x" * 1025])
def test_keys_that_cannot_be_files_are_refused_and_touch_nothing(sdk: ObsClient, tmp_path: Path, key: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    answer = sdk.putContent("bucket", key, "x")
    assert answer.status == 400 and answer.errorCode in ("InvalidArgument", "KeyTooLongError")
    assert sdk.getObject("bucket", key).status in (400, 404)
    assert sdk.initiateMultipartUpload("bucket", key).status == 400
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == []


def test_an_object_beside_a_folder_of_its_name_is_a_conflict(sdk: ObsClient) -> None:
    sdk.putContent("bucket", "a", "1")
    assert sdk.putContent("bucket", "a/b", "2").status == 409
    assert content(sdk, "a") == b"1"


def test_deletion_of_many_reads_its_digest(server: ObsServer, sdk: ObsClient) -> None:
    for name in ("a", "b c", "ü"):
        sdk.putContent("bucket", name, "1")
    request = DeleteObjectsRequest(quiet=False, objects=[Named("a"), Named("none"), Named("b c"), Named("x//y")])
    answer = sdk.deleteObjects("bucket", request).body
    assert [item.key for item in answer.deleted] == ["a", "none", "b c"]
    assert [(item.key, item.code) for item in answer.error] == [("x//y", "InvalidArgument")]
    quiet = sdk.deleteObjects("bucket", DeleteObjectsRequest(quiet=True, objects=[Named("ü")])).body
    assert (quiet.deleted, sdk.listObjects("bucket").body.contents) == ([], [])


def test_files_of_others_are_objects_with_an_etag(sdk: ObsClient, tmp_path: Path) -> None:
    FileSystemStorage(tmp_path / "root/bucket").write("x/y", b"from outside")
    (item,) = sdk.listObjects("bucket").body.contents
    assert (item.key, item.etag) == ("x/y", f'"{hashlib.md5(b"from outside").hexdigest()}"')
    sdk.putContent("bucket", "x/y", "inside", metadata={"a": "1"})
    FileSystemStorage(tmp_path / "root/bucket").write("x/y", b"again!")
    found = sdk.getObjectMetadata("bucket", "x/y")
    assert found.body.etag == f'"{hashlib.md5(b"again!").hexdigest()}"'
    assert "a" not in dict(found.header)


def test_the_bucket_may_be_named_by_the_host(server: ObsServer, sdk: ObsClient) -> None:
    sdk.putContent("bucket", "key", "content")
    sdk.setObjectAcl("bucket", "key", aclControl="public-read")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    for host in ("bucket.localhost", "bucket.obs.cn-north-4.myhuaweicloud.com", f"bucket.example:{server.port}"):
        connection.request("GET", "/key", headers={"Host": host})
        assert connection.getresponse().read() == b"content"
    connection.request("GET", "/bucket/key", headers={"Host": "obs.cn-north-4.myhuaweicloud.com"})
    assert connection.getresponse().read() == b"content"
    connection.close()


def test_negotiation_finds_the_signature_of_obs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
    with serving(tmp_path / "root", OWN=Account("SK")) as server:
        endpoint = f"http://localhost:{server.port}"
        sdk = ObsClient("OWN", "SK", server=endpoint, path_style=False, max_retry_count=0, timeout=5)
        assert sdk.createBucket("bucket").status == 200
        assert sdk.putContent("bucket", "ü", "content", metadata={"a": "1"}).status == 200
        answer = sdk.getObjectMetadata("bucket", "ü")
        assert dict(answer.header)["a"] == "1"
        assert dict(answer.header).get("request-id"), "the answer has OBS' own headers"
        sdk.close()


def test_a_body_without_a_length_is_taken_in_chunks(sdk: ObsClient, tmp_path: Path) -> None:
    data = bytes(range(256)) * 3000
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as stream:
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        assert sdk.putContent("bucket", "key", stream, headers=PutObjectHeader(md5=md5)).status == 200
    assert content(sdk, "key") == data
