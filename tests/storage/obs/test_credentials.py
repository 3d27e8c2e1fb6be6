"""Keys that are not whole, that are about to end, and that nobody gives: nobody is asked as by accident."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from storage import retry
from storage.errors import NoCredentials
from storage.obs import ObsService, ObsSettings
from storage.obs.credentials import Credentials
from storage.retry import Transient, patiently
from tests.servers.metadata import Metadata, serving_metadata

PAIRS = [("OBS_ACCESS_KEY_ID", "OBS_SECRET_ACCESS_KEY"), ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK")]


class _Unsteady(Metadata, BaseHTTPRequestHandler):
    """Gives keys that are good for `seconds`, after it has answered with each of `statuses`."""

    statuses: list[int]
    seconds: float
    access: str
    asked: int

    def do_PUT(self) -> None:
        self.answer(b"a-token")

    def do_GET(self) -> None:
        kind = type(self)
        kind.asked += 1
        if self.statuses:
            self.send_error(kind.statuses.pop(0))
            return
        ends = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + self.seconds))
        keys = {"access": self.access, "secret": "s", "securitytoken": "t", "expires_at": ends}
        self.answer(json.dumps({"credential": keys}).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr("storage.retry.FIRST_WAIT", 0.001)


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Unsteady]]:
    _Unsteady.statuses, _Unsteady.seconds, _Unsteady.access, _Unsteady.asked = [], 86400, "a", 0
    with serving_metadata(_Unsteady) as address:
        monkeypatch.setenv("OBS_METADATA", address)
        monkeypatch.setenv("OBS_IAM_ENDPOINT", address)
        monkeypatch.setenv("OBS_IAM_TOKEN", "iam")
        yield _Unsteady


@pytest.mark.parametrize("source", ["ecs", "sts"])
def test_keys_are_used_to_their_end_while_nobody_gives_others(metadata: type[_Unsteady], source: str) -> None:
    metadata.seconds = 300
    credentials = Credentials(ObsSettings(credentials=source))
    keys = credentials.current()
    metadata.statuses = [503] * 99
    assert [credentials.current() for _ in range(20)] == [keys] * 20
    assert metadata.asked <= 2, "not once for each request"


@pytest.mark.parametrize("source", ["ecs", "sts"])
def test_a_glitch_of_who_gives_keys_is_got_over(metadata: type[_Unsteady], source: str) -> None:
    metadata.statuses = [503, 429]
    assert patiently(Credentials(ObsSettings(credentials=source)).current).access == "a"
    metadata.statuses = [404]
    with pytest.raises(NoCredentials):  # a server without an agency will not get one by waiting
        Credentials(ObsSettings(credentials=source)).current()


@pytest.mark.parametrize("wire", ["direct", "sdk"])
def test_a_fault_of_who_gives_keys_that_stays_ends_in_one_error(metadata: type[_Unsteady], wire: str) -> None:
    metadata.statuses = [500] * 99
    service = ObsService(ObsSettings(endpoint="http://127.0.0.1:9", credentials="ecs", wire=wire))
    with pytest.raises(NoCredentials) as caught:
        service.bucket("bucket").stat("key")
    assert "metadata" in caught.value.message and caught.value.hint
    assert metadata.asked == retry.UNKNOWN_TRIES
    with pytest.raises(NoCredentials):
        service.presign("bucket", "key", 60)


def test_keys_that_were_said_to_be_expired_are_looked_for_patiently(metadata: type[_Unsteady]) -> None:
    credentials = Credentials(ObsSettings(credentials="ecs"))
    keys = credentials.current()
    metadata.statuses, metadata.access = [503], "b"
    with pytest.raises(Transient):
        credentials.renew(keys)
    assert credentials.renew(keys)
    assert credentials.current().access == "b"


@pytest.mark.parametrize("source", ["ecs", "sts"])
def test_empty_keys_are_no_keys(metadata: type[_Unsteady], source: str) -> None:
    metadata.access = " "
    with pytest.raises(NoCredentials):
        Credentials(ObsSettings(credentials=source)).current()


@pytest.mark.parametrize(("access", "secret"), PAIRS)
def test_blank_keys_are_no_keys(monkeypatch: pytest.MonkeyPatch, access: str, secret: str) -> None:
    monkeypatch.setenv(access, " ")
    monkeypatch.setenv(secret, " ")
    with pytest.raises(NoCredentials, match="no OBS keys"):
        Credentials(ObsSettings()).current()
    with pytest.raises(NoCredentials, match="go together"):
        Credentials(ObsSettings(access_key=" ", secret_key=" ")).current()


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("there", [0, 1])
def test_half_a_pair_does_not_lead_to_another_accounts_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str], there: int
) -> None:
    (tmp_path / "credentials").write_text("[basic]\nak = other\nsk = other\n")
    monkeypatch.setenv(pair[there], "x")
    with pytest.raises(NoCredentials) as caught:
        Credentials(ObsSettings()).current()
    assert all(name in caught.value.message for name in pair)


def test_half_a_pair_in_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[basic]\nak = a\n")
    with pytest.raises(NoCredentials, match="one of ak and sk"):
        Credentials(ObsSettings()).current()


@pytest.mark.parametrize("wire", ["direct", "sdk"])
@pytest.mark.parametrize(
    "wrong",
    [{"access_key": "A\u0421K"}, {"access_key": "A\nK"}, {"secret_key": "s\r\nK"}, {"token": "\u4ee4\u724c"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_key_with_a_sign_that_none_has_is_told_without_showing_it(wire: str, wrong: dict[str, str]) -> None:
    keys = {"access_key": "access", "secret_key": "secret", **wrong}
    service = ObsService(ObsSettings(endpoint="http://127.0.0.1:9", wire=wire, **keys))
    with pytest.raises(NoCredentials, match=next(iter(wrong)).partition("_")[0]) as caught:
        service.bucket("bucket").stat("key")
    assert caught.value.hint
    assert next(iter(wrong.values())) not in str(caught.value)
