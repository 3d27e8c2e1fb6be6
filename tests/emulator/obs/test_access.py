"""Signed URLs, public buckets, other people's buckets."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from obs import ObsClient

from launcher.emulator.obs import Account, ObsServer
from tests.emulator.obs.conftest import Client


def fetch(url: str, method: str = "GET", data: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data, method=method, headers={"Content-Type": ""} if data else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_signed_url_needs_no_keys_and_cannot_be_changed(sdk: ObsClient) -> None:
    sdk.putContent("bucket", "a b/ü", "content")
    url = sdk.createSignedUrl("GET", "bucket", "a b/ü", expires=60).signedUrl
    assert fetch(url) == (200, b"content")
    for wrong in (url[:-3] + "AAA", url.replace("/a%20b", "/a%20c"), url.replace("Expires=1", "Expires=2")):
        status, body = fetch(wrong)
        assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in body
    assert fetch(url, "DELETE")[0] == 403
    status, body = fetch(sdk.createSignedUrl("GET", "bucket", "a b/ü", expires=-1).signedUrl)
    assert status == 403 and b"AccessDenied" in body
    put = sdk.createSignedUrl("PUT", "bucket", "new", expires=60).signedUrl
    assert fetch(put, "PUT", b"sent")[0] == 200
    assert sdk.getObject("bucket", "new", loadStreamInMemory=True).body.buffer == b"sent"


def test_without_keys_only_what_is_public_can_be_seen(server: ObsServer, sdk: ObsClient) -> None:
    sdk.putContent("bucket", "private", "1")
    sdk.putContent("bucket", "public", "2")
    assert sdk.setObjectAcl("bucket", "public", aclControl="public-read").status == 200
    base = f"{server.endpoint}/bucket"
    assert fetch(f"{base}/public") == (200, b"2")
    assert [fetch(f"{base}/{name}")[0] for name in ("private", "none", "")] == [403, 403, 403]
    assert fetch(f"{base}/public", "DELETE")[0] == 403
    assert sdk.setBucketAcl("bucket", aclControl="public-read").status == 200
    status, body = fetch(base)
    assert status == 200 and b"<Key>private</Key>" in body
    assert [fetch(f"{base}/{name}")[0] for name in ("private", "none")] == [403, 404]
    assert fetch(server.endpoint)[0] == 403
    assert fetch(f"{server.endpoint}/no-such-bucket")[0] == 404


def test_public_read_delivered_opens_the_objects_too(server: ObsServer, client: Client) -> None:
    obs = client("obs")
    obs.createBucket("bucket")
    obs.putContent("bucket", "key", "1")
    assert obs.setBucketAcl("bucket", aclControl="public-read-delivered").status == 200
    assert fetch(f"{server.endpoint}/bucket/key") == (200, b"1")


@pytest.mark.parametrize("dialect", ["obs", "v2"])
def test_another_account_sees_what_everyone_sees(server: ObsServer, client: Client, dialect: str) -> None:
    server.accounts["OTHER"] = Account("SK", "someone else")
    mine, other = client(dialect), client(dialect, "OTHER", "SK")
    mine.createBucket("bucket")
    mine.putContent("bucket", "key", "1")
    assert other.getObject("bucket", "key").status == 403
    assert other.putContent("bucket", "key", "2").errorCode == "AccessDenied"
    assert other.createBucket("bucket").errorCode == "BucketAlreadyExists"
    assert other.listBuckets().body.buckets == []
    mine.setObjectAcl("bucket", "key", aclControl="public-read")
    assert other.getObject("bucket", "key", loadStreamInMemory=True).body.buffer == b"1"


def test_access_control_lists_come_back_as_they_were_set(sdk: ObsClient) -> None:
    sdk.putContent("bucket", "key", "1")
    for name, get, put in (
        ("bucket", sdk.getBucketAcl, sdk.setBucketAcl),
        ("object", sdk.getObjectAcl, sdk.setObjectAcl),
    ):
        target = ("bucket",) if name == "bucket" else ("bucket", "key")
        assert [grant.permission for grant in get(*target).body.grants] == ["FULL_CONTROL"]
        put(*target, aclControl="public-read")
        assert [grant.permission for grant in get(*target).body.grants] == ["FULL_CONTROL", "READ"]
        put(*target, acl=get(*target).body)
        assert [grant.permission for grant in get(*target).body.grants] == ["FULL_CONTROL", "READ"]
        put(*target, aclControl="private")
        assert len(get(*target).body.grants) == 1
