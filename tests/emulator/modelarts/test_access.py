"""Who is served: signatures as the official SDK makes them, tokens, projects, temporary keys."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from urllib.parse import quote

import huaweicloudsdkmodelarts.v1 as sdk
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from hypothesis import given
from hypothesis import strategies as st

from launcher.emulator.modelarts.errors import ApiError
from launcher.emulator.modelarts.http import Request
from launcher.emulator.modelarts.signature import SCHEME, signature, verify
from storage.obs import ObsService
from tests.emulator.modelarts.conftest import Cloud, client

FLAVORS = sdk.ShowTrainingJobFlavorsRequest(flavor_type="Ascend")


@pytest.fixture
def account(shared: Cloud) -> Iterator[tuple[str, str, str]]:
    yield shared.emulator.account.access_key, shared.emulator.account.secret_key, shared.project


def refusal(cloud: Cloud, access_key: str, secret_key: str, project: str) -> tuple[int, str, str]:
    """Status, code and text that a client with those keys gets."""
    other = client(cloud.emulator.endpoint, access_key, secret_key, project)
    with closing(other), pytest.raises(ClientRequestException) as caught:
        other.show_training_job_flavors(FLAVORS)
    assert caught.value.request_id
    return caught.value.status_code, caught.value.error_code, caught.value.error_msg


def test_the_sdks_signature_is_right(shared: Cloud) -> None:
    found = shared.sdk.show_training_job_flavors(FLAVORS)
    assert "Ascend: 1*Ascend 910" in [flavor.flavor_name for flavor in found.flavors]


def test_a_signature_covers_query_and_chinese_body(cloud: Cloud) -> None:
    body = cloud.body()
    body["metadata"]["description"] = "训练 ~ é"
    job_id = cloud.create(body)
    assert cloud.show(job_id).metadata.description == "训练 ~ é"
    request = sdk.ListTrainingJobEventsRequest(training_job_id=job_id, pattern="[worker-0] 训练 a+b&c", limit=3)
    assert cloud.sdk.list_training_job_events(request).total == 0


def test_another_secret_key_is_refused(shared: Cloud, account: tuple[str, str, str]) -> None:
    status, code, text = refusal(shared, account[0], "wrong", account[2])
    assert (status, code) == (401, "APIGW.0301")
    assert text.startswith("Incorrect IAM authentication information")


def test_another_access_key_is_refused(shared: Cloud, account: tuple[str, str, str]) -> None:
    assert refusal(shared, "NOBODY", account[1], account[2])[:2] == (401, "APIGW.0301")


def test_another_project_is_403(shared: Cloud, account: tuple[str, str, str]) -> None:
    assert refusal(shared, account[0], account[1], "f" * 32)[:2] == (403, "ModelArts.0210")


def test_a_clock_that_is_wrong_is_refused(shared: Cloud, account: tuple[str, str, str]) -> None:
    shared.faults({"fault": "clock-skew", "seconds": 3600})
    status, code, text = refusal(shared, *account)
    assert (status, code) == (401, "APIGW.0301")
    assert "expired" in text


def test_no_credentials_at_all_are_401_and_no_such_route_404(shared: Cloud) -> None:
    answer = shared.ask("GET", shared.url("/x"), token="")
    assert (answer.status, answer.json["error_code"]) == (401, "APIGW.0301")
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert shared.ask("GET", "/v2/nothing/here").json["error_code"] == "APIGW.0101"
    assert shared.ask("PATCH", shared.url("/x")).status == 405


def signed(**changes: object) -> Request:
    """A request with a right signature of the keys AK and SK, and then the changes."""
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(1_800_000_000))
    headers = {"host": "127.0.0.1", "x-sdk-date": date, "content-type": "application/json"}
    request = Request("POST", "/v2/p/training-jobs", "b=2&a=1", headers, b'{"a": 1}', "id")
    names = sorted(headers)
    given = signature(request, names, "SK")
    headers["authorization"] = f"{SCHEME} Access=AK, SignedHeaders={';'.join(names)}, Signature={given}"
    return replace(request, **changes)  # type: ignore[arg-type]


KEYS = {"AK": ("SK", "")}


def test_what_is_signed_cannot_be_changed() -> None:
    assert verify(signed(), KEYS, 1_800_000_000) == "AK"
    assert verify(signed(raw_query="a=1&b=2"), KEYS, 1_800_000_000) == "AK", "the order of a query is no matter"
    changes: list[dict[str, object]] = [
        {"method": "PUT"},
        {"raw_path": "/v2/p/training-jobs/x"},
        {"raw_query": "b=2&a=3"},
        {"body": b'{"a": 2}'},
        {"headers": {**signed().headers, "host": "other"}},
    ]
    for change in changes:
        with pytest.raises(ApiError, match=r"APIGW.0301"):
            verify(signed(**change), KEYS, 1_800_000_000)


@given(
    path=st.text(max_size=40),
    query=st.lists(st.tuples(st.text(min_size=1, max_size=9), st.text(max_size=9)), max_size=4),
    agent=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    body=st.binary(max_size=30),
)
def test_whatever_the_sdk_signs_is_taken(path: str, query: list[tuple[str, str]], agent: str, body: bytes) -> None:
    resource = "/v2/" + quote(path)
    headers = {"Content-Type": "application/json", "User-Agent": agent, "X-Project-Id": "p"}
    sent = SdkRequest("POST", "http", "127.0.0.1:1", resource, "", query, headers, body)
    sent = Signer(BasicCredentials("AK", "SK", "p")).sign(sent)
    raw_path, _, raw_query = sent.uri.partition("?")
    names = {name.lower(): value.strip() for name, value in sent.header_params.items()}
    assert verify(Request("POST", raw_path, raw_query, names, body, "id"), KEYS, time.time()) == "AK"


@pytest.mark.parametrize("seconds", [-901, 901])
def test_a_signature_is_good_for_a_quarter_of_an_hour(seconds: int) -> None:
    with pytest.raises(ApiError, match="expired"):
        verify(signed(), KEYS, 1_800_000_000 + seconds)


def test_temporary_keys_need_their_token() -> None:
    with pytest.raises(ApiError, match="X-Security-Token"):
        verify(signed(), {"AK": ("SK", "TOKEN")}, 1_800_000_000)


def password(cloud: Cloud, word: str) -> dict[str, object]:
    account = cloud.emulator.account
    user = {"name": account.user, "password": word, "domain": {"name": account.domain}}
    identity = {"methods": ["password"], "password": {"user": user}}
    return {"auth": {"identity": identity, "scope": {"project": {"name": "cn-north-4"}}}}


def test_a_password_gives_a_token_and_a_token_temporary_keys(cloud: Cloud) -> None:
    refused = cloud.ask("POST", "/v3/auth/tokens", password(cloud, "wrong"), token="")
    assert (refused.status, refused.json["error"]["code"], refused.json["error"]["title"]) == (401, 401, "Unauthorized")
    answer = cloud.ask("POST", "/v3/auth/tokens", password(cloud, cloud.emulator.account.password), token="")
    assert answer.status == 201
    assert answer.json["token"]["project"]["id"] == cloud.project
    token = answer.headers["x-subject-token"]
    assert cloud.ask("GET", f"/v2/{cloud.project}/training-job-engines", token=token).status == 200
    wanted = {"auth": {"identity": {"methods": ["token"], "token": {"duration_seconds": 900}}}}
    answer = cloud.ask("POST", "/v3.0/OS-CREDENTIAL/securitytokens", wanted, token=token)
    assert answer.status == 201
    keys = answer.json["credential"]
    credentials = BasicCredentials(keys["access"], keys["secret"], cloud.project)
    credentials = credentials.with_security_token(keys["securitytoken"])
    builder = sdk.ModelArtsClient.new_builder().with_credentials(credentials)
    with closing(builder.with_endpoint(cloud.emulator.endpoint).build()) as other:
        assert other.show_training_job_flavors(FLAVORS).total_count > 0
    assert refusal(cloud, keys["access"], keys["secret"], cloud.project)[0] == 401, "without the token"
    cloud.bucket.write("x", b"1")
    own = replace(cloud.objects.channel.settings, access_key=keys["access"], secret_key=keys["secret"])
    with closing(ObsService(replace(own, token=keys["securitytoken"]))) as service:
        assert service.bucket("my-bucket").stat("x").size == 1


def test_a_token_that_nobody_gave_is_401(shared: Cloud) -> None:
    assert shared.ask("GET", shared.url("/x"), token="made-up").status == 401
    shared.emulator.state.keep("tokens", {"old": time.time() - 1})
    answer = shared.ask("GET", shared.url("/x"), token="old")
    assert (answer.status, answer.json["error_code"]) == (401, "ModelArts.0203")


def test_a_client_with_a_region_finds_its_project(shared: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    account = shared.emulator.account
    monkeypatch.setenv("HUAWEICLOUD_SDK_IAM_ENDPOINT", shared.emulator.endpoint)
    credentials = BasicCredentials(account.access_key, account.secret_key)
    region = Region("cn-north-4", shared.emulator.endpoint)
    with closing(sdk.ModelArtsClient.new_builder().with_credentials(credentials).with_region(region).build()) as other:
        assert other.show_training_job_engines(sdk.ShowTrainingJobEnginesRequest()).total > 0
