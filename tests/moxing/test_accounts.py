"""What `set_auth` makes of its arguments, and where the run's own buckets stay."""

from __future__ import annotations

import json

import pytest

from tests.moxing.emulation import emulated_moxing


@pytest.fixture
def file(monkeypatch):
    file = emulated_moxing().file
    monkeypatch.setitem(file.set_auth.__globals__, "_given", {})
    monkeypatch.setitem(file.set_auth.__globals__, "_service", None)
    for name in ("OBS_ENDPOINT", "OBS_REGION", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    return file


def settings(file):
    return file.set_auth.__globals__["_account"]().channel.settings


@pytest.mark.parametrize(
    ("arguments", "url", "addressing"),
    [
        ({"server": "obs.cn-north-4.myhuaweicloud.com"}, "https://obs.cn-north-4.myhuaweicloud.com", "auto"),
        ({"server": "obs.private.example", "path_style": True}, "https://obs.private.example", "path"),
        (
            {"server": "obs.private.example", "port": 8443, "path_style": False},
            "https://obs.private.example:8443",
            "host",
        ),
        ({"server": "obs.private.example", "is_secure": False}, "https://obs.private.example", "auto"),
        ({"server": "obs.private.example", "ssl_verify": False}, "https://obs.private.example", "auto"),
        ({"server": "127.0.0.1", "port": 9000, "is_secure": False}, "http://127.0.0.1:9000", "auto"),
        ({"server": "http://obs.private.example"}, "http://obs.private.example", "auto"),
        ({"server": "127.0.0.1.example.com", "is_secure": False}, "https://127.0.0.1.example.com", "auto"),
    ],
)
def test_where_an_account_is_and_that_tls_is_not_weakened_silently(file, arguments, url, addressing):
    file.set_auth("an-ak", "a-secret", **arguments)
    assert (settings(file).url, settings(file).addressing) == (url, addressing)
    assert (settings(file).access_key, settings(file).secret_key) == ("an-ak", "a-secret")
    assert "a-secret" not in repr(settings(file))


def test_arguments_add_up_and_tuning_alone_changes_nothing(file):
    file.set_auth(is_secure=False, retry=10, client_timeout=30, list_max_keys=100)
    assert type(file.set_auth.__globals__["open_storage"]("theirs")).__name__ == "FileSystemStorage"
    file.set_auth(ak="an-ak", sk="a-secret")
    file.set_auth(server="obs.cn-north-1.myhuaweicloud.com")
    assert (settings(file).access_key, settings(file).url) == ("an-ak", "https://obs.cn-north-1.myhuaweicloud.com")


def test_a_cure_that_is_not_followed_is_said(file, monkeypatch, capfd):
    monkeypatch.delenv("MOX_SILENT_MODE")
    file.set_auth(is_secure=False)
    assert "TLS stays verified" in capfd.readouterr().err


def test_the_runs_own_buckets_stay_where_they_are(file, monkeypatch, local_buckets):
    channel = {"name": "train_url", "remote": {"obs": {"obs_url": "obs://mine/out/"}}}
    monkeypatch.setenv("MA_OUTPUTS", json.dumps({"outputs": [channel]}))
    file.set_auth("an-ak", "a-secret", "127.0.0.1:1", is_secure=False)
    file.write("s3://mine/out/x", "x")
    assert (local_buckets / "mine" / "out" / "x").read_text() == "x"
    open_storage = file.set_auth.__globals__["open_storage"]
    assert type(open_storage("theirs")).__name__ == "ObsStorage"


def test_without_the_sdk_the_error_says_what_to_install(file, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "obs" else real(name, *more))
    file.set_auth("an-ak", "a-secret", "obs.cn-north-4.myhuaweicloud.com")
    with pytest.raises(ImportError, match="no OBS SDK"):
        file.exists("obs://theirs/x")
