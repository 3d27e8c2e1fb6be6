"""Requests that mean harm, or come from a client that is broken: refused, and nothing outside the state is touched."""

from __future__ import annotations

import json
import math
import socket
from typing import Any
from urllib.parse import quote

import pytest

from launcher.emulator.modelarts.app import LARGEST_BODY
from launcher.emulator.modelarts.http import DEEPEST
from tests.emulator.modelarts.conftest import Cloud, Make

WINDOW = {"key": "create_time", "operator": "between", "value": ["1", "2"]}
"""Without which no search by tags is taken."""


def exchange(cloud: Cloud, *parts: bytes) -> bytes:
    """What comes back for bytes on a connection of their own, until it is closed."""
    with socket.create_connection(("127.0.0.1", cloud.emulator.port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def request(
    cloud: Cloud, method: str, path: str, body: bytes = b"", length: int | None = None, last: str = ""
) -> bytes:
    """A request as it goes over the wire."""
    size = len(body) if length is None else length
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {cloud.token()}\r\nContent-Length: {size}\r\n{last}\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize("name", ["", "..", "../../x", "/tmp/x", "a/b", "a b", "a\n", "x" * 65])
@pytest.mark.parametrize("which", ["inputs", "outputs"])
def test_a_channels_name_leads_nowhere(shared: Cloud, which: str, name: str) -> None:
    channel = {"name": name, "remote": {"obs": {"obs_url": "/my-bucket/data/mnist/"}}}
    answer = shared.ask("POST", shared.url(), shared.body(**{which: [channel]}))
    assert (answer.status, answer.json["error_code"]) == (400, "ModelArts.2753")


@pytest.mark.parametrize(
    "path", ["/my-bucket/../x/", "obs://my-bucket/a/../../", "/my-bucket/a\\b/", "/my-bucket/a\0/"]
)
def test_a_place_in_the_store_leads_nowhere(shared: Cloud, path: str) -> None:
    for change in (
        {"log_export_path": {"obs_url": path}},
        {"outputs": [{"name": "o", "remote": {"obs": {"obs_url": path}}}]},
        {"code_dir": path, "boot_file": path + "train.py"},
    ):
        answer = shared.ask("POST", shared.url(), shared.body(**change))
        assert answer.json["error_code"] in ("ModelArts.2788", "ModelArts.2791"), answer.body


@pytest.mark.parametrize("task", ["worker-²", "worker-٠", "worker-00", "worker-1", "..%2f..%2fworker-0", "%2e%2e"])
def test_a_task_is_one_of_the_jobs(make: Make, task: str) -> None:
    cloud = make(queuing=600)
    job_id = cloud.create(cloud.body())
    for path in (f"/{job_id}/tasks/{quote(task, '%')}/logs/preview", f"/{job_id}/logs/{quote(task, '%')}"):
        assert cloud.ask("GET", cloud.url(path)).json["error_code"] in ("ModelArts.2788", "APIGW.0101")


@pytest.mark.parametrize(
    "value",
    ["\ud800", math.nan, -math.inf, json.loads('{"a":' * DEEPEST + "1" + "}" * DEEPEST)],
    ids=["half a character", "nan", "infinity", "deep"],
)
def test_what_could_not_be_told_again_is_no_json(shared: Cloud, value: Any) -> None:
    answer = shared.ask("POST", shared.url(), {**shared.body(), "endpoints": {"x": value}})
    assert (answer.status, answer.json["error_code"]) == (400, "ModelArts.2787")


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff\xfe{", b'{"a":' + b"1" * 5000 + b"}", b'"\xff"'])
def test_bytes_that_are_no_json(shared: Cloud, body: bytes) -> None:
    path = f"/v2/{shared.project}/training-job-searches"
    assert b"ModelArts.2787" in exchange(shared, request(shared, "POST", path, body, last="Connection: close\r\n"))


@pytest.mark.parametrize(
    ("search", "code"),
    [
        ({"filters": [{**WINDOW, "value": ["²", "9"]}]}, "2809"),
        ({"filters": [{**WINDOW, "value": ["1", "9" * 30]}]}, "2809"),
        ({"filters": [{**WINDOW, "value": [{}]}]}, "2809"),
        ({"filters": [{"key": "name", "operator": "like", "value": ["x"] * 501}]}, "2816"),
        ({"filters": [{"key": "name", "operator": "like", "value": ["x"]}] * 21}, "2816"),
        ({"filters": [WINDOW], "tags": [{"key": "a", "values": "abc"}]}, "2809"),
        ({"filters": [WINDOW], "tags": [{"key": "a", "values": [{}]}]}, "2809"),
        ({"limit": 51}, "2764"),
        ({"offset": -1}, "2764"),
    ],
)
def test_a_search_that_cannot_be_is_refused(shared: Cloud, search: dict[str, Any], code: str) -> None:
    answer = shared.ask("POST", f"/v2/{shared.project}/training-job-searches", search)
    assert (answer.status, answer.json["error_code"]) == (400, f"ModelArts.{code}")


def test_a_search_may_have_many_values(shared: Cloud) -> None:
    search = {"filters": [{"key": "name", "operator": "like", "value": ["x"] * 500}] * 20}
    assert shared.ask("POST", f"/v2/{shared.project}/training-job-searches", search).status == 200


def test_other_numbers_that_are_none(shared: Cloud) -> None:
    annotations = {"fault-tolerance/job-retry-num": "²"}
    resource = {"pool_id": "pool-emulated0001", "node_count": 1_000_000}
    changes = {"2788": {"annotations": annotations}, "2793": {"resource": resource}}
    for code, change in changes.items():
        answer = shared.ask("POST", shared.url(), shared.body(**change))
        assert answer.json["error_code"] == f"ModelArts.{code}"


def test_no_process_could_be_told_a_nul(shared: Cloud) -> None:
    for change in ({"parameters": [{"name": "a", "value": "x\0"}]}, {"environments": {"A": "x\0"}}):
        answer = shared.ask("POST", shared.url(), shared.body(**change))
        assert answer.json["error_code"] == "ModelArts.2788"


def test_a_body_that_is_too_large_is_413(shared: Cloud) -> None:
    path = f"/v2/{shared.project}/training-job-searches"
    body = b"{}" + b" " * LARGEST_BODY
    answer = exchange(shared, request(shared, "POST", path, body, last="Connection: close\r\n"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"APIGW.0201" in answer


def test_half_a_request_is_none(make: Make) -> None:
    """A client that goes away before the body is whole has asked for nothing."""
    cloud = make(queuing=600)
    job_id = cloud.create(cloud.body())
    half = request(cloud, "DELETE", cloud.url(f"/{job_id}"), b"{", length=9)
    with socket.create_connection(("127.0.0.1", cloud.emulator.port), timeout=20) as connection:
        connection.sendall(half)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536)[:12] in (b"", b"HTTP/1.1 400")
    assert cloud.show(job_id).status.phase in ("Creating", "Pending")


def test_requests_in_a_row_in_pieces_and_with_other_methods(shared: Cloud) -> None:
    path = f"/v2/{shared.project}/training-quotas"
    three = [request(shared, "GET", path), request(shared, "GET", path), request(shared, "HEAD", path)]
    last = request(shared, "OPTIONS", path, last="Connection: close\r\n")
    answer = exchange(shared, *three, last)
    assert (answer.count(b"HTTP/1.1 200 "), answer.count(b"HTTP/1.1 405 ")) == (2, 2)
    assert answer.count(b"ModelArts.2803") == 1, "HEAD has no body"
    head = request(shared, "POST", f"/v2/{shared.project}/training-job-searches", last="Connection: close\r\n")
    chunked = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    assert b'"limit": 1,' in exchange(shared, chunked, b'5\r\n{"lim\r\n', b'6\r\nit":1}\r\n0\r\n\r\n')


def test_two_hundred_slow_clients_keep_nobody_waiting(shared: Cloud) -> None:
    wire = request(shared, "GET", f"/v2/{shared.project}/training-quotas")
    clients = [socket.create_connection(("127.0.0.1", shared.emulator.port), timeout=20) for _ in range(200)]
    try:
        for one in clients:
            one.sendall(wire[:-1])
        assert shared.ask("GET", f"/v2/{shared.project}/training-quotas").status == 200
        for one in clients:
            one.sendall(wire[-1:])
        assert all(one.recv(65536).startswith(b"HTTP/1.1 200 ") for one in clients)
    finally:
        for one in clients:
            one.close()


def test_whoever_reaches_the_loopback_chooses_no_program(shared: Cloud) -> None:
    answer = shared.ask("PUT", "/_emulator/settings", {"python": "/bin/sh"}, token="")
    assert (answer.status, answer.json["error_code"]) == (400, "ModelArts.2788")
    assert shared.emulator.house.settings.python == ""


@pytest.mark.parametrize("name", ["hour", "log_period", "output_period"])
def test_what_is_done_again_and_again_needs_a_pause(shared: Cloud, name: str) -> None:
    assert shared.ask("PUT", "/_emulator/settings", {name: 0}).status == 400


def test_an_annotation_is_a_text(make: Make) -> None:
    cloud = make(queuing=600)
    job_id = cloud.create(cloud.body())
    answer = cloud.ask("PUT", cloud.url(f"/{job_id}"), {"metadata": {"annotation": {"a": {}}}})
    assert answer.json["error_code"] == "ModelArts.2825"


def test_the_switchboard_is_there_however_low_the_rate(make: Make) -> None:
    cloud = make(rate=0.001)
    answers = [cloud.ask("GET", "/_emulator/faults", token="").status for _ in range(5)]
    assert answers == [200] * 5
