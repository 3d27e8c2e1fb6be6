"""The holes of the SDK's core are closed: only an answer that is one counts, and what may pass is asked again."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import ServiceError, UsageError
from launcher.modelarts import doctor
from launcher.modelarts.client import Client
from launcher.modelarts.place import Place
from storage.obs import ObsSettings
from storage.obs.credentials import Credentials

from .conftest import HOUSE, Rig

JOB = {"metadata": {"id": "j1", "name": "n"}, "status": {"phase": "Running"}, "unknown": {"kept": [1]}}


class Canned:
    """A server that gives what it was told to, one answer after the other; the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.seen.append((self.command, self.path, dict(self.headers), body))
                status, headers, data = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if status == 0:  # the connection breaks off
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(data) + int(headers.get("X-Missing", 0))))
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = "X-Missing" in headers

            do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def says(self, *answers: Any) -> None:
        """Each a JSON value, a status, or (status, JSON or bytes, headers)."""
        self.answers = [_answer(answer) for answer in answers]
        self.seen.clear()


def _answer(answer: Any) -> tuple[int, dict[str, str], bytes]:
    if isinstance(answer, int):
        return answer, {}, b""
    status, value, *headers = answer if isinstance(answer, tuple) else (200, answer)
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return status, headers[0] if headers else {}, data


@pytest.fixture
def canned() -> Iterator[Canned]:
    server = Canned()
    yield server
    server.server.shutdown()
    server.server.server_close()


def place(url: str, **changes: Any) -> Place:
    obs = ObsSettings(endpoint=url, access_key="AK-open", secret_key="SK-secret-value")
    known = {"region": "cn-north-4", "endpoint": url, "iam_endpoint": url, "project_id": "p1", "bucket": "b"}
    return Place(obs=obs, credentials=Credentials(obs), **{**known, **changes})


@pytest.fixture
def client(canned: Canned, quick: None) -> Iterator[Client]:
    made = Client(place(canned.url))
    yield made
    made.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        (200, b"<html>login</html>"),
        (200, b""),
        (204, b""),
        (200, b'""'),
        (200, b"null"),
        (200, b"[]"),
        (200, {}),
        (200, {"metadata": {}, "status": {"phase": "Running"}}),
        (200, {"metadata": {"id": "j1"}, "status": {}}),
        (200, b'{"metadata": {"id": "j1"}, "st'),
        (302, b"", {"Location": "http://login.example/"}),
    ],
)
def test_what_is_no_job_is_an_error_and_not_an_empty_success(client: Client, canned: Canned, nonsense: Any) -> None:
    canned.says(nonsense)
    with pytest.raises(ServiceError) as caught:
        client.job("j1")
    assert caught.value.hint and "127.0.0.1" in caught.value.message
    assert len(canned.seen) in (2, 3), "it was asked again, for it may pass"
    canned.says(nonsense, JOB)
    assert client.job("j1") == JOB


def test_unknown_fields_are_kept(client: Client, canned: Canned) -> None:
    canned.says(JOB)
    assert client.job("j1")["unknown"] == {"kept": [1]}


def test_the_body_of_a_429_is_not_lost_and_retry_after_is_heard(client: Client, canned: Canned, monkeypatch) -> None:
    monkeypatch.setattr("storage.retry.TRIES", 2)
    refusal = {"error_code": "ModelArts.2799", "error_msg": "Too many requests."}
    canned.says((429, refusal, {"X-Request-Id": "r-7", "Retry-After": "0"}))
    with pytest.raises(ServiceError) as caught:
        client.job("j1")
    error = caught.value
    assert (error.status, error.code, error.request_id) == (429, "ModelArts.2799", "r-7")
    assert "Too many requests" in error.message and "r-7" in error.message


@pytest.mark.parametrize("passing", [500, 503, 429, 408, 0, (200, b'{"metadata"', {"X-Missing": "9"})])
def test_what_may_pass_is_asked_again(client: Client, canned: Canned, passing: Any) -> None:
    canned.says(passing, passing, JOB)
    assert client.job("j1")["metadata"]["id"] == "j1"


@pytest.mark.parametrize("answer", [504, 500, 0, 429, (200, b"<html>")])
def test_create_is_sent_once(client: Client, canned: Canned, answer: Any) -> None:
    canned.says(answer)
    with pytest.raises(ServiceError) as caught:
        client.create({"metadata": {"name": "n"}})
    assert len(canned.seen) == 1
    assert caught.value.doubtful == (answer != 429)


def test_a_refusal_is_final_and_tells_what_the_service_told(client: Client, canned: Canned) -> None:
    refusal = {"error_code": "ModelArts.2775", "error_msg": "Training job (ID: j1) not found."}
    canned.says((400, refusal))
    with pytest.raises(ServiceError) as caught:
        client.job("j1")
    assert len(canned.seen) == 1 and caught.value.code == "ModelArts.2775"
    assert "Training job (ID: j1) not found" in caught.value.message
    assert client.is_gone("j1")


@pytest.mark.parametrize("empty", [204, (400, {"error_code": "ModelArts.2818", "error_msg": "no log"})])
def test_a_log_that_is_not_there_yet_is_none(client: Client, canned: Canned, empty: Any) -> None:
    canned.says(empty)
    assert client.preview("j1", "worker-0") is None and client.lines("j1", "worker-0", "") is None
    assert client.metrics("j1", "worker-0") == []


def test_a_listing_without_items_is_an_error(client: Client, canned: Canned) -> None:
    canned.says({"total": 5})
    with pytest.raises(ServiceError):
        list(client.jobs())


@pytest.mark.parametrize("records", [False, True])
@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 99, 100, 101, 149, 230])
def test_a_listing_is_complete_under_both_readings(client: Client, monkeypatch, records: bool, count: int) -> None:
    jobs = [{"metadata": {"id": f"j{n}", "name": f"n{n}"}, "status": {"phase": "Running"}} for n in range(count)]
    asked = []

    def page(offset: int, name: str) -> tuple[list[Any], int]:
        asked.append(offset)
        start = offset if records else offset * 50
        return jobs[start : start + 50], 50

    monkeypatch.setattr(client, "_page", page)
    assert [job["metadata"]["id"] for job in client.jobs()] == [job["metadata"]["id"] for job in jobs]
    assert len(asked) <= count // 50 + 3


def test_the_project_is_asked_of_iam_once(canned: Canned, quick: None) -> None:
    client = Client(place(canned.url, project_id=""))
    canned.says({"projects": [{"id": "p9", "name": "cn-north-4"}]}, JOB)
    client.job("j1")
    client.job("j1")
    assert [path for _, path, _, _ in canned.seen] == ["/v3/projects?name=cn-north-4"] + ["/v2/p9/training-jobs/j1"] * 2
    canned.says({"projects": []})
    with pytest.raises(ServiceError, match="no project"):
        _ = Client(place(canned.url, project_id="")).project
    client.close()


def test_a_token_takes_the_place_of_a_signature(canned: Canned, quick: None) -> None:
    client = Client(place(canned.url, token="T0KEN"))
    canned.says(JOB)
    client.job("j1")
    headers = canned.seen[0][2]
    assert headers["X-Auth-Token"] == "T0KEN" and "Authorization" not in headers
    client.close()


def test_a_clock_that_is_wrong_is_set_right_and_said(modelarts: Rig) -> None:
    modelarts.faults({"fault": "clock-skew", "seconds": 3600})
    said: list[str] = []
    target = modelarts.target()
    target.say = said.append
    assert target.client.flavors()
    assert len(said) == 1 and "60 min behind" in said[0]
    assert target.client.engines() and len(said) == 1
    target.close()


def test_keys_that_expired_are_fetched_again(canned: Canned, quick: None) -> None:
    made = place(canned.url)
    keys = [_keys("old"), _keys("new")]

    class Rotating:
        def current(self) -> Any:
            return keys[0]

        def renew(self, refused: Any) -> bool:
            keys.pop(0)
            return True

    client = Client(Place(**{**{f: getattr(made, f) for f in made.__dataclass_fields__}, "credentials": Rotating()}))
    expired = (401, {"error_code": "APIGW.0301", "error_msg": "expired"})
    canned.says(expired, JOB)
    client.job("j1")
    assert [headers["X-Security-Token"] for _, _, headers, _ in canned.seen] == ["old", "new"]
    client.close()


def _keys(token: str) -> Any:
    from storage.obs.credentials import Keys

    return Keys("AK", "SK", token)


def test_nothing_secret_is_in_an_error(client: Client, canned: Canned) -> None:
    canned.says((403, {"error_code": "ModelArts.0206", "error_msg": "Invalid AK/SK"}))
    with pytest.raises(ServiceError) as caught:
        client.job("j1")
    assert "SK-secret-value" not in repr(caught.value) + str(caught.value) + caught.value.hint


def test_a_proxy_of_the_settings_carries_http_too(canned: Canned, quick: None) -> None:
    client = Client(place("http://modelarts.cn-north-4.example", proxy=canned.url))
    canned.says(JOB)
    assert client.job("j1") == JOB
    assert canned.seen[0][1].startswith("http://modelarts.cn-north-4.example/v2/")
    client.close()


def test_the_import_does_not_pay_for_the_sdk_s_models() -> None:
    code = (
        "import sys; from launcher.modelarts import client; import huaweicloudsdkcore.http.http_client as h;"
        "import huaweicloudsdkcore.signer.signer; print(len(sys.modules), 'huaweicloudsdkmodelarts' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True)
    count, loaded = done.stdout.split()
    assert loaded == "False" and int(count) < 700


def certificate(folder: Path) -> tuple[Path, Path]:
    """One for localhost that nobody has signed, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    folder.mkdir()
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def test_tls_is_verified_and_so_is_the_name(canned: Canned, quick: None, tmp_path, monkeypatch) -> None:
    cert, key = certificate(tmp_path / "own")
    public, _ = certificate(tmp_path / "public")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    canned.server.socket = context.wrap_socket(canned.server.socket, server_side=True)
    monkeypatch.setattr("launcher.modelarts.wire.TRIES", 1)
    monkeypatch.setattr("storage.retry.FIRST_WAIT", 0.001)
    canned.says(JOB)
    port = canned.server.server_port

    def look(host: str, ca_file: str) -> None:
        client = Client(place(f"https://{host}:{port}", ca_file=ca_file))
        try:
            assert client.job("j1") == JOB
        finally:
            client.close()

    look("localhost", str(cert))
    for host, ca_file in (("localhost", ""), ("127.0.0.1", str(cert)), ("localhost", str(public))):
        with pytest.raises(ServiceError, match="is not trusted") as caught:
            look(host, ca_file)
        assert "--ca-file" in caught.value.hint
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(cert))
    look("localhost", str(public))  # more to trust, not less: what all trust is trusted still
    checks = doctor.check_endpoint(place(f"https://localhost:{port}", ca_file=str(public)))
    assert next(iter(checks)).level == "ok"
    with pytest.raises(UsageError, match="cannot be read as certificates"):
        look("localhost", str(key))


def test_a_netrc_does_not_take_the_place_of_the_signature(canned: Canned, quick: None, tmp_path, monkeypatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    client = Client(place(canned.url))
    canned.says(JOB)
    client.job("j1")
    assert canned.seen[0][2]["Authorization"].startswith("SDK-HMAC-SHA256 ")
    client.close()
