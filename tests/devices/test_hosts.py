"""Hosts that talk, that are somebody else, that are full; and two deploys at once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from entrypoints.application import reading
from launcher.devices import deploy as deployment
from launcher.devices.remote import Conversation, Ssh, failure
from launcher.errors import UsageError
from tests.devices.conftest import RUN, Board, Cutter
from tests.devices.test_deploy import PROJECT, deploy, without_acl

TALK = "printf 'welcome '\nprintf '\\033]0;title\\007'\necho permission denied >&2\n"


@pytest.fixture
def plain(board: Board) -> Board:
    without_acl(board)
    return board


def picture(folder: Path, name: str, side: int = 28) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((side, side), 90).save(folder / name, "PNG")
    return str(folder / name)


def test_a_login_that_leaves_its_line_open(home: Any, plain: Board, trained: Any, cli: Any) -> None:
    (plain.home / ".bashrc").write_text(TALK)
    answer = deploy(cli, plain, trained, "--env", "export A=1; printf hello", "--json")
    assert answer.code == 0 and len(answer.json["pictures"]) == 10, answer


def test_what_a_login_says_is_no_reason_for_a_broken_connection(
    home: Any, plain: Board, trained: Any, cli: Any
) -> None:
    (plain.home / ".bashrc").write_text(TALK)
    cutter = Cutter(plain.port, limit=150_000)
    plain.know("flaky", cutter.port)
    answer = deploy(cli, plain, trained, host="flaky")
    cutter.close()
    assert answer.code == 1 and "the connection to flaky broke" in answer.err, answer


def test_the_python_that_was_looked_at_is_the_one_that_runs(home: Any, plain: Board, trained: Any, cli: Any) -> None:
    """Relative to the folder that a login begins in, which is not that of the release."""
    config = [plain.flags()[0], plain.flags()[1]]
    found = shutil.which("python3", path=plain.environment["PATH"])
    start = subprocess.run(["ssh", *config, "board", "pwd"], capture_output=True, text=True, check=True).stdout.strip()
    relative = os.path.relpath(str(found), start)
    words = ["deploy", RUN, "board", "--data", str(trained.data), *config, "--python", relative]
    answer = cli(*words)
    assert answer.code == 0, answer


def test_every_picture_that_was_named_is_looked_at(home: Any, plain: Board, trained: Any, cli: Any) -> None:
    assert deployment.SUFFIXES == reading.SUFFIXES
    folder = home.project / "pictures"
    odd, known = picture(folder, "scan0001"), picture(folder, "b c.png")
    (folder / "folder.png").mkdir()
    answer = deploy(cli, plain, trained, "--pictures", odd, str(folder), "--json")
    assert answer.code == 0, answer
    assert sorted(found["file"] for found in answer.json["pictures"]) == [Path(known).name, Path(odd).name]
    alone = deploy(cli, plain, trained, "--pictures", odd, "--json")
    assert [found["file"] for found in alone.json["pictures"]] == ["scan0001"]


def test_a_folder_with_spaces_and_things_of_others(home: Any, plain: Board, trained: Any, cli: Any) -> None:
    theirs = [plain.home / "a b" / "releases" / name for name in ("v1", "v2", "v3")]
    for folder in theirs:
        folder.mkdir(parents=True)
    for number in range(3):
        one = picture(home.project, f"{number}.png")
        assert deploy(cli, plain, trained, "--folder", "a b", "--pictures", one).code == 0
    assert all(folder.is_dir() for folder in theirs), "only our own releases are removed"
    ours = [path for path in theirs[0].parent.iterdir() if path not in theirs]
    assert len(ours) == 2 and (plain.home / "a b" / "current" / "model").is_dir()


def test_a_folder_that_has_a_current_of_its_own(home: Any, plain: Board, trained: Any, cli: Any) -> None:
    (plain.home / "mine" / "current").mkdir(parents=True)
    answer = deploy(cli, plain, trained, "--folder", "mine")
    assert answer.code == 1 and "is no link of ours" in answer.err, answer
    assert os.listdir(plain.home / "mine") == ["current"]


def receive(ssh: Ssh, folder: Path, release: str, files: dict[str, Path]) -> Any:
    with Conversation(ssh) as conversation:
        return conversation.put(str(folder), release, files, lambda count: None)


def test_two_at_once_do_not_meet(plain: Board, tmp_path: Path) -> None:
    """The other one is in the middle of the same release: it holds the folder, and a part of the file."""
    ssh = Ssh("board", str(plain.config), python=plain.flags()[-1])
    source, root, release = tmp_path / "source", plain.home / "x", "0" * 20
    source.write_bytes(os.urandom(50_000))
    incoming = root / f".incoming-{release}"
    incoming.mkdir(parents=True)
    (incoming / "file.part").write_bytes(b"of the other one")
    handle = os.open(incoming, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with Conversation(ssh) as conversation:
        assert conversation.put(str(root), release, {"file": source}, lambda count: None)["sent"] == 50_000
        conversation.ask("settle", folder=str(root), release=release)
    assert (incoming / "file.part").read_bytes() == b"of the other one"
    assert (root / "current" / "file").read_bytes() == source.read_bytes()
    os.close(handle)
    with Conversation(ssh) as conversation:
        conversation.ask("settle", folder=str(root), release=release)
    assert sorted(os.listdir(root)) == ["current", "releases"], "once nobody has it, it is removed"


def test_a_release_that_somebody_runs_is_not_removed(plain: Board, tmp_path: Path) -> None:
    ssh = Ssh("board", str(plain.config), python=plain.flags()[-1])
    source, root = tmp_path / "source", plain.home / "x"
    source.write_bytes(b"bytes")
    names = [digit * 20 for digit in "1234"]
    with Conversation(ssh) as running:
        running.put(str(root), names[0], {"file": source}, lambda count: None)
        for name in names[1:]:
            with Conversation(ssh) as other:
                other.put(str(root), name, {"file": source}, lambda count: None)
                other.ask("settle", folder=str(root), release=name)
        assert (root / "releases" / names[0] / "file").read_bytes() == b"bytes"
        running.ask("settle", folder=str(root), release=names[0])
    assert os.readlink(root / "current") == f"releases/{names[0]}"
    assert len(os.listdir(root / "releases")) == 2


def test_a_host_that_is_full_keeps_no_half_release(
    plain: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = Ssh("board", str(plain.config), python=plain.flags()[-1])
    (plain.folder / "sitecustomize.py").write_text(
        "import collections, shutil\n"
        "shutil.disk_usage = lambda path: collections.namedtuple('Usage', 'total used free')(9, 9, 9)\n"
    )
    (tmp_path / "source").write_bytes(b"a" * 100)
    with pytest.raises(Exception, match="has 9 bytes free, and 100 are to come"):
        receive(ssh, plain.home / "x", "0" * 20, {"file": tmp_path / "source"})
    assert os.listdir(plain.home / "x") == ["releases"]


def test_a_login_that_never_starts_python_is_given_up(
    home: Any, plain: Board, trained: Any, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.devices.remote.START_SECONDS", 1)
    monkeypatch.setattr("launcher.waiting.PATIENCE", 0.2)
    (plain.home / ".bashrc").write_text("exec sleep 5")
    answer = deploy(cli, plain, trained)
    told, error, hint = answer.err.splitlines()
    assert answer.code == 1 and told == "waiting for board", answer
    assert error == f"error: board has not started {plain.flags()[-1]} within 1 s"
    assert hint.startswith("hint:  does its login wait for something? try: ssh ") and hint.endswith("--version")


def test_another_host_key_is_told_apart_from_an_unknown_one(home: Any, plain: Board, trained: Any, cli: Any) -> None:
    (plain.folder / "known_hosts").write_text("board " + (plain.folder / "wrong_key.pub").read_text())
    answer = deploy(cli, plain, trained)
    assert answer.code == 1 and "board has another key than the one known here" in answer.err, answer
    assert "ssh-keygen -R board" in answer.err and not (plain.home / PROJECT).exists()


@pytest.mark.parametrize("host", ["..", ".", "user@-oProxyCommand=evil", "a;touch x", "$(evil)", "a`b`"])
@pytest.mark.parametrize("name", ["host", "jump"])
def test_what_is_no_host(host: str, name: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        Ssh(**{"host": "good", name: host})


@pytest.mark.parametrize("host", ["user@10.0.0.2", "ssh://me@board:22", "me@fe80::1%eth0", "board_2.lan", "LAB\\me@x"])
def test_what_is_a_host(host: str) -> None:
    assert host in Ssh("good", jump=f"gate,{host}").by_hand().replace("'", "")
    assert Ssh(host).words()[-2] == host


@pytest.mark.parametrize("host", ["HwHiAiUser:Mind@123@10.0.0.2", "ssh://me:secret@board"])
@pytest.mark.parametrize("name", ["host", "jump"])
def test_a_password_is_not_taken_and_not_repeated(host: str, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Ssh(**{"host": "good", name: host})
    assert "password" in caught.value.message
    assert not any(secret in caught.value.message + caught.value.hint for secret in ("Mind", "secret"))


@pytest.mark.parametrize("port", [-5, 65536])
def test_what_is_no_port(port: int) -> None:
    with pytest.raises(UsageError, match="--port"):
        Ssh("good", port=port)


def test_only_ssh_itself_speaks_of_keys() -> None:
    banner = "Access without permission denied by law\n"
    assert "none of your keys" in failure(Ssh("h"), 255, f"{banner}me@h: Permission denied (publickey).\n").message
    assert "broke" in failure(Ssh("h"), 255, banner, answered=True).message
    assert "has no python3" in failure(Ssh("h"), 126, "bash: python3: Permission denied\n").message


def test_a_soc_that_is_none_is_told_before_anything_else(home: Any, plain: Board, trained: Any, cli: Any) -> None:
    answer = deploy(cli, plain, trained, "--soc", "Foo")
    assert answer.code == 2 and "'Foo' is no soc version" in answer.err and answer.err.count("\n") == 2, answer
