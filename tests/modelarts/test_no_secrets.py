"""A secret planted in each source of credentials shows nowhere: output, files, uploads, request bodies, argv, the job.

What works and what fails is run, with --debug as well; then all that was printed, written or sent is searched.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("obs")
pytest.importorskip("huaweicloudsdkcore")
pytest.importorskip("uvicorn")

from launcher.emulator.modelarts import Emulator, Settings
from launcher.emulator.modelarts.app import App
from launcher.settings import user_file
from tests.modelarts.loopback import Cloud

QUICK = Settings(creating=0, queuing=0.02, deleting=0, output_period=0.2, log_period=0.1, bucket="my-bucket")
WRONG = "WrOnGsEcReT0123456789WrOnGsEcReT01234567"
TELLS_ALL = """
import argparse, json, os, sys
parser = argparse.ArgumentParser()
parser.add_argument("--train_url")
args, rest = parser.parse_known_args()
print(json.dumps(dict(os.environ)), sys.argv, flush=True)
open(os.path.join(args.train_url, "told.json"), "w").write(json.dumps([dict(os.environ), sys.argv]))
"""


class Planted:
    """An emulator, a person's machine, and everything that is said between them."""

    def __init__(self, root: Path, emulator: Emulator, launch, project) -> None:
        self.root, self.emulator, self.launch, self.project = root, emulator, launch, project
        self.environment = {
            name: value
            for name, value in emulator.environment().items()
            if not name.endswith(("_AK", "_SK", "_ACCESS_KEY_ID", "_SECRET_ACCESS_KEY"))
        }
        self.environment["HOME"] = str(root / "home")
        (root / "home").mkdir()
        self.secrets: list[str] = []
        self.allowed: list[Path] = []
        """Files that hold secrets by their nature."""
        self.printed: dict[str, str] = {}
        self.sent: list[bytes] = []

    def run(self, *words: str, code: int | None = 0, **variables: str) -> str:
        with argv_watched(self.secrets):
            answer = self.launch(*words, cwd=self.project.root, env={**self.environment, **variables})
        self.printed[" ".join(words)] = answer.out + answer.err
        assert code is None or answer.code == code, answer
        return str(answer.out)

    def all_that_works(self) -> None:
        self.run("config", "show", "--origin", "--debug")
        self.run("config", "show", "--json")
        self.run("storage", "ls", "-r", "obs://my-bucket", "--storage", "obs", "--debug")
        self.run("doctor", "--target", "modelarts", "--job", "hello", "--json", "--debug")
        self.run("submit", "hello", "--target", "modelarts", "--dry-run", "--json")
        self.run("submit", "hello", "--target", "modelarts", "--debug")
        self.run("show", "@last", "--json")
        self.run("logs", "@last")
        self.run("runs", "--json")

    def all_that_fails(self, **wrong: str) -> None:
        """Nobody there, a fault on the way, and what ``wrong`` says; each with and without --debug."""
        nobody = {"LAUNCHER_MODELARTS_ENDPOINT": "http://127.0.0.1:1", "OBS_ENDPOINT": "http://127.0.0.1:1"}
        tries = [wrong] if wrong else []
        for variables in [{"LAUNCHER_PROXY": f"http://me:{WRONG}@127.0.0.1:1"}, *tries]:
            self.run("doctor", "--target", "modelarts", code=None, **variables)
            self.run("doctor", "--target", "modelarts", "--debug", "--json", code=None, **variables)
            self.run("submit", "hello", "--target", "modelarts", "--debug", code=None, **variables)
            self.run("storage", "ls", "obs://my-bucket", "--storage", "obs", "--debug", code=None, **variables)
        for variables in tries:
            self.run("submit", "hello", "--target", "modelarts", code=None, **variables)
        self.run("doctor", "--target", "modelarts", "--debug", code=1, **nobody)
        self.emulator.set_faults([{"fault": "forbidden", "route": "create_training_job", "times": 2}])
        self.run("submit", "hello", "--target", "modelarts", "--debug", code=None)
        self.run("submit", "hello", "--target", "modelarts", "--json", code=None)
        self.emulator.set_faults([])

    def search(self) -> None:
        """The secrets, as they are and in the forms that one writes them in."""
        forms = [form for secret in [*self.secrets, WRONG] for form in forms_of(secret)]
        for command, text in self.printed.items():
            assert not [form for form in forms if form in text.encode()], f"printed by {command}:\n{text}"
        assert not [body for body in self.sent for form in forms if form in body], "sent"
        looked = 0
        for folder in (self.root, Path(os.environ["XDG_CONFIG_HOME"]), Path(os.environ["LAUNCHER_STATE"])):
            for path in folder.rglob("*"):
                if path.is_file() and path not in self.allowed and not is_emulators(path, self.emulator.folder):
                    looked += 1
                    content = path.read_bytes()
                    assert not [form for form in forms if form in content], f"written: {path}"
        assert looked > 20 and self.sent


def forms_of(secret: str) -> list[bytes]:
    raw = secret.encode()
    forms = {
        raw,
        base64.b64encode(raw),
        raw.hex().encode(),
        quote(secret, "").encode(),
        json.dumps(secret)[1:-1].encode(),
    }
    forms.update(base64.b64encode(b"x" * shift + raw)[4:-4] for shift in (1, 2))  # inside a longer text
    return sorted(forms)


def is_emulators(path: Path, folder: Path) -> bool:
    """What the emulated cloud keeps to itself: its accounts. What was uploaded to it is below ``buckets``."""
    return path.parent == folder and path.name.partition(".")[0] in ("state", "emulator", "modelarts")


@contextlib.contextmanager
def argv_watched(secrets: list[str]) -> Iterator[None]:
    """No process of this machine has a secret among its words meanwhile."""
    found: list[bytes] = []
    over = threading.Event()

    def watch() -> None:
        words = [secret.encode() for secret in secrets]
        while not over.wait(0.02):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = entry.read_bytes()
                    found.extend(line for word in words if word in line)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert not found, found


@pytest.fixture
def planted(tmp_path, monkeypatch, launch, project):
    for name in os.environ:
        if name.startswith("HUAWEICLOUD_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    project.job("hello", TELLS_ALL)
    sent: list[bytes] = []
    answer = App._answer
    monkeypatch.setattr(App, "_answer", lambda app, request: sent.append(request.body) or answer(app, request))
    with Emulator(tmp_path / "emulator", QUICK) as emulator:
        found = Planted(tmp_path, emulator, launch, project)
        found.sent = sent
        yield found


def asked(url: str, body: object, **headers: str) -> tuple[dict[str, str], dict[str, object]]:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request) as reply:
        return dict(reply.headers), json.load(reply)


def iam_token(emulator: Emulator) -> str:
    account = emulator.account
    user = {"name": account.user, "password": account.password, "domain": {"name": account.domain}}
    identity = {"methods": ["password"], "password": {"user": user}}
    headers, _ = asked(
        f"{emulator.endpoint}/v3/auth/tokens",
        {"auth": {"identity": identity, "scope": {"project": {"id": account.project_id}}}},
    )
    return next(value for name, value in headers.items() if name.lower() == "x-subject-token")


def temporary_keys(emulator: Emulator) -> dict[str, str]:
    identity = {"methods": ["token"], "token": {"duration_seconds": 3600}}
    url = f"{emulator.endpoint}/v3.0/OS-CREDENTIAL/securitytokens"
    found = asked(url, {"auth": {"identity": identity}}, X_Auth_Token=iam_token(emulator))[1]["credential"]
    assert isinstance(found, dict)
    return found


def from_environment(planted: Planted) -> dict[str, str]:
    account = planted.emulator.account
    planted.secrets = [account.secret_key]
    planted.environment |= {"OBS_ACCESS_KEY_ID": account.access_key, "OBS_SECRET_ACCESS_KEY": account.secret_key}
    return {"OBS_SECRET_ACCESS_KEY": WRONG}


def from_cloud_variables(planted: Planted) -> dict[str, str]:
    account = planted.emulator.account
    planted.secrets = [account.secret_key]
    planted.environment |= {"HUAWEICLOUD_SDK_AK": account.access_key, "HUAWEICLOUD_SDK_SK": account.secret_key}
    return {"HUAWEICLOUD_SDK_SK": WRONG}


def from_temporary_keys(planted: Planted) -> dict[str, str]:
    keys = temporary_keys(planted.emulator)
    planted.secrets = [keys["secret"], keys["securitytoken"]]
    planted.environment |= {
        "OBS_ACCESS_KEY_ID": keys["access"],
        "OBS_SECRET_ACCESS_KEY": keys["secret"],
        "OBS_SECURITY_TOKEN": keys["securitytoken"],
    }
    return {"OBS_SECURITY_TOKEN": WRONG}


def from_file(planted: Planted) -> dict[str, str]:
    account = planted.emulator.account
    planted.secrets = [account.secret_key]
    path = planted.root / "home" / ".huaweicloud" / "credentials"
    path.parent.mkdir()
    path.write_text(f"[basic]\nak = {account.access_key}\nsk = {account.secret_key}\n")
    path.chmod(0o600)
    broken = planted.root / "broken"
    broken.write_text(f"ak = x\nsk = {WRONG}\n")
    planted.allowed = [path, broken]
    return {"HUAWEICLOUD_SDK_CREDENTIALS_FILE": str(broken)}


def from_profile(planted: Planted) -> dict[str, str]:
    account, known = planted.emulator.account, planted.emulator.environment()
    planted.secrets = [account.secret_key]
    user_file().parent.mkdir(parents=True, exist_ok=True)
    row = {
        "region": "cn-north-4", "endpoint": known["OBS_ENDPOINT"], "bucket": "my-bucket", "keys": "WORK",
        "modelarts_endpoint": planted.emulator.endpoint, "iam_endpoint": planted.emulator.endpoint,
    }  # fmt: skip
    user_file().write_text(json.dumps({"profile": "work", "profiles": {"work": row}}))
    for name in ("LAUNCHER_MODELARTS_ENDPOINT", "LAUNCHER_IAM_ENDPOINT", "LAUNCHER_REGION", "LAUNCHER_BUCKET"):
        planted.environment.pop(name)
    planted.environment |= {"WORK_ACCESS_KEY_ID": account.access_key, "WORK_SECRET_ACCESS_KEY": account.secret_key}
    planted.environment |= {"LAUNCHER_PROFILE": "work"}
    return {"WORK_SECRET_ACCESS_KEY": WRONG}


def from_token(planted: Planted) -> dict[str, str]:
    token = iam_token(planted.emulator)
    planted.secrets = [token]
    planted.environment |= {"LAUNCHER_IAM_TOKEN": token}
    return {"LAUNCHER_IAM_TOKEN": WRONG}


def from_sts(planted: Planted) -> dict[str, str]:
    token = iam_token(planted.emulator)
    planted.secrets = [token]
    planted.environment |= {"LAUNCHER_IAM_TOKEN": token, "LAUNCHER_CREDENTIALS": "sts"}
    return {"LAUNCHER_IAM_TOKEN": WRONG}


def lent(planted: Planted) -> list[str]:
    """What the emulated IAM gave out: secrets and tokens."""
    given = planted.emulator.state.note("temporary", {})
    return [str(value) for secret, token, _ in given.values() for value in (secret, token)]


SOURCES = {
    "environment": from_environment,
    "cloud variables": from_cloud_variables,
    "temporary keys": from_temporary_keys,
    "file": from_file,
    "profile": from_profile,
    "token": from_token,
    "sts": from_sts,
}
QUICKLY = ("environment", "token")


@pytest.mark.parametrize(
    "source", [pytest.param(name, marks=[] if name in QUICKLY else [pytest.mark.slow]) for name in SOURCES]
)
def test_a_secret_of_this_source_shows_nowhere(source, planted):
    wrong = SOURCES[source](planted)
    if source in QUICKLY:
        planted.run("config", "show", "--origin", "--debug")
        planted.run("doctor", "--target", "modelarts", "--job", "hello", "--debug")
        planted.run("submit", "hello", "--target", "modelarts", "--debug")
        planted.run("submit", "hello", "--target", "modelarts", "--debug", code=1, **wrong)
    else:
        planted.all_that_works()
        planted.all_that_fails(**wrong)
    planted.secrets += lent(planted)
    assert "told.json" in "".join(path.name for path in planted.root.rglob("*"))  # the job's own environment came home
    planted.search()


@pytest.mark.slow
def test_a_servers_metadata_shows_nowhere(planted):
    keys = temporary_keys(planted.emulator)
    planted.secrets = [keys["secret"], keys["securitytoken"]]
    with Cloud() as metadata:
        metadata.answers[r"PUT /meta-data/latest/api/token"] = (200, "a-metadata-token")
        metadata.answers[r"GET /openstack/latest/securitykey"] = (200, {"credential": keys})
        planted.environment |= {"OBS_CREDENTIALS": "ecs", "OBS_METADATA": metadata.endpoint}
        planted.all_that_works()
        metadata.answers[r"GET /openstack/latest/securitykey"] = (200, {"credential": {**keys, "expires_at": "never"}})
        planted.all_that_fails(OBS_CREDENTIALS="ecs")
    planted.search()


def test_the_search_finds_what_it_is_to_find(planted):
    """A secret that is printed, written or sent, in any of its forms, is found."""
    planted.secrets = ["a-secret/with=signs+1234567890"]
    planted.sent = [b"x"]
    for number in range(30):
        (planted.root / f"file-{number}").write_text("nothing")
    planted.search()
    for form in forms_of(planted.secrets[0]):
        (planted.root / "found").write_bytes(b"before " + form + b" after")
        with pytest.raises(AssertionError, match="written"):
            planted.search()
        (planted.root / "found").unlink()
        planted.sent = [b"x", form]
        with pytest.raises(AssertionError, match="sent"):
            planted.search()
        planted.sent = [b"x"]
    planted.printed["a command"] = planted.secrets[0]
    with pytest.raises(AssertionError, match="printed by a command"):
        planted.search()
    with pytest.raises(AssertionError), argv_watched(["pytest"]):
        time.sleep(0.1)
