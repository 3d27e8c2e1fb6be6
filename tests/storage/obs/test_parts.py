"""Settings, keys, signatures, TLS and patience, each alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obs import auth, convertor

from storage import retry
from storage.errors import InvalidUrl, NoCredentials, StorageError, Unreachable
from storage.obs import ObsService, ObsSettings
from storage.obs.answers import parse_objects
from storage.obs.channel import Budget, Buffers
from storage.obs.credentials import Credentials, Keys
from storage.obs.errors import Failure, refused
from storage.obs.multipart import MOST_PARTS, part_size
from storage.obs.signature import encoded, sign
from storage.retry import Transient, patiently
from tests.servers.emulated import serving
from tests.servers.metadata import Metadata, serving_metadata
from tests.servers.process import ACCESS_KEY, SECRET_KEY


@given(
    dialect=st.sampled_from(["obs", "v2"]),
    method=st.sampled_from(["GET", "PUT", "HEAD"]),
    key=st.text(min_size=1, max_size=40).filter(lambda key: "\ud800" not in key and key.isprintable()),
    part=st.integers(0, 3),
    digest=st.booleans(),
    host_style=st.booleans(),
)
def test_requests_are_signed_as_the_sdk_signs_them(
    dialect: str, method: str, key: str, part: int, digest: bool, host_style: bool
) -> None:
    prefix = {"obs": "x-obs-", "v2": "x-amz-"}[dialect]
    headers = {"date": "Wed, 25 Nov 2026 08:00:00 GMT", prefix + "meta-sha256": "ab", "host": "h"}
    if digest:
        headers["content-md5"] = "1B2M2Y8AsgTpgAmY7PhCfg=="
    query = {"partNumber": str(part), "uploadId": "id"} if part else {}
    theirs = auth.Authentication("AK", "SK", not host_style, convertor.Adapter(dialect), "server", False)
    expected = theirs.doAuth(method, "bucket", key, query, dict(headers))["Authorization"]
    path = encoded(key) + (f"?partNumber={part}&uploadId=id" if part else "")
    sign(dialect, Keys("AK", "SK"), method, "bucket", path, headers, host_style)
    assert headers["authorization"] == expected


def test_the_endpoint_is_read_as_people_write_it() -> None:
    assert ObsSettings(region="cn-north-4").url == "https://obs.cn-north-4.myhuaweicloud.com"
    assert ObsSettings(endpoint="obs.cn-north-4.myhuaweicloud.com").place == (
        True,
        "obs.cn-north-4.myhuaweicloud.com",
        443,
    )
    assert ObsSettings(endpoint="http://127.0.0.1:9000/").place == (False, "127.0.0.1", 9000)
    for wrong in ("", "ftp://x", "https://", "https://a/b", "https://a:b"):
        with pytest.raises(InvalidUrl) as caught:
            _ = ObsSettings(endpoint=wrong).place
        assert caught.value.hint


def test_huawei_is_signed_as_obs_and_others_as_s3() -> None:
    assert ObsSettings(region="cn-north-4").signed_as == "obs"
    assert ObsSettings(region="cn-north-4").checked_by == "sha256"
    assert not ObsSettings(region="cn-north-4").path_style
    other = ObsSettings(endpoint="http://127.0.0.1:9000")
    assert (other.signed_as, other.checked_by, other.path_style) == ("v2", "md5", True)


def test_secrets_are_not_shown() -> None:
    settings = ObsSettings(endpoint="x", access_key="the-access", secret_key="the-secret", token="the-token")
    shown = repr(settings) + repr(Credentials(settings).current())
    assert not any(secret in shown for secret in ("the-access", "the-secret", "the-token"))


def test_the_environment_says_where_and_who(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBS_REGION", "cn-east-3")
    monkeypatch.setenv("OBS_ACCESS_KEY_ID", " access ")
    monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("OBS_SECURITY_TOKEN", "token")
    settings = ObsSettings.from_environment(region="", wire="sdk")
    assert (settings.region, settings.wire) == ("cn-east-3", "sdk")
    assert Credentials(settings).current() == Keys("access", "secret", "token")


def test_the_profile_file_of_the_clouds_sdks_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "credentials"
    monkeypatch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(file))
    with pytest.raises(NoCredentials) as caught:
        Credentials(ObsSettings()).current()
    assert "OBS_ACCESS_KEY_ID" in caught.value.hint
    file.write_text("[basic]\nak = a%b\nsk = s\n")
    assert Credentials(ObsSettings()).current() == Keys("a%b", "s")
    file.write_text("not a profile")
    with pytest.raises(NoCredentials):
        Credentials(ObsSettings()).current()


class _Metadata(Metadata, BaseHTTPRequestHandler):
    """The keys end at once the first time."""

    asked = 0

    def do_PUT(self) -> None:
        self.answer(b"a-token")

    def do_GET(self) -> None:
        assert self.headers["X-Metadata-Token"] == "a-token"
        self._credential()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["auth"]["identity"]["methods"] == ["token"]
        assert self.headers["X-Auth-Token"] == "iam"
        self._credential()

    def _credential(self) -> None:
        type(self).asked += 1
        self.answer_keys(f"a{self.asked}", "2020-01-01" if self.asked == 1 else "2099-01-01")


@pytest.fixture
def metadata() -> Iterator[str]:
    _Metadata.asked = 0
    with serving_metadata(_Metadata) as address:
        yield address


@pytest.mark.parametrize("source", ["ecs", "sts"])
def test_temporary_keys_are_fetched_and_replaced_before_they_end(
    metadata: str, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setenv("OBS_METADATA", metadata)
    monkeypatch.setenv("OBS_IAM_ENDPOINT", metadata)
    monkeypatch.setenv("OBS_IAM_TOKEN", "iam")
    credentials = Credentials(ObsSettings(credentials=source))
    assert credentials.current().access == "a1"
    assert credentials.current().access == "a2"
    assert credentials.current().access == "a2"
    assert _Metadata.asked == 2


@pytest.mark.parametrize("wire", ["direct", "sdk"])
def test_tls_is_verified_and_so_is_the_name(tmp_path: Path, certificate: tuple[Path, Path], wire: str) -> None:
    with serving(tmp_path / "root", tls=certificate) as server:

        def service(host: str, ca_file: str = "") -> ObsService:
            endpoint = f"https://{host}:{server.port}"
            return ObsService(
                ObsSettings(endpoint=endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY, ca_file=ca_file, wire=wire)
            )

        trusted = service("localhost", str(certificate[0]))
        trusted.make_bucket("bucket")
        assert trusted.bucket("bucket").write("key", b"x").size == 1
        trusted.close()
        for distrusted in (service("localhost"), service("127.0.0.1", str(certificate[0]))):
            with pytest.raises(Unreachable) as caught:
                distrusted.bucket("bucket").stat("key")
            assert "OBS_CA_FILE" in caught.value.hint
            with pytest.raises(Unreachable):
                distrusted.buckets()
            distrusted.close()


def test_patience_ends_and_progress_resets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    tries = 0

    def fail() -> None:
        nonlocal tries
        tries += 1
        raise Transient(Unreachable("no"))

    with pytest.raises(Unreachable):
        patiently(fail)
    assert tries == retry.TRIES
    assert len(pauses) == retry.TRIES - 1
    assert 0 < sum(pauses) < 60
    tries = 0

    def progress() -> int:
        return min(tries, 20)

    with pytest.raises(Unreachable):
        patiently(fail, progress)
    assert tries >= 20 + retry.TRIES - 1


def test_the_store_says_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    busy = refused("x", "read", Failure(429, "", "", "", {"x-obs-qos-delay-time": "7000"}))
    asked = refused("x", "read", Failure(503, "SlowDown", "", "", {"retry-after": "9"}))
    assert isinstance(busy, Transient)
    assert isinstance(asked, Transient)
    answers = [busy, asked]

    def action() -> str:
        if answers:
            raise answers.pop(0)
        return "done"

    assert patiently(action) == "done"
    assert pauses[0] >= 7
    assert pauses[1] >= 9


@pytest.mark.parametrize(
    ("failure", "builtin", "hint"),
    [
        (Failure(403, "AccessDenied", "no", "id1", {}), PermissionError, "obs:object:GetObject"),
        (Failure(403, "RequestTimeTooSkewed", "no", "id1", {}), PermissionError, "clock"),
        (Failure(404, "NoSuchBucket", "no", "id1", {}), FileNotFoundError, "storage mb"),
        (Failure(409, "BucketAlreadyExists", "no", "id1", {}), FileExistsError, "another"),
        (Failure(301, "", "", "id1", {}), ValueError, "region"),
        (Failure(403, "QuotaExceeded", "no", "id1", {}), OSError, "quota"),
    ],
)
def test_answers_become_errors_with_the_request_id_and_a_way_out(
    failure: Failure, builtin: type[Exception], hint: str
) -> None:
    error = refused("cannot read obs://b/k", "read", failure)
    assert isinstance(error, StorageError)
    assert isinstance(error, builtin)
    assert "id1" in error.message
    assert "obs://b/k" in error.message
    assert hint in error.hint


def test_parts_grow_only_when_there_would_be_too_many() -> None:
    assert part_size(9 << 20) == 8 << 20
    for size in (80_000 << 20, 1 << 40, 48 << 40):
        assert -(-size // part_size(size)) <= MOST_PARTS
        assert part_size(size) % (1 << 20) == 0


def test_the_budget_lets_what_is_too_large_go_alone() -> None:
    budget = Budget(10)
    assert budget.take(50) == 10
    assert budget.try_take(1) == 0
    budget.give(10)
    assert budget.try_take(4) == 4
    assert budget.try_take(7) == 0


def test_a_listing_is_read_to_the_millisecond() -> None:
    page = parse_objects(
        "<ListBucketResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><NextMarker>a%2Fb</NextMarker>"
        "<Contents><Key>a%2Fb%20%E6%95%B0</Key><Size>3</Size><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2026-07-01T12:00:00.250Z</LastModified></Contents></ListBucketResult>"
    )
    (info,) = page.objects
    assert (info.key, info.size, info.etag, info.mtime) == ("a/b 数", 3, "e", 1782907200.25)
    assert (page.is_truncated, page.next_marker) == (True, "a/b")


def test_memory_is_used_again_up_to_a_limit() -> None:
    buffers = Buffers(9 << 20)
    first, second = buffers.take(5 << 20), buffers.take(8 << 20)
    assert len(first) == len(second) == 8 << 20
    buffers.give(first)
    buffers.give(second)  # one too many
    assert buffers.take(8 << 20) is first
    assert buffers.take(8 << 20) is not second
    assert len(buffers.take(9 << 20)) == 9 << 20
    with buffers.lent(3) as view:
        assert len(view) == 3
    with buffers.lent(1 << 20) as again:
        assert again.obj is view.obj


def test_nothing_that_a_person_configures_can_add_a_header() -> None:
    settings = ObsSettings(
        endpoint="http://127.0.0.1:1", access_key="a", secret_key="s", token="t\r\nx-obs-acl: public"
    )
    with pytest.raises(NoCredentials, match="security token"):
        ObsService(settings).bucket("bucket").wire.head("key")
