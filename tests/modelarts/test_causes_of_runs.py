"""Causes of runs that really failed, as the emulated ModelArts tells of them."""

from __future__ import annotations

import pytest

from launcher.modelarts.client import Client
from launcher.modelarts.explain import cause_of
from launcher.modelarts.place import find_place
from launcher.paths import Home
from launcher.settings import load_settings

SCRIPTS = {
    "no-module": "import surely_nobody_has_this\n",
    "out-of-memory": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n",
    "segfault": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n",
    "unrecognized-arguments": "import argparse; argparse.ArgumentParser().parse_args()\n",
    "wrong-data-url": "open('/home/ma-user/modelarts/inputs/data_url_0/train.csv')\n",
    "disk-full": "raise OSError(28, 'No space left on device', '/cache/x')\n",
    "exception": "raise ValueError('seven')\n",
    "unexplained": "raise SystemExit(7)\n",
}


@pytest.mark.parametrize("kind", SCRIPTS)
def test_the_cause_is_told(kind, modelarts, cli, project):
    project.job("fails", SCRIPTS[kind])
    assert cli("submit", "fails", "--target", "modelarts").code == 100
    client = Client(find_place(load_settings(Home(project.root))))
    try:
        job = next(client.jobs())
        job_id = job["metadata"]["id"]
        log = (client.preview(job_id, "worker-0") or {}).get("content", "")
        causes = cause_of(client.job(job_id), client.events(job_id), log, None)
    finally:
        client.close()
    assert causes and causes[0].kind == kind, (causes, log)
