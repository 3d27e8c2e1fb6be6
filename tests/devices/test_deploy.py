"""Deploy to a real sshd on the loopback, with doubles of CANN there; and every way in which a host can fail."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from entrypoints import infer
from launcher.devices import deploy as deployment
from launcher.devices.errors import HostError
from launcher.devices.remote import Conversation, Ssh, failure
from launcher.errors import UsageError
from launcher.ledger import Ledger
from tests.devices.conftest import RUN, Board, Cutter, free_port

PROJECT = "HIAI_PROJECTS/lenet5"


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in str(path))


def deploy(cli: Any, board: Board, trained: Any, *more: str, host: str = "board") -> Any:
    return cli("deploy", RUN, host, "--data", str(trained.data), *board.flags(), *more)


def without_acl(board: Board) -> None:
    """A host that has onnxruntime and no CANN."""
    board.environment["PYTHONPATH"] = str(board.folder)
    board.start()


def test_end_to_end(home: Any, board: Board, trained: Any, cli: Any) -> None:
    answer = deploy(cli, board, trained, "--json")
    assert answer.code == 0, answer
    done = answer.json
    assert done["model"]["format"] == "om" and done["runtime"] == "AscendCL on Ascend310 (double)"
    assert len(done["pictures"]) == 10 and done["right"] >= 5
    assert board.journal[-1] == "finalize", "the device's memory was all freed"

    project = board.home / PROJECT
    assert os.readlink(project / "current") == f"releases/{done['release']}"
    assert {"env.sh", "entrypoints/infer.py", "model/lenet5.om", "model/lenet5.om.json"} <= set(
        tree(project / "current")
    )
    assert not list(project.glob(".incoming*"))
    assert not {".bashrc", ".profile", ".bash_profile"} & set(os.listdir(board.home)), "nobody's login is edited"

    results = Path(done["results"])
    assert results == home.outputs / RUN / "devices" / "board"
    expected = {f"{Path(picture['file']).stem}.txt": picture["class"] for picture in done["pictures"]}
    assert {path.name: path.read_text() for path in results.glob("*.txt")} == expected
    with Image.open(results / "sheet.png") as sheet:
        assert sheet.size[0] > 300

    pictures = str(project / "current" / "pictures")
    local = infer.run([str(home.outputs / RUN / "models" / "lenet5.onnx"), pictures])["pictures"]
    assert [picture["class"] for picture in local] == [picture["class"] for picture in done["pictures"]]

    again = deploy(cli, board, trained, "--json").json
    assert (again["bytes_sent"], again["release"]) == (0, done["release"])


def test_own_pictures_and_a_device_without_acl_gets_onnx(
    home: Any, board: Board, trained: Any, cli: Any, tmp_path: Path
) -> None:
    without_acl(board)
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (28, 28)).save(tmp_path / name)
    words = ["--pictures", str(tmp_path / "a"), str(tmp_path / "b" / "1.png"), "--folder", "elsewhere/x", "--json"]
    answer = deploy(cli, board, trained, *words)
    assert answer.code == 0, answer
    assert answer.json["runtime"].startswith("onnxruntime") and answer.json["right"] is None
    assert [picture["file"] for picture in answer.json["pictures"]] == ["1.png", "_1.png"]
    assert (board.home / "elsewhere/x/current/model/lenet5.onnx").is_file()


def test_a_connection_that_drops_in_the_middle_leaves_nothing_half_done_and_is_gone_on_from(
    home: Any, board: Board, trained: Any, cli: Any
) -> None:
    without_acl(board)
    cutter = Cutter(board.port, limit=220_000)
    board.know("flaky", cutter.port)
    answer = deploy(cli, board, trained, host="flaky")
    cutter.close()
    assert answer.code == 1, answer
    errors = [line for line in answer.err.splitlines() if line.startswith(("error:", "hint:"))]
    assert "the connection to flaky broke" in errors[0] and "goes on from there" in errors[1]
    project = board.home / PROJECT
    assert list(project.glob(".incoming-*/*")), f"it dropped too early: {answer}"
    assert not (project / "current").exists() and not list((project / "releases").iterdir())
    assert not (home.outputs / RUN / "devices").exists()

    done = deploy(cli, board, trained, "--json").json
    total = sum(path.stat().st_size for path in (project / "current").rglob("*") if path.is_file())
    assert 0 < done["bytes_sent"] < total - 50_000, "what had arrived was not sent again"
    assert len(done["pictures"]) == 10 and not list(project.glob(".incoming*"))


def test_a_release_that_fails_leaves_the_one_before_in_place(home: Any, board: Board, trained: Any, cli: Any) -> None:
    without_acl(board)
    answer = deploy(cli, board, trained, "--json")
    assert answer.code == 0, answer
    first = answer.json["release"]
    (board.folder / "sitecustomize.py").write_text(
        "import errno, os\n"
        "def fsync(number):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "os.fsync = fsync\n"
    )
    Image.new("L", (40, 40)).save(home.project / "other.png")
    answer = deploy(cli, board, trained, "--pictures", "other.png")
    assert answer.code == 1 and "No space left on device" in answer.err and "free some space there" in answer.err
    project = board.home / PROJECT
    assert os.readlink(project / "current") == f"releases/{first}"
    assert not list(project.glob(".incoming*")), "a full disk keeps no half release"
    (board.folder / "sitecustomize.py").unlink()
    second = deploy(cli, board, trained, "--pictures", "other.png", "--json").json
    assert second["release"] != first and os.readlink(project / "current") == f"releases/{second['release']}"
    assert second["bytes_sent"] < 10_000, "what the release before has is taken from there"


def test_bytes_that_arrive_changed_are_not_taken(home: Any, board: Board, trained: Any, cli: Any) -> None:
    """An earlier try left other bytes under the same name."""
    without_acl(board)
    release = deploy(cli, board, trained, "--json").json["release"]
    project = board.home / PROJECT
    (project / "current").unlink()
    (project / "releases" / release).rename(project / f".incoming-{release}")
    model = project / f".incoming-{release}" / "model" / "lenet5.onnx"
    model.rename(f"{model}.part")
    Path(f"{model}.part").write_bytes(b"other bytes")
    answer = deploy(cli, board, trained)
    assert answer.code == 1 and "did not arrive as it was sent" in answer.err
    assert not (project / "current").exists()
    assert deploy(cli, board, trained).code == 0, "the next try sends that file anew"


def unreachable(board: Board) -> str:
    board.know("off", free_port())
    return "off"


def wrong_key(board: Board) -> str:
    board.know("locked", 0, "wrong_key")
    return "locked"


def unknown_host_key(board: Board) -> str:
    (board.folder / "known_hosts").write_text("")
    return "board"


def no_such_name(board: Board) -> str:
    with open(board.config, "a") as file:
        file.write("Host nameless\n  HostName no-such-host.invalid\n")
    return "nameless"


FAILURES = {
    unreachable: ("off does not answer", "sshd running"),
    wrong_key: ("locked takes none of your keys", "ssh-copy-id"),
    unknown_host_key: ("board has a key that is not known here", "compare the key"),
    no_such_name: ("nameless has no address", "HostName"),
}


@pytest.mark.parametrize("how", FAILURES, ids=lambda how: how.__name__)
def test_a_host_that_cannot_be_reached(home: Any, board: Board, trained: Any, cli: Any, how: Any) -> None:
    host = how(board)
    answer = deploy(cli, board, trained, host=host)
    message, hint = FAILURES[how]
    assert answer.code == 1 and answer.err.count("\n") == 2, answer
    assert message in answer.err and hint in answer.err
    assert not board.home.joinpath("HIAI_PROJECTS").exists()


def test_a_host_without_python_or_with_too_little(home: Any, board: Board, trained: Any, cli: Any) -> None:
    answer = deploy(cli, board, trained, "--python", "/no/such/python3")
    assert answer.code == 1 and "board has no /no/such/python3" in answer.err and "--python" in answer.err
    if Path("/usr/bin/python3").exists():
        answer = deploy(cli, board, trained, "--python", "/usr/bin/python3 -I -S")
        assert answer.code == 1, "python with flags is one word for the shell, and no program"


def test_a_device_that_breaks_says_so_in_two_lines(home: Any, board: Board, trained: Any, cli: Any) -> None:
    board.environment["ACL_DOUBLE_FAILS"] = "mdl.execute"
    board.start()
    answer = deploy(cli, board, trained)
    errors = [line for line in answer.err.splitlines() if line.startswith(("error:", "hint:"))]
    assert answer.code == 1 and len(errors) == 2
    assert "board: AscendCL: acl.mdl.execute failed with 507899" in errors[0] and "npu-smi" in errors[1]
    assert not (home.outputs / RUN / "devices").exists()
    assert not (board.home / PROJECT / "current").exists(), "what does not run does not become current"


def test_a_picture_that_is_none_is_named_from_there(home: Any, board: Board, trained: Any, cli: Any) -> None:
    (home.project / "odd.png").write_text("no picture")
    answer = deploy(cli, board, trained, "--pictures", "odd.png")
    assert answer.code == 1 and "pictures/odd.png is no whole picture" in answer.err
    missing = deploy(cli, board, trained, "--pictures", "nope.png")
    assert missing.code == 1 and "there is no picture nope.png" in missing.err


def test_the_environment_of_cann_is_found_and_set_for_the_command_alone(
    home: Any, board: Board, trained: Any, cli: Any
) -> None:
    double = board.environment.pop("PYTHONPATH")
    script = board.home / "Ascend" / "ascend-toolkit" / "set_env.sh"
    script.parent.mkdir(parents=True)
    script.write_text(f"echo noise\nexport PYTHONPATH={double}:$PYTHONPATH\n")
    (board.home / ".bashrc").write_text("echo a login that talks\n")
    board.start()
    answer = deploy(cli, board, trained, "--json")
    assert answer.code == 0, answer
    assert answer.json["runtime"].startswith("AscendCL")
    assert str(script) in (board.home / PROJECT / "current" / "env.sh").read_text()
    assert (board.home / ".bashrc").read_text() == "echo a login that talks\n"


def test_by_way_of_another_host_and_at_another_port(board: Board) -> None:
    board.know("inner", 1)
    for ssh in (
        Ssh("inner", str(board.config), port=board.port, python=sys.executable),
        Ssh("inner", str(board.config), port=board.port, jump="board", python=sys.executable),
    ):
        with Conversation(ssh) as conversation:
            assert conversation.ask("probe", folder="x")["folder"] == str(board.home / "x")


@pytest.mark.parametrize("host", ["", "-oProxyCommand=evil", "two words"])
def test_a_host_cannot_be_an_option(host: str) -> None:
    with pytest.raises(UsageError):
        Ssh(host)


def test_ssh_is_called_without_any_password() -> None:
    words = Ssh("user@10.0.0.2", port=2222, jump="gate").words()
    assert "BatchMode=yes" in words and words[words.index("--") + 1] == "user@10.0.0.2"
    assert words[words.index("-p") : words.index("-p") + 4] == ["-p", "2222", "-J", "gate"]
    error = failure(Ssh("h"), 255, "ssh: connect to host h port 22: Connection timed out\n")
    assert "does not answer" in error.message and error.hint


GOOD = {
    "python": [3, 7, 5],
    "writable": True,
    "folder": "/home/x/y",
    "modules": {"numpy": 1, "PIL": 1, "acl": 1, "onnxruntime": 0},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"python": [3, 6, 9]}, "has Python 3.6.9 as python3; 3.7 is needed"),
        ({"writable": False}, "/home/x/y cannot be written"),
        ({"modules": {"numpy": 0, "PIL": 0, "acl": 1, "onnxruntime": 0}}, "has no numpy and no pillow"),
        ({"modules": {"numpy": 1, "PIL": 1, "acl": 0, "onnxruntime": 0}}, "neither acl, of CANN, nor onnxruntime"),
    ],
)
def test_a_host_that_lacks_something_is_told_apart(home: Any, change: dict[str, Any], said: str) -> None:
    with Ledger(home) as ledger:
        request = deployment.Request(ledger.find(RUN), Ssh("board"))
    deployment.check(request, GOOD)
    with pytest.raises(HostError) as caught:
        deployment.check(request, {**GOOD, **change})
    assert said in caught.value.message and caught.value.hint
