"""Who is let in: checked against the SDK's own signer, and against clocks and tokens."""

from __future__ import annotations

import time
from email.utils import formatdate
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obs.auth import Authentication
from obs.const import ALLOWED_RESOURCE_PARAMTER_NAMES
from obs.convertor import Adapter

from launcher.emulator.obs import Account, ObsServer
from launcher.emulator.obs.body import ClientBody
from launcher.emulator.obs.errors import ObsError
from launcher.emulator.obs.message import Request
from launcher.emulator.obs.signature import SUBRESOURCES, authenticate
from tests.emulator.obs.conftest import Client

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)
TOKEN = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=10)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
ARGUMENTS = st.dictionaries(
    st.one_of(st.sampled_from(sorted(ALLOWED_RESOURCE_PARAMTER_NAMES)), st.just("uploadId"), st.just("prefix")),
    st.one_of(st.none(), TEXT),
    max_size=4,
)


def signed(
    dialect: str,
    method: str,
    bucket: str,
    key: str,
    query: dict[str, str | None],
    headers: dict[str, str],
    host_style: bool,
) -> Request:
    """A request as the SDK signs it."""
    signer = Authentication("AK", "SK", not host_style, Adapter(dialect), "example.com", False)
    headers = {"Date": formatdate(usegmt=True), **headers}
    headers["Authorization"] = signer.doAuth(method, bucket, key, query, headers)["Authorization"]
    path = "/" + "/".join([quote(part, "/~") for part in ([] if host_style else [bucket]) + ([key] if key else [])])
    lower = {name.lower(): value for name, value in headers.items()}
    return Request(method, path, query, lower, bucket, key, host_style, ClientBody(None, 0, False))  # type: ignore[arg-type]


@given(
    st.sampled_from(["obs", "v2"]),
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
    st.one_of(st.just(""), TEXT),
    ARGUMENTS,
    st.dictionaries(TOKEN, VALUE, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_what_the_sdk_signs_is_let_in_and_what_is_changed_is_not(
    dialect: str,
    method: str,
    key: str,
    query: dict[str, str | None],
    metadata: dict[str, str],
    own_date: bool,
    host_style: bool,
) -> None:
    prefix = "x-obs-" if dialect == "obs" else "x-amz-"
    headers = {f"{prefix}meta-{name}": value for name, value in metadata.items()}
    headers |= {"Content-Type": "text/plain", "Content-MD5": "abc="}
    headers |= {prefix + "date": formatdate(usegmt=True)} if own_date else {}
    request = signed(dialect, method, "bucket", key, query, headers, host_style)
    authenticate(request, {"AK": Account("SK", "me")})
    assert request.owner == "me"
    assert request.dialect == ("obs" if dialect == "obs" else "amz")
    for change in ("method", "path", "header", "secret"):
        request = signed(dialect, method, "bucket", key, query, headers, host_style)
        if change == "method":
            request.method = "PATCH"
        elif change == "path":
            request.raw_path += "x"
            request.key = key + "x"
        elif change == "header":
            request.headers = {**request.headers, "content-md5": "abd="}
        with pytest.raises(ObsError) as caught:
            authenticate(request, {"AK": Account("SX" if change == "secret" else "SK")})
        assert caught.value.code == "SignatureDoesNotMatch"


def test_every_argument_that_the_sdk_signs_is_known() -> None:
    assert set(ALLOWED_RESOURCE_PARAMTER_NAMES) <= SUBRESOURCES


@pytest.mark.parametrize("dialect", ["obs", "v2"])
@pytest.mark.parametrize(("offset", "fine"), [(-1000, False), (-800, True), (0, True), (800, True), (1000, False)])
def test_a_clock_may_be_wrong_by_fifteen_minutes(dialect: str, offset: float, fine: bool) -> None:
    name = "x-obs-date" if dialect == "obs" else "x-amz-date"
    sent = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + offset))
    for headers in ({"Date": formatdate(time.time() + offset, usegmt=True)}, {name: sent}):
        request = signed(dialect, "GET", "bucket", "key", {}, headers, False)
        if fine:
            authenticate(request, {"AK": Account("SK")})
            continue
        with pytest.raises(ObsError) as caught:
            authenticate(request, {"AK": Account("SK")})
        assert (caught.value.status, caught.value.code) == (403, "RequestTimeTooSkewed")


@pytest.mark.parametrize("dialect", ["obs", "v2"])
def test_strangers_get_the_codes_of_obs(server: ObsServer, client: Client, dialect: str) -> None:
    assert client(dialect).createBucket("bucket").status == 200
    assert client(dialect, "NOBODY").listObjects("bucket").errorCode == "InvalidAccessKeyId"
    answer = client(dialect, secret_key="wrong").listObjects("bucket")
    assert (answer.status, answer.errorCode) == (403, "SignatureDoesNotMatch")
    assert dict(answer.header)["date"] and answer.requestId


@pytest.mark.parametrize("dialect", ["obs", "v2"])
def test_temporary_keys_need_their_token_and_end(server: ObsServer, client: Client, dialect: str) -> None:
    server.accounts["TEMP"] = Account("SK", "me", "token", time.time() + 60)
    known = client(dialect, "TEMP", "SK", security_token="token")
    assert known.createBucket("bucket").status == 200
    assert client(dialect, "TEMP", "SK").listObjects("bucket").errorCode == "InvalidAccessKeyId"
    assert client(dialect, "TEMP", "SK", security_token="x").listObjects("bucket").errorCode == "InvalidAccessKeyId"
    server.accounts["TEMP"] = Account("SK", "me", "token", time.time() - 1)
    answer = known.listObjects("bucket")
    assert (answer.status, answer.errorCode) == (403, "ExpiredToken")
