"""Which jobs get a /cache of their own, and what is said where there can be none."""

from __future__ import annotations

import os

import pytest

from launcher.targets import cache


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("copy('/cache/data')", True),
        ('os.path.join("/cache", "data")', True),
        ("--data_path=/cache/data", True),
        ("~/.cache/torch", False),
        ("/home/me/cache/x", False),
        ("/root/cache", False),
        ("/cache_old", False),
        ("obs://bucket/cache/x", False),
        ("os.environ['LAUNCHER_CACHE'] or '/cache'", False),
    ],
)
def test_only_code_that_means_the_platforms_folder_names_it(text, named, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "main.py").write_text(text)
    assert cache.is_named(tmp_path, []) is named


def test_the_command_line_may_name_it(tmp_path):
    assert cache.is_named(tmp_path, ["--epochs=1", "--data_path=/cache/data"])
    assert not cache.is_named(tmp_path, ["--epochs=1", "--data_path=/data/cache/x"])


def test_where_there_can_be_none_the_log_says_what_mends_it(project, cli, monkeypatch):
    """In the supervisor's process there is nothing to patch, so the worker is asked directly."""
    from launcher.paths import RunPaths
    from launcher.targets.container import Worker

    monkeypatch.setattr(cache, "wrapper", lambda *_: [])
    monkeypatch.setattr(cache, "is_writable", lambda: False)
    paths = RunPaths(project.root / "run", "run")
    paths.logs.mkdir(parents=True)
    request = {
        "run": "run", "code_url": "obs://local/code/", "boot_file": "main.py", "python": "/bin/true", "nodes": 1,
        "contract": "new", "parameters": [], "inputs": [], "outputs": [], "arguments": ["/cache/x"], "environment": {},
    }  # fmt: skip
    worker = Worker(0, paths, request)
    worker.paths.create()
    worker.code_dir.mkdir()
    with open(paths.job_lock, "w") as lock:
        worker.start(lock.fileno(), project.root)
    worker.process.wait()
    assert worker.poll() == 0
    assert "sudo mkdir -m 1777 /cache" in paths.log(0).read_text()


def test_a_job_with_a_cache_of_its_own_is_signalled_as_any_other(project, cli, tmp_path):
    (tmp_path / "cache").mkdir()
    if not cache.wrapper(tmp_path / "cache", tmp_path / "root"):
        pytest.skip("this machine allows no mount namespaces")
    script = """
import os, signal, sys, time
def stop(*_):
    open("/cache/stopped", "w").close()
    print("stopped", os.listdir("/cache"), os.getuid(), flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
time.sleep(600)
"""
    project.job("tiny", script, time_limit="1s")
    answer = cli("submit", "tiny")
    assert (answer.code, answer.out) == (103, f"stopped ['stopped'] {os.getuid()}\n")
    assert project.last()["exit_code"] == 143
    assert not os.path.exists("/cache/stopped")
